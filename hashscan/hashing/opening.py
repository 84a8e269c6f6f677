"""Opening of strangers' pictures with Pillow, each as one format and within its share of memory."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Protocol, cast

from PIL import AvifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, features

from hashscan.hashing import heif
from hashscan.model import Reason

DEFAULT_MAX_PIXELS = 64_000_000
"""Pixels of a picture in colours: with their brightness they take 320 MB, which leaves a worker and its
decoder under 400 MB.

It stands for that memory, and counts what is decoded: of a JPEG the picture at the scale it is decoded at, of
a progressive one also its coefficients, since all are kept until its end. Grey pictures may be larger, and
those whose library holds more at once must be smaller.
"""

_BYTES_PER_PIXEL = 5
"""What most pictures take: four bytes of colours, one of brightness."""

_NARROW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes that a pixel takes in the modes in which it isn't four."""

_LIBRARY_BYTES = {"AVIF": 9, "DDS": 7, "GIF": 3, "HEIF": 8, "JPEG2000": 20, "QOI": 7, "WEBP": 16}
"""By Pillow's name, formats whose decoders hold more at once: bytes a pixel, measured."""

_FRAME_BYTES = {"AVIF": 36, "GIF": 18, "PNG": 18, "WEBP": 22}
"""The same for the frames after the first, for which earlier ones are kept."""

_READ_WHOLE = frozenset({"AVIF", "HEIF", "JPEG2000", "WEBP"})
"""Formats whose decoders want the file as one piece of memory; libtiff's compressions do, too."""

DRAFT_SIDE = 256
"""JPEGs are decoded at an eighth, quarter, half or the whole of their size, the smallest at which both sides
are still this long. Over 225 photos PDQ lay 0.7 bits from the full size's hash on average, 8 at most; with
512 it was 0.5 and 8, with 192 it was 0.9 and 10."""

# Pillow would import these when it first meets a file of theirs, and for a rare one all plugins there are.
_PLUGINS = (
    *("Avif", "Bmp", "Cur", "Dcx", "Dds", "Fli", "Gif", "Icns", "Ico", "Jpeg", "Jpeg2K", "Pcx", "Png", "Ppm"),
    *("Psd", "Qoi", "Sgi", "Sun", "Tiff", "WebP", "Xpm"),
)
for _plugin in _PLUGINS:
    importlib.import_module(f"PIL.{_plugin}ImagePlugin")

# Pillow can be built without these libraries.
_FEATURES = {"AVIF": "avif", "JPEG": "jpg", "JPEG2000": "jpg_2000", "PNG": "zlib", "WEBP": "webp"}
_missing = {name for name, feature in _FEATURES.items() if not features.check(feature)}

# The sandbox forbids threads.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# By default a comment of over 1 MiB makes a picture unreadable that every viewer shows.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20

if heif.available():
    heif.load()
else:
    _missing.add("HEIF")

MISSING = frozenset(_missing)
"""Pillow's names of the formats that this installation can't decode."""

_SCAN_ENDS = 16


class PictureFile(Protocol):
    """What a picture is read from."""

    size: int
    """Length in bytes."""
    ran_out: bool
    """Whether somebody asked for a certain number of bytes where there were none left."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to `size` bytes."""

    def seek(self, offset: int, whence: int = ..., /) -> int:
        """Go to a position."""

    def tell(self) -> int:
        """The position of the next read."""


class UndecodedError(Exception):
    """A picture, or what is left of one, that gives no brightness to hash."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@contextmanager
def reasons(file: PictureFile, pillow_format: str) -> Iterator[None]:
    """Turn whatever Pillow raises over a stranger's picture into an `UndecodedError` with its reason."""
    before = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities in metadata, and from half the pixel limit on.
            warnings.simplefilter("ignore")
            yield
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
        raise UndecodedError(_reason(error, file, pillow_format)) from error
    finally:
        # `open_picture` lowers it, for as long as the picture is looked at.
        Image.MAX_IMAGE_PIXELS = before


def _reason(error: Exception, file: PictureFile, pillow_format: str) -> Reason:
    """What an error of Pillow means; often only its message tells."""
    message = str(error).lower()
    if file.ran_out or isinstance(error, EOFError) or "truncated" in message or "not enough" in message:
        return Reason.TRUNCATED
    if pillow_format == "HEIF" and "end of file" in message:
        return Reason.TRUNCATED
    if pillow_format == "WEBP":
        # Its library doesn't say. The file's header holds the length of what follows the first eight bytes.
        file.seek(4)
        declared = int.from_bytes(file.read(4), "little")
        if declared > file.size - 8:
            return Reason.TRUNCATED
    return Reason.UNSUPPORTED if "unsupported" in message else Reason.BROKEN


