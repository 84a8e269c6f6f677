"""Decodes the JPEGs that nearly all are: baseline, in one scan, complete, with nothing odd before it.

Pillow reads what stands before the scan field by field, and takes longer for that than for a thumbnail's
pixels. Here it is passed over; the pixels are decoded by Pillow's decoder all the same, straight to where
they are wanted (`jpeg_pixels`). Whatever isn't quite as it should be is left to Pillow, so that nothing comes
out otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

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
