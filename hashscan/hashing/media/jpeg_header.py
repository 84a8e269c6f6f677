"""Read the header of an ordinary JPEG quickly: baseline, one scan, complete, nothing unusual before it.

Nearly all JPEGs are of this kind. Pillow reads the header field by field, which takes longer than decoding
the pixels of a thumbnail. This module skips most of the header; Pillow's decoder still decodes the pixels,
directly into the target array (`pillow_internals`). Any unusual file is left to Pillow, so that the result is
the same.
"""

from __future__ import annotations

import struct

from msgspec import Struct, field

from hashscan.hashing.media.colour_tags import jpeg_profiles
from hashscan.hashing.media.icc_profiles import is_ordinary
from hashscan.hashing.pread import PictureFile

LARGEST_FILE = 16 << 20
"""Maximum length in bytes of a file that is read whole."""

_TABLE = 65
"""Length in bytes of a quantization table with 8-bit values, including the number before it."""
_START_OF_FRAME, _START_OF_SCAN, _TABLES = 0xC0, 0xDA, 0xDB
_EXIF_DATA, _PROFILE = 0xE1, 0xE2
_EXIF, _INDEX, _COLOURS = b"Exif\0\0", b"MPF\0", b"ICC_PROFILE\0"
_READ = frozenset({_START_OF_FRAME, _TABLES, _EXIF_DATA, _PROFILE})
_NEVER = 1 << 16
_PASSED = {
    **dict.fromkeys((0xC4, 0xDD, *range(0xE0, 0xF0), 0xFE), 0),
    0xE0: 9,
    0xE2: 16,
    0xED: _NEVER,
    0xEE: 9,
}
"""Segments to skip (Huffman tables, restarts, application data, comments) by marker, with their minimum
length. Pillow may reject shorter segments, and Photoshop's of any length."""
_FRAME = struct.Struct(">BHHB")
_SCALES = (8, 4, 2, 1)


class PlainHeader(Struct, frozen=True):
    """The header of an ordinary JPEG: the data before its scan."""

    size: tuple[int, int]
    """Width and height in pixels."""
    info: dict[str, bytes | int] = field(default_factory=dict)
    """EXIF data and the index of further pictures, if present, by Pillow's names."""


def read_header(content: bytes) -> PlainHeader | None:
    """Read the header of a JPEG (ITU-T T.81, annex B); return None if anything in it is unusual."""
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    segments = _Segments(content)
    place, end = 2, len(content)
    while place + 4 <= end and content[place] == 0xFF:
        marker = content[place + 1]
        length = content[place + 2] << 8 | content[place + 3]
        first = place + 4
        place += 2 + length
        if length < 2 or place > end:
            return None
        if marker == _START_OF_SCAN:
            return segments.header(first, length)
        if marker in _READ:
            if not segments.read(marker, first, place):
                return None
        elif length < _PASSED.get(marker, _NEVER):
            return None
    return None


class _Segments:
    """The segments before the scan of a JPEG, as far as they were read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._size: tuple[int, int] | None = None
        self._components = 0
        self._info: dict[str, bytes | int] = {}
        self._colours: list[bytes] = []

    def read(self, marker: int, first: int, end: int) -> bool:
        """Read the segment whose content is between two offsets; return False if it is unusual."""
        content, length = self._content, end - first + 2
        if marker == _TABLES:
            return not (length - 2) % _TABLE and max(content[first:end:_TABLE], default=0) <= 3
        if marker == _START_OF_FRAME:
            return self._read_frame(first, length)
        if marker == _EXIF_DATA and content.startswith(_EXIF, first):
            if "exif" in self._info:
                return False
            self._info["exif"] = content[first:end]
        elif marker == _PROFILE and content.startswith(_INDEX, first):
            start = first + len(_INDEX)
            self._info |= {"mp": content[start:end], "mpoffset": start}
        elif length < _PASSED[marker]:
            return False
        elif marker == _PROFILE and content.startswith(_COLOURS, first):
            self._colours.append(content[first:end])
        return True

    def _read_frame(self, first: int, length: int) -> bool:
        if self._size or length < 8:
            return False
        bits, height, width, components = _FRAME.unpack_from(self._content, first)
        if bits != 8 or components not in {1, 3} or length != 8 + 3 * components or not height * width:
            return False
        self._size, self._components = (width, height), components
        return True

    def lossless(self, marker: int, first: int) -> LosslessHeader | None:
        """Return the header of a frame at this offset; None if its samples have an odd number of bits."""
        bits, height, width, _ = _FRAME.unpack_from(self._content, first)
        plain = PlainHeader((width, height), self._info)
        if not 2 <= bits <= 16:
            return None
        return LosslessHeader(plain, marker, bits, jpeg_profiles(self._colours))

    def header(self, first: int, length: int) -> PlainHeader | None:
        """Return the header, if the start of the scan at this offset is not unusual either."""
        components = self._components
        if not self._size or length != 6 + 2 * components or self._content[first] != components:
            return None
        if self._colours and not all(map(is_ordinary, jpeg_profiles(self._colours))):
            return None
        return PlainHeader(self._size, self._info)


_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Markers of frames: of JPEG, and of JPEG-LS (ITU-T T.87)."""
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Those with lossy compression in one or more scans, by Huffman or arithmetic coding."""
_SEGMENTS_MAX = 1 << 10


def is_unsupported_jpeg(file: PictureFile) -> bool:
    """Return True if a JPEG is lossless, JPEG-LS or hierarchical, or has samples of other than 8 bits."""
    place = 2
    for _ in range(_SEGMENTS_MAX):
        file.seek(place)
        head = file.read(5)
        if len(head) < 5 or head[0] != 0xFF or head[1] == _START_OF_SCAN:
            return False
        if head[1] in _FRAMES:
            return head[1] not in _DECODED_FRAMES or head[4] != 8
        place += 2 + int.from_bytes(head[2:4])
    return False


LOSSLESS, JPEG_LS = 0xC3, 0xF7
"""Markers of frames that FFmpeg decodes: lossless with Huffman coding, and JPEG-LS."""


class LosslessHeader(Struct, frozen=True):
    """The header of a JPEG that Pillow can't decode."""

    plain: PlainHeader
    marker: int
    """Marker of its frame."""
    bits: int
    """Bits of a sample, 2 to 16."""
    profiles: list[bytes]


def read_lossless_header(content: bytes) -> LosslessHeader | None:
    """Read the header of a JPEG up to its scan; return None if there is no frame, or two, or it is odd."""
    segments, frame, place = _Segments(content), None, 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4])
        first, place = place + 4, place + 2 + length
        if length < 2 or place > len(content):
            return None
        if marker == _START_OF_SCAN:
            return None if frame is None else segments.lossless(*frame)
        if marker in _FRAMES:
            if frame is not None or length < 8:
                return None
            frame = marker, first
        elif marker in {_EXIF_DATA, _PROFILE} and length >= _PASSED[marker]:
            segments.read(marker, first, place)
    return None


def scale_of(size: tuple[int, int], side: int) -> int:
    """Return the scale 1, 2, 4 or 8 for a JPEG: the largest that keeps both sides at least `side` pixels."""
    most = min(size) // side
    return next((scale for scale in _SCALES if scale <= most), 1)
