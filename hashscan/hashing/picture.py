"""Decoding of strangers' pictures to brightness, with Pillow.

To be called inside the sandbox only: Pillow and the libraries below it parse hostile bytes here.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, JpegImagePlugin, features

from hashscan.hashing.formats import PictureFormat
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

DEFAULT_MAX_PIXELS = 178_956_970
"""Twice Pillow's own limit, the number from which Pillow refuses a picture; 0.5 GiB as RGB.

It counts what is kept in memory: of a JPEG the picture at the scale it is decoded at, of a progressive one
the full size, since all its coefficients are kept until its end.
"""

DRAFT_SIDE = 512
"""JPEGs are decoded at an eighth, quarter, half or the whole of their size, the smallest at which both sides
are still this long. PDQ's distance from the full size's hash is 1.5 bits on average."""

# Pillow would import these when it first meets a file of theirs, and for a rare one all plugins there are.
_PLUGINS = (
    *("Avif", "Bmp", "Cur", "Dcx", "Dds", "Gif", "Icns", "Ico", "Jpeg", "Jpeg2K", "Pcx", "Png", "Ppm", "Psd"),
    *("Qoi", "Sgi", "Sun", "Tiff", "WebP", "Xpm"),
)
for _plugin in _PLUGINS:
    importlib.import_module(f"PIL.{_plugin}ImagePlugin")

# Pillow can be built without these libraries.
_FEATURES = {"AVIF": "avif", "JPEG": "jpg", "JPEG2000": "jpg_2000", "PNG": "zlib", "WEBP": "webp"}
_MISSING = frozenset(name for name, feature in _FEATURES.items() if not features.check(feature))

# The sandbox forbids threads.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_STRIP_VALUES = 1 << 18


class UndecodedError(Exception):
    """A picture that gives no brightness to hash."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class DecodedLuma:
    """A decoded picture, without its colours."""

    luma: NDArray[np.uint8]
    """Brightness, shape (height, width), 0 black to 255 white; a JPEG's may be at a smaller scale."""
    width: int
    """As stored, in pixels."""
    height: int
    """As stored, in pixels."""


def decode_luma(
    file: PreadFile, picture_format: PictureFormat, max_pixels: int = DEFAULT_MAX_PIXELS
) -> DecodedLuma:
    """Decode the first frame of a picture.

    Args:
        file: the picture.
        picture_format: what it was sniffed to be; it is decoded as this or not at all.
        max_pixels: largest number of pixels to decode, compared before decoding.

    Raises:
        UndecodedError: there is nothing to hash; its reason says why.
    """
    if picture_format.pillow is None or picture_format.pillow in _MISSING:
        raise UndecodedError(Reason.UNSUPPORTED)
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities in metadata, and from half the pixel limit on.
            warnings.simplefilter("ignore")
            return _decoded(file, picture_format.pillow, max_pixels)
    except UndecodedError:
        raise
    except MemoryError as error:
        raise UndecodedError(Reason.MEMORY) from error
    except Image.DecompressionBombError as error:
        raise UndecodedError(Reason.TOO_LARGE) from error
    except NotImplementedError as error:
        raise UndecodedError(Reason.UNSUPPORTED) from error
    except Exception as error:
        # Pillow's plugins raise nearly every built-in exception there is when a file is not what they expect.
        # Whatever a decoder raises over a stranger's picture is the finding that this picture can't be
        # decoded; there is nothing else here that could fail.
        truncated = file.ran_out or isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise UndecodedError(Reason.TRUNCATED if truncated else Reason.BROKEN) from error


def _decoded(file: PreadFile, pillow_format: str, max_pixels: int) -> DecodedLuma:
    stream = cast("IO[bytes]", file)
    # Pillow refuses twice this number of pixels, also in pictures within pictures (icons), before it
    # allocates memory for them.
    Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
    if pillow_format == "JPEG":
        # Not by Image.open, which looks for the further pictures of an MPO file, and so fails on a broken
        # index to them although the first picture is whole.
        image: Image.Image = JpegImagePlugin.JpegImageFile(stream)
    else:
        image = Image.open(stream, formats=[pillow_format])
    width, height = image.size
    if image.info.get("progressive"):
        _check_size(image.size, max_pixels)
    image.draft("L", (DRAFT_SIDE, DRAFT_SIDE))
    _check_size(image.size, max_pixels)
    image.load()
    return DecodedLuma(_luma(image), width, height)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise UndecodedError(Reason.TOO_LARGE)


def _luma(image: Image.Image) -> NDArray[np.uint8]:
    """The brightness of a loaded picture, as Pillow and the field's other tools weigh colours (ITU-R 601-2).

    Transparency is dropped: the colours beneath are hashed as if they were opaque.
    """
    # A transparent colour would be converted with the picture, and Pillow warns of some or fails on some.
    image.info.pop("transparency", None)
    match image.mode:
        case "I;16" | "I;16L" | "I;16B" | "I;16N" | "I" | "F":
            return _scaled(image)
        case "LAB" | "LA" | "YCbCr":
            grey = image.getchannel(0)
        case "RGBa" | "La":
            # Colours already multiplied by their transparency.
            grey = image.convert("RGBA" if image.mode == "RGBa" else "LA").convert("L")
        case _:
            grey = image.convert("L")
    luma = np.empty((grey.height, grey.width), np.uint8)
    # Pasting into a picture that lies in the array's memory spares two copies that np.asarray makes.
    view = Image.frombuffer("L", grey.size, luma, "raw", "L", 0, 1)
    view.readonly = 0
    view.paste(grey)
    return luma


def _scaled(image: Image.Image) -> NDArray[np.uint8]:
    """Values of more than eight bits, scaled; Pillow's own conversion would clip them at 255.

    A strip at a time, so that no float copy of a large picture is ever made.
    """
    low, high = _value_range(image)
    width, height = image.size
    factor = 255 / (high - low) if high > low else 0.0
    luma = np.empty((height, width), np.uint8)
    step = max(1, _STRIP_VALUES // width)
    for top in range(0, height, step):
        strip = np.asarray(image.crop((0, top, width, min(top + step, height))))
        values = np.nan_to_num(strip.astype(np.float64), nan=low, posinf=high, neginf=low)
        luma[top : top + step] = np.clip((values - low) * factor, 0, 255)
    return luma


def _value_range(image: Image.Image) -> tuple[float, float]:
    """The values that are black and white."""
    if image.mode.startswith("I;16"):
        # The only depth below 16 that Pillow leaves as it is.
        twelve_bits = getattr(image, "tag_v2", {}).get(258) == (12,)
        return 0.0, 4095.0 if twelve_bits else 65535.0
    width, height = image.size
    low, high = np.inf, -np.inf
    step = max(1, _STRIP_VALUES // width)
    for top in range(0, height, step):
        strip = np.asarray(image.crop((0, top, width, min(top + step, height))))
        finite = strip[np.isfinite(strip)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    # The customary ranges keep faint pictures faint; anything else is stretched.
    for customary in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
        if low >= 0 and high <= customary:
            return 0.0, customary
    return (low, high) if low <= high else (0.0, 0.0)