@contextmanager
def salvaging() -> Iterator[None]:
    """Have Pillow give what it has of a picture that ends too early."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


@dataclass(frozen=True, slots=True)
class OpenPicture:
    """A picture whose header has been read, a JPEG's already for the scale at which it is to be decoded."""

    image: Image.Image
    stored: tuple[int, int]
    """Width and height in pixels."""
    coefficients: int = 0
    """Bytes that a JPEG's coefficients will take."""


def open_picture(file: PictureFile, pillow_format: str, max_pixels: int, *, draft: str = "L") -> OpenPicture:
    """Open a picture as one format.

    Args:
        file: its file.
        pillow_format: its format.
        max_pixels: see `DEFAULT_MAX_PIXELS`.
        draft: of a JPEG, "L" for its brightness and "YCbCr" for its colours, both at a smaller scale; nothing
            for its colours at its full size.

    Raises:
        Exception: whatever Pillow raises (see `reasons`).
    """
    file.seek(0)
    stream = cast("IO[bytes]", file)
    limit_pixels(max_pixels)
    if pillow_format == "JPEG":
        # Not by Image.open, which compares the full size with the limit before there is a scale to decode at,
        # and makes another object of an MPO file.
        jpeg = JpegImagePlugin.JpegImageFile(stream)
        stored, coefficients = jpeg.size, _coefficients(jpeg, file)
        if draft:
            jpeg.draft(draft, (DRAFT_SIDE, DRAFT_SIDE))
        return OpenPicture(jpeg, stored, coefficients)
    if pillow_format == "HEIF":
        image = heif.open_heif(stream)
    elif pillow_format == "AVIF":
        # Image.open asks for certain major brands, browsers don't.
        image = AvifImagePlugin.AvifImageFile(stream)
    else:
        image = Image.open(stream, formats=[pillow_format])
    return OpenPicture(image, image.size)


def limit_pixels(max_pixels: int) -> None:
    """Have Pillow refuse what is larger, also in pictures within pictures, before it allocates memory for it.

    To be called within `reasons`, which ends it.

    Args:
        max_pixels: see `DEFAULT_MAX_PIXELS`.
    """
    # It refuses twice this number of pixels. No picture takes less than two bytes a pixel.
    Image.MAX_IMAGE_PIXELS = (max_pixels * _BYTES_PER_PIXEL // 2 + 1) // 2


def check_size(
    image: Image.Image,
    pillow_format: str,
    file_size: int,
    max_pixels: int,
    *,
    more: int = 0,
    first: bool = True,
) -> None:
    """See that a picture about to be loaded isn't too large.

    Args:
        image: opened, and at the frame to load.
        pillow_format: its format.
        file_size: bytes of its file.
        max_pixels: see `DEFAULT_MAX_PIXELS`.
        more: bytes that it takes besides its pixels.
        first: whether it is the first of its file.

    Raises:
        UndecodedError: it is too large.
    """
    each = _NARROW.get(image.mode, 4) + 1
    if first:
        each = max(each, _LIBRARY_BYTES.get(pillow_format, 0))
    else:
        each = max(each, _FRAME_BYTES.get(pillow_format, _LIBRARY_BYTES.get(pillow_format, 0)))
    pixels = image.width * image.height * each + more
    whole = pillow_format in _READ_WHOLE or any(tile[0] == "libtiff" for tile in getattr(image, "tile", ()))
    allowed = max_pixels * _BYTES_PER_PIXEL
    if pixels > allowed:
        raise UndecodedError(Reason.TOO_LARGE)
    if whole and pixels + file_size > allowed:
        raise UndecodedError(Reason.MEMORY)


def check_pixels(pixels: int, max_pixels: int) -> None:
    """See that so many pixels, of which only the brightness is kept, aren't too many.

    Raises:
        UndecodedError: they are.
    """
    if pixels > max_pixels * _BYTES_PER_PIXEL:
        raise UndecodedError(Reason.TOO_LARGE)


def _coefficients(image: JpegImagePlugin.JpegImageFile, file: PictureFile) -> int:
    """Bytes of the coefficients that are kept until the end of a JPEG which comes in several scans."""
    layers = image.layer
    if not image.info.get("progressive") and _components_of_scan(file) == len(layers):
        return 0
    across = max(layer[1] for layer in layers)
    down = max(layer[2] for layer in layers)
    # Two bytes each, and as many as samples.
    width, height = image.size
    return sum(2 * width * layer[1] * height * layer[2] // (across * down) for layer in layers)


def _components_of_scan(file: PictureFile) -> int:
    """How many of a JPEG's components are in the scan whose header was just read; 0 if that can't be told."""
    here = file.tell()
    file.seek(max(0, here - _SCAN_ENDS))
    before = file.read(min(here, _SCAN_ENDS))
    file.seek(here)
    for components in (1, 2, 3, 4):
        length = 6 + 2 * components
        if before[-length - 2 :].startswith(b"\xff\xda" + length.to_bytes(2, "big") + bytes((components,))):
            return components
    return 0
