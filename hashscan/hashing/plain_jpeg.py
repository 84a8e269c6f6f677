"""Decodes the JPEGs that nearly all are: baseline, in one scan, complete, with nothing odd before it.

Pillow reads what stands before the scan field by field, and takes longer for that than for a thumbnail's
pixels. Here it is passed over; the pixels are decoded by Pillow's decoder all the same, straight to where
they are wanted. Whatever isn't quite as it should be is left to Pillow, so that nothing comes out otherwise.

Pillow's functions that are called here are private: another version may have others. Whether they do what
they should is tried with a picture of our own before the first stranger's; where they don't, all is left to
Pillow.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from functools import cache
from struct import Struct

import numpy as np
from numpy.typing import NDArray

try:
    from PIL import _imaging
except ImportError:
    _imaging = None  # type: ignore[assignment]

from hashscan.hashing.colour_tags import jpeg_profiles
from hashscan.hashing.profiles import is_ordinary

LARGEST_FILE = 16 << 20
"""Longest file in bytes that is read as one piece."""

_TABLE = 65
"""Bytes of a table of quantization with values of eight bits, its number before it."""
_START_OF_FRAME, _START_OF_SCAN, _TABLES = 0xC0, 0xDA, 0xDB
_EXIF_DATA, _PROFILE = 0xE1, 0xE2
_EXIF, _INDEX, _COLOURS = b"Exif\0\0", b"MPF\0", b"ICC_PROFILE\0"
_PASSED = {
    **dict.fromkeys((0xC4, 0xDD, *range(0xE0, 0xF0), 0xFE), 0),
    0xE0: 9,
    0xE2: 16,
    0xED: 1 << 16,
    0xEE: 9,
}
"""By marker, segments that are passed over: Huffman tables, restarts, applications' data and comments. Where
they are shorter than this Pillow may complain, of Photoshop's whatever their length."""
_FRAME = Struct(">BHHB")
_SCALES = (8, 4, 2, 1)

_SAMPLE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1x"
    "eXBkeFxlZ2P/wAALCAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAAYH/8QAFhAAAwAAAAAAAAAAAAAAAAAAABVi/9oACAEBAAA/AJ9P"
    "ITyaAnkJ5P/Z"
)
_SAMPLE_SIZE = 16, 16
_SAMPLE_ROWS = [1, 3, 5, 7, 9, 11, 13, 15]
"""Brightness of its rows at half size, in sixteenths of the range."""


@dataclass(frozen=True, slots=True)
class PlainHeader:
    """What stands before the scan of such a JPEG."""

    size: tuple[int, int]
    """Width and height in pixels."""
    info: dict[str, bytes | int] = field(default_factory=dict)
    """By Pillow's names EXIF data and the index of further pictures, where there are some."""


def read_header(content: bytes) -> PlainHeader | None:
    """What stands before the scan (ITU-T T.81, annex B); None where anything is out of the ordinary."""
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    size: tuple[int, int] | None = None
    components = 0
    info: dict[str, bytes | int] = {}
    colours: list[bytes] = []
    place, end = 2, len(content)
    while place + 4 <= end and content[place] == 0xFF:
        marker = content[place + 1]
        length = content[place + 2] << 8 | content[place + 3]
        first = place + 4
        place += 2 + length
        if length < 2 or place > end:
            return None
        if marker == _TABLES:
            if (length - 2) % _TABLE or any(content[at] > 3 for at in range(first, place, _TABLE)):
                return None
        elif marker == _START_OF_FRAME:
            if size or length < 8:
                return None
            bits, height, width, components = _FRAME.unpack_from(content, first)
            if bits != 8 or components not in {1, 3} or length != 8 + 3 * components or not height * width:
                return None
            size = width, height
        elif marker == _START_OF_SCAN:
            if not size or length != 6 + 2 * components or content[first] != components:
                return None
            if colours and not all(map(is_ordinary, jpeg_profiles(colours))):
                return None
            return PlainHeader(size, info)
        elif marker == _EXIF_DATA and content.startswith(_EXIF, first):
            if "exif" in info:
                return None
            info["exif"] = content[first:place]
        elif marker == _PROFILE and content.startswith(_INDEX, first):
            info["mp"], info["mpoffset"] = content[first + len(_INDEX) : place], first + len(_INDEX)
        elif marker == _PROFILE and length >= _PASSED[marker] and content.startswith(_COLOURS, first):
            colours.append(content[first:place])
        elif marker not in _PASSED or length < _PASSED[marker]:
            return None
    return None


def scale_of(size: tuple[int, int], side: int) -> int:
    """By how much a JPEG is reduced: to the smallest size at which both sides are still so long."""
    most = min(size) // side
    return next((scale for scale in _SCALES if scale <= most), 1)


def decode(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    """The brightness of a JPEG.

    Args:
        content: the whole file.
        size: its width and height in pixels.
        scale: 1, 2, 4 or 8, by which it is reduced while it is decoded.

    Returns:
        Shape (height, width); None where it isn't all there or has a fault, or this Pillow can't do it.
    """
    return _tried(content, size, scale) if works() else None


@cache
def works() -> bool:
    """Whether Pillow's private functions decode a picture of our own; if not, its public ones decode all."""
    luma = _tried(_SAMPLE, _SAMPLE_SIZE, 2)
    return luma is not None and np.rint(luma.mean(axis=1) / 16).tolist() == _SAMPLE_ROWS


def _tried(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    try:
        return _decode(content, size, scale)
    except MemoryError:
        raise
    except Exception:
        # Another Pillow raises whatever it likes about arguments that it doesn't expect.
        return None


def _decode(content: bytes, size: tuple[int, int], scale: int) -> NDArray[np.uint8] | None:
    width, height = -(-size[0] // scale), -(-size[1] // scale)
    luma = np.empty((height, width), np.uint8)
    # A picture that lies in the array's memory.
    picture = _imaging.map_buffer(luma, (width, height), "raw", 0, ("L", 0, 1))
    decoder = _imaging.jpeg_decoder("L", "L", "", scale, 0)
    try:
        decoder.setimage(picture, (0, 0, width, height))
        state, error = decoder.decode(content)
    finally:
        decoder.cleanup()
    # Below 0 it is done, above it waits for more.
    return luma if state < 0 <= error else None
