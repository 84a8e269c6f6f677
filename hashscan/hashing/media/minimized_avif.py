"""Rewrite an AVIF with a minimized image box (`mini`) as an ordinary one, which libavif reads.

Browsers show such files; the library that Pillow contains does not read them. Source: ISO/IEC 23008-12:2022,
amendment 2, and libavif's reader. The pictures themselves are copied as they are.
"""

from __future__ import annotations

import struct

from hashscan.hashing.media.colour_tags import boxes_of
from hashscan.hashing.media.picture_opening import PictureFile

_FILE_MAX = 64 << 20
"""Maximum length in bytes of a file that is rewritten in memory."""
_BOXES_MAX = 100
_TURNS = {5: b"\1", 3: b"\2", 6: b"\3", 7: b"\3", 8: b"\1"}
"""By EXIF orientation, the quarter turns against the clock."""
_MIRRORS = {2: b"\1", 4: b"\0", 5: b"\0", 7: b"\0"}
"""By EXIF orientation, the axis: 0 turns it upside down, 1 swaps left and right."""
_ESSENTIAL = frozenset({b"av1C", b"imir", b"irot"})
_OPACITY = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


class _Bits:
    """Numbers in a box, the highest bit of each byte first."""

    def __init__(self, content: bytes) -> None:
        self._content, self.place = content, 0

    def read(self, count: int) -> int:
        """Return the next number.

        Raises:
            EOFError: it isn't there.
        """
        start, end = self.place // 8, (self.place + count + 7) // 8
        if end > len(self._content):
            raise EOFError
        value = int.from_bytes(self._content[start:end]) >> (8 * end - self.place - count)
        self.place += count
        return value & ((1 << count) - 1)


def ordinary_avif(file: PictureFile) -> bytes | None:
    """Return the file without a minimized box; None if it has none.

    Raises:
        EOFError: the file is truncated.
        NotImplementedError: it has parts that are not read here.
    """
    for number, (kind, first, after) in enumerate(boxes_of(file, 0, file.size)):
        if number >= _BOXES_MAX:
            break
        if kind == b"mini":
            if after - first > _FILE_MAX:
                raise NotImplementedError
            file.seek(first)
            return _rewritten(file.read(after - first))
    return None


def _rewritten(box: bytes) -> bytes:
    bits = _Bits(box)
    version, coded_by, is_float, full, alpha, coded, hdr, icc, exif, xmp = map(
        bits.read, (2, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    )
    if version or coded_by or is_float or hdr:
        raise NotImplementedError
    sampling, orientation = bits.read(2), bits.read(3) + 1
    side = 15 if bits.read(1) else 7
    size = bits.read(side) + 1, bits.read(side) + 1
    # The place of colour values between those of brightness; the coded picture says the same.
    bits.read({1: 2, 2: 1}.get(sampling, 0))
    depth = bits.read(3) + 9 if bits.read(1) else 8
    multiplied = bits.read(1) if alpha else 0
    primaries, transfer = (2, 2) if icc else (1, 13)
    matrix = 6 if sampling else 2
    if coded:
        primaries, transfer = bits.read(8), bits.read(8)
        matrix = bits.read(8) if sampling else 2
    meta = (20 if bits.read(1) else 10) if icc or exif or xmp else 0
    config, data = 12 if bits.read(1) else 3, 28 if bits.read(1) else 15
    profile_size = bits.read(meta) + 1 if icc else 0
    config_size, size_of_main = bits.read(config), bits.read(data) + 1
    size_of_alpha = bits.read(data) if alpha else 0
    alpha_config_size = bits.read(config) if size_of_alpha else 0
    for _ in range(exif + xmp):
        bits.read(meta)
    place = (bits.place + 7) // 8
    pieces = list[bytes]()
    for length in (config_size, alpha_config_size, profile_size, size_of_alpha, size_of_main):
        pieces.append(box[place : place + length])
        if len(pieces[-1]) < length:
            raise EOFError
        place += length
    main_config, alpha_config, profile, alpha_data, main_data = pieces
    planes = 1 if not sampling else 3
    properties = [
        _full(b"ispe", struct.pack(">II", *size)),
        _full(b"pixi", bytes((planes, *[depth] * planes))),
        _box(b"av1C", main_config),
        _box(b"colr", b"nclx", struct.pack(">3HB", primaries, transfer, matrix, full << 7)),
        *([_box(b"colr", b"prof", profile)] if profile else []),
        *([_box(b"irot", _TURNS[orientation])] if orientation in _TURNS else []),
        *([_box(b"imir", _MIRRORS[orientation])] if orientation in _MIRRORS else []),
    ]
    uses = [list(range(1, len(properties) + 1))]
    data_of = [main_data]
    references = b""
    if size_of_alpha:
        first = len(properties) + 1
        properties += [
            _full(b"pixi", bytes((1, depth))),
            _box(b"av1C", alpha_config or main_config),
            _full(b"auxC", _OPACITY),
        ]
        turned = [number for number in uses[0] if properties[number - 1][4:8] in {b"irot", b"imir"}]
        uses.append([1, first, first + 1, first + 2, *turned])
        data_of.append(alpha_data)
        references = _box(b"auxl", struct.pack(">3H", 2, 1, 1))
        references += _box(b"prem", struct.pack(">3H", 1, 1, 2)) if multiplied else b""
    return _assembled(properties, uses, data_of, references)


def _assembled(properties: list[bytes], uses: list[list[int]], data: list[bytes], references: bytes) -> bytes:
    """Return a file of one picture, and perhaps its opacity."""
    head = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    items = range(1, len(data) + 1)
    essential = [0x80 if content[4:8] in _ESSENTIAL else 0 for content in properties]
    associations = b"".join(
        struct.pack(">HB", number, len(used)) + bytes(essential[each - 1] | each for each in used)
        for number, used in zip(items, uses, strict=True)
    )
    entries = [_full(b"infe", struct.pack(">HH4sB", number, 0, b"av01", 0), version=2) for number in items]

    def meta(start: int) -> bytes:
        located = b""
        for number, content in zip(items, data, strict=True):
            located += struct.pack(">HHHII", number, 0, 1, start, len(content))
            start += len(content)
        return _full(
            b"meta",
            _full(b"hdlr", bytes(4), b"pict", bytes(13)),
            _full(b"pitm", struct.pack(">H", 1)),
            _full(b"iloc", b"\x44\0", struct.pack(">H", len(data)), located),
            _full(b"iinf", struct.pack(">H", len(data)), *entries),
            _full(b"iref", references) if references else b"",
            _box(
                b"iprp",
                _box(b"ipco", *properties),
                _full(b"ipma", struct.pack(">I", len(data)), associations),
            ),
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + _box(b"mdat", *data)


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, *content: bytes, version: int = 0) -> bytes:
    return _box(kind, bytes((version, 0, 0, 0)), *content)
