"""Read the header of an ordinary JPEG quickly: baseline, one scan, complete, nothing unusual before it.

Nearly all JPEGs are of this kind. Pillow reads the header field by field, which takes longer than decoding
the pixels of a thumbnail. This module skips most of the header; Pillow's decoder still decodes the pixels,
directly into the target array (`jpeg_pixels`). Any unusual file is left to Pillow, so that the result is the
same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from hashscan.hashing.media.colour_tags import jpeg_profiles
from hashscan.hashing.media.icc_profiles import is_ordinary

LARGEST_FILE = 16 << 20
"""Maximum length in bytes of a file that is read whole."""

_TABLE = 65
"""Length in bytes of a quantization table with 8-bit values, including the number before it."""
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
"""Segments to skip (Huffman tables, restarts, application data, comments) by marker, with their minimum
length. Pillow may reject shorter segments, and Photoshop's of any length."""
_FRAME = Struct(">BHHB")
_SCALES = (8, 4, 2, 1)


@dataclass(frozen=True, slots=True)
class PlainHeader:
    """The header of an ordinary JPEG: the data before its scan."""

    size: tuple[int, int]
    """Width and height in pixels."""
    info: dict[str, bytes | int] = field(default_factory=dict)
    """EXIF data and the index of further pictures, if present, by Pillow's names."""


def read_header(content: bytes) -> PlainHeader | None:
    """Read the header of a JPEG (ITU-T T.81, annex B); return None if anything in it is unusual."""
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
    """Return the scale 1, 2, 4 or 8 for a JPEG: the largest that keeps both sides at least `side` pixels."""
    most = min(size) // side
    return next((scale for scale in _SCALES if scale <= most), 1)
