"""Decoding of strangers' pictures to brightness, with Pillow.

To be called inside the sandbox only: Pillow and the libraries below it parse hostile bytes here.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, features

from hashscan.hashing.formats import PictureFormat
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import DAMAGES
from hashscan.model import Reason

DEFAULT_MAX_PIXELS = 178_956_970
"""The number from which Pillow refuses a picture unless told otherwise; they take 0.9 GB.

It counts what is decoded: of a JPEG the picture at the scale it is decoded at, of a progressive one the full
size, since all its coefficients are kept until its end.
"""

_BYTES_PER_PIXEL = 5
"""What most pictures take at most: four bytes of colours, one of brightness."""

_MORE_BYTES_PER_PIXEL = {"AVIF": 9, "WEBP": 16, "JPEG2000": 20}
"""By Pillow's name, formats whose libraries hold more at once, measured; their limit is lower accordingly."""

DRAFT_SIDE = 256
"""JPEGs are decoded at an eighth, quarter, half or the whole of their size, the smallest at which both sides
are still this long. Over 225 photos PDQ lay 0.7 bits from the full size's hash on average, 8 at most; with
512 it was 0.5 and 8, with 192 it was 0.9 and 10."""

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

# By default a comment of over 1 MiB makes a picture unreadable that every viewer shows.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20

_STRIP_PIXELS = 1 << 20
_BITS_PER_SAMPLE = 258


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
    blocks_of: tuple[int, int] | None = None
    """Height and width of the stored picture where `luma` holds the means of its blocks; else None."""
    orientation: int = 1
    """How it is to be turned to be shown, 1 to 8 as in EXIF; `luma` is as stored."""
    damage: Reason | None = None
    """Why only a part of the picture was decoded; None where all of it was."""


def decode_luma(
    file: PreadFile, picture_format: PictureFormat, max_pixels: int = DEFAULT_MAX_PIXELS
) -> DecodedLuma:
    """Decode the first frame of a picture.

    Viewers show as much as there is of a picture that is cut or spoilt. So that nobody hides one by cutting
    off its last bytes, that much is decoded here too, with a note of the damage.

    Args:
        file: the picture.
        picture_format: what it was sniffed to be; it is decoded as this or not at all.
        max_pixels: largest number of pixels to decode (see `DEFAULT_MAX_PIXELS`), compared before decoding.

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
        reason = _reason(error, file, picture_format.pillow)
        rest = _salvaged(file, picture_format.pillow, max_pixels) if reason in DAMAGES else None
        if rest is None:
            raise UndecodedError(reason) from error
        return replace(rest, damage=reason)


def _salvaged(file: PreadFile, pillow_format: str, max_pixels: int) -> DecodedLuma | None:
    """As much of a damaged picture as there is; None where even that can't be had."""
    file.seek(0)
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decoded(file, pillow_format, max_pixels)
    except Exception:
        # The reason is known already; see above for why all errors are alike here.
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _reason(error: Exception, file: PreadFile, pillow_format: str) -> Reason:
    """What an error of Pillow means; often only its message tells."""
    message = str(error).lower()
    if file.ran_out or isinstance(error, EOFError) or "truncated" in message or "not enough" in message:
        return Reason.TRUNCATED
    if pillow_format == "WEBP":
        # Its library doesn't say. The file's header holds the length of what follows the first eight bytes.
        file.seek(4)
        declared = int.from_bytes(file.read(4), "little")
        if declared > file.size - 8:
            return Reason.TRUNCATED
    return Reason.UNSUPPORTED if "unsupported" in message else Reason.BROKEN


def _decoded(file: PreadFile, pillow_format: str, max_pixels: int) -> DecodedLuma:
    stream = cast("IO[bytes]", file)
    max_pixels = max_pixels * _BYTES_PER_PIXEL // _MORE_BYTES_PER_PIXEL.get(pillow_format, _BYTES_PER_PIXEL)
    # Pillow refuses twice this number of pixels, also in pictures within pictures (icons), before it
    # allocates memory for them.
    Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
    if pillow_format == "JPEG":
        # Not by Image.open, which compares the full size with the limit before there is a scale to decode at;
        # nor are the further pictures of an MPO file looked for.
        image: Image.Image = JpegImagePlugin.JpegImageFile(stream)
    else:
        image = Image.open(stream, formats=[pillow_format])
    width, height = image.size
    if image.info.get("progressive"):
        _check_size(image.size, max_pixels)
    image.draft("L", (DRAFT_SIDE, DRAFT_SIDE))
    _check_size(image.size, max_pixels)
    blocks_of = (height, width) if image.size != (width, height) else None
    image.load()
    return DecodedLuma(_luma(image), width, height, blocks_of)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise UndecodedError(Reason.TOO_LARGE)


def _luma(image: Image.Image) -> NDArray[np.uint8]:
    """The brightness of a loaded picture, as Pillow and the field's other tools weigh colours (ITU-R 601-2).

    Transparency is dropped: the colours beneath are hashed as if they were opaque.
    """
    # A transparent colour would be converted with the picture, and Pillow warns of some or fails on some.
    image.info.pop("transparency", None)
    luma = np.empty((image.height, image.width), np.uint8)
    # Pasting into a picture that lies in the array's memory spares two copies that np.asarray makes.
    view = Image.frombuffer("L", image.size, luma, "raw", "L", 0, 1)
    view.readonly = 0
    if image.mode == "L":
        view.paste(image)
    elif image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        low, high = _value_range(image)
        for top, strip in _strips(image):
            luma[top : top + strip.height] = _scaled(strip, low, high)
    else:
        for top, strip in _strips(image):
            view.paste(_grey(strip), (0, top))
    return luma


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """A picture from top to bottom, so that no converted copy of a large one is ever whole."""
    width, height = image.size
    step = max(1, _STRIP_PIXELS // width)
    if step >= height:
        yield 0, image
        return
    for top in range(0, height, step):
        yield top, image.crop((0, top, width, min(top + step, height)))


def _grey(image: Image.Image) -> Image.Image:
    """A picture in colours of eight bits, without them."""
    match image.mode:
        case "LAB" | "LA" | "YCbCr":
            return image.getchannel(0)
        case "RGBa":
            # Colours already multiplied by their transparency.
            return image.convert("RGBA").convert("L")
        case "La":
            return image.convert("LA").getchannel(0)
        case _:
            return image.convert("L")


def _scaled(strip: Image.Image, low: float, high: float) -> NDArray[np.uint8]:
    """Values of more than eight bits, scaled; Pillow's own conversion would clip them at 255."""
    values = np.nan_to_num(np.asarray(strip, np.float64), nan=low, posinf=high, neginf=low)
    factor = 255 / (high - low) if high > low else 0.0
    return np.rint(np.clip((values - low) * factor, 0, 255)).astype(np.uint8)


def _value_range(image: Image.Image) -> tuple[float, float]:
    """The values that are black and white."""
    if image.mode.startswith("I;16"):
        # The only depth below 16 that Pillow leaves as it is.
        twelve_bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,)
        return 0.0, 4095.0 if twelve_bits else 65535.0
    low, high = np.inf, -np.inf
    for _, strip in _strips(image):
        values = np.asarray(strip)
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    # The customary ranges keep faint pictures faint; anything else is stretched.
    for customary in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
        if low >= 0 and high <= customary:
            return 0.0, customary
    return low, high
