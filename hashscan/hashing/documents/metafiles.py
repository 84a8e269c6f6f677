"""Read Windows metafiles (WMF, EMF): recorded calls of drawing functions, some of which have pictures.

Members are the bitmaps of such calls, as BMP files ([MS-WMF] 2.3, [MS-EMF] 2.3); the pictures and metafiles
in the objects of EMF+ ([MS-EMFPLUS] 2.2.2); and what a comment or an escape holds. Lines, shapes and letters
are no pictures: a metafile of these alone is `clean`. One that draws very many points or rectangles, of which
a picture can be made, is `Reason.UNSUPPORTED`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.openers import READ_MAX, failed, guarded, stored
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

IS_METAFILE = re.compile(
    rb"\x01\0\0\0.{36} EMF|\xd7\xcd\xc6\x9a|[\x01\x02]\0\x09\0(?=.{17}\0[\0-\x49\xf0-\xff][\0-\x0f])",
    re.DOTALL,
)
"""Begin of a metafile: of EMF, of WMF with a header for programs, and without it."""
PICTURES = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|" + IS_METAFILE.pattern, re.DOTALL)
"""Begin of a picture in bytes that are no picture."""

_STAR_VIEW = b"VCLMTF"
_STAR_VIEW_ACTION = struct.Struct("<HHI")
_STAR_VIEW_SHAPES = frozenset(
    {0, *range(100, 116), 125, 126, *range(128, 143), *range(144, 147), *range(148, 152), 512}
)
_STAR_VIEW_POINTS = frozenset({100, 101, 103})
"""Actions of LibreOffice's metafiles (vcl/metaact.hxx) that draw no bitmap, and those that draw a point or a
rectangle."""

_POINTS_MAX = 4096
"""Points and rectangles of a metafile that is no picture."""

_RECORDS_MAX = 1_000_000
"""Records of a metafile, and of EMF+ in it; more would take more than some seconds."""
_BITMAP_FILE = struct.Struct("<2sIII")
_BITMAP = struct.Struct("<IiiHHIIiiII")
_WIDE, _SHORT, _PLUS = struct.Struct("<II"), struct.Struct("<IH"), struct.Struct("<HHII")
_PLACEABLE, _WMF_HEADER = 22, 18

_EMF_END, _EMF_COMMENT = 14, 70
_EMF_BITMAPS = {
    **dict.fromkeys((76, 77, 114, 116), (84,)),
    78: (84, 112),
    79: (96, 124),
    **dict.fromkeys((80, 81), (48,)),
    **dict.fromkeys((93, 94), (16,)),
    95: (12,),
}
"""Offsets at which a record of EMF states the place and length of a bitmap's header and of its pixels."""
_EMF_POINTS = frozenset({15, 43, 71, 76})
"""Points, rectangles, filled regions, and copies without a bitmap."""

_WMF_END, _WMF_ESCAPE = 0, 0x0626
_WMF_BITMAPS = {0x0940: 22, 0x0B41: 26, 0x0F43: 28, 0x0D33: 24, 0x0142: 10}
"""Offset of the bitmap in a record of WMF."""
_WMF_OLD_BITMAPS = frozenset({0x0922, 0x0B23, 0x01F9, 0x02FD, 0x06FE})
"""Those of a bitmap in the form of the device, as before Windows 3."""
_WMF_POINTS = frozenset({0x041F, 0x041B, 0x061D, 0x0940})

_PLUS_MARK, _PLUS_OBJECT, _PLUS_RECTANGLES = b"EMF+", 0x4008, 0x400A
_BRUSH, _IMAGE, _TEXTURE = 1, 5, 2
_INDEXED = {0x30101: 1, 0x30402: 4, 0x30803: 8}
_DIRECT = {0x21005: 16, 0x21808: 24, 0x22009: 32, 0x26200A: 32, 0xE200B: 32}
"""Bits of a pixel by the format."""


class MetafileOpener:
    """Opens metafiles."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the pictures in a metafile."""
        if file.size > READ_MAX:
            raise ContainerError(Reason.CONTAINER_BYTES)
        content = file.read()
        try:
            if content.startswith(_STAR_VIEW):
                yield from _star_view_members(content)
            elif content[40:44] == b" EMF":
                yield from _Enhanced().members(content)
            else:
                yield from _windows_members(content)
        except (struct.error, IndexError):
            raise ContainerError(Reason.CONTAINER_BROKEN) from None


def _star_view_members(content: bytes) -> Iterator[ArchiveMember]:
    """Yield a failed member for a metafile of LibreOffice that draws more than lines, shapes and letters.

    OpenDocument has one for each chart and formula.
    """
    at = len(_STAR_VIEW) + 6 + int.from_bytes(content[len(_STAR_VIEW) + 2 : len(_STAR_VIEW) + 6], "little")
    points = 0
    for _ in range(_RECORDS_MAX):
        if at >= len(content):
            break
        kind, _, size = _STAR_VIEW_ACTION.unpack_from(content, at)
        end = at + _STAR_VIEW_ACTION.size + size
        points += kind in _STAR_VIEW_POINTS
        if kind not in _STAR_VIEW_SHAPES or PICTURES.search(content, at, end) or points > _POINTS_MAX:
            yield failed(b"action@%d" % at, Reason.UNSUPPORTED)
            return
        if b"EMF" in content[at:end]:
            yield failed(b"action@%d" % at, Reason.CONTAINER)
            return
        at = end
    else:
        raise ContainerError(Reason.CONTAINER_MEMBERS)


def bitmap_file(bitmap: bytes) -> bytes:
    """Return a device-independent bitmap, whose pixels follow its header and colours, as a BMP file."""
    header, colours, masks = 40, 0, 0
    if bitmap.startswith(b"\x0c\0\0\0"):
        # Of OS/2; its colours have three bytes.
        depth = int.from_bytes(bitmap[10:12], "little")
        pixels = 26 + (3 << depth if depth <= 8 else 0)
        return _BITMAP_FILE.pack(b"BM", 14 + len(bitmap), 0, pixels) + bitmap
    if len(bitmap) >= 40:
        header, depth, used = struct.unpack_from("<I", bitmap)[0], bitmap[14], bitmap[32:36]
        colours = int.from_bytes(used, "little") or (1 << depth if depth <= 8 else 0)
        masks = {3: 12, 6: 16}.get(bitmap[16], 0) if header == 40 else 0
    pixels = 14 + min(header, 1 << 16) + masks + 4 * min(colours, 256)
    return _BITMAP_FILE.pack(b"BM", 14 + len(bitmap), 0, pixels) + bitmap


def in_bytes(name: bytes, content: bytes, begins: re.Pattern[bytes] = PICTURES) -> Iterator[ArchiveMember]:
    """Yield what begins like a picture in bytes that are none, up to their end."""
    left = READ_MAX
    for found in begins.finditer(content):
        place = name + b"@%d" % found.start()
        left -= len(content) - found.start()
        if left < 0:
            yield failed(place, Reason.CONTAINER_BYTES)
            return
        yield stored(place, content[found.start() :])


def _windows_members(content: bytes) -> Iterator[ArchiveMember]:
    at = _PLACEABLE if content.startswith(b"\xd7\xcd\xc6\x9a") else 0
    at += _WMF_HEADER
    points, comments = 0, []
    for _ in range(_RECORDS_MAX):
        words, kind = _SHORT.unpack_from(content, at)
        size = 2 * words
        record = content[at : at + size]
        if kind == _WMF_END:
            break
        if size < 6 or len(record) < size:
            raise ContainerError(Reason.CONTAINER_BROKEN)
        name = b"record=%d" % at
        at += size
        has_bitmap = words != (kind >> 8) + 3
        if kind in _WMF_OLD_BITMAPS and has_bitmap:
            yield failed(name, Reason.UNSUPPORTED)
        elif kind in _WMF_BITMAPS and has_bitmap:
            yield from _guarded(name, _packed(name, record[_WMF_BITMAPS[kind] :]))
        elif kind == _WMF_ESCAPE:
            # An enhanced metafile is divided among several.
            enhanced = record[10:14] == b"WMFC"
            if enhanced:
                comments.append(record[44:])
            else:
                yield from in_bytes(name, record[10:])
        points += kind in _WMF_POINTS
    else:
        raise ContainerError(Reason.CONTAINER_MEMBERS)
    yield from in_bytes(b"comment", b"".join(comments))
    if points > _POINTS_MAX:
        yield failed(b"", Reason.UNSUPPORTED)


def _guarded(name: bytes, parts: Iterator[ArchiveMember]) -> Iterator[ArchiveMember]:
    """Yield what is in a record; one that is too short, or fails otherwise, costs no other record."""

    def members() -> Iterator[ArchiveMember]:
        try:
            yield from parts
        except (struct.error, IndexError):
            yield failed(name, Reason.CONTAINER_BROKEN)

    yield from guarded(name, members())


def _packed(name: bytes, bitmap: bytes) -> Iterator[ArchiveMember]:
    """Yield a bitmap as a member: a JPEG or PNG, or a BMP file."""
    found = PICTURES.match(bitmap, struct.unpack_from("<I", bitmap)[0]) if bitmap[16:17] in b"\4\5" else None
    yield stored(name, bitmap_file(bitmap) if found is None else bitmap[found.start() :])


class _Enhanced:
    """The records of an EMF, and those of EMF+ in its comments."""

    def __init__(self) -> None:
        self._points = 0
        self._object: list[bytes] = []
        """Begin of an object of EMF+ that goes on in the next record."""

    def members(self, content: bytes) -> Iterator[ArchiveMember]:
        at, plus = 0, []
        for _ in range(_RECORDS_MAX):
            kind, size = _WIDE.unpack_from(content, at)
            record = content[at : at + size]
            if size < 8 or len(record) < size:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            if kind == _EMF_END:
                break
            name = b"record=%d" % at
            if kind == _EMF_COMMENT and record[12:16] == _PLUS_MARK:
                plus.append(record[16 : 12 + int.from_bytes(record[8:12], "little")])
            elif kind == _EMF_COMMENT:
                yield from in_bytes(name, record[12:])
            else:
                yield from _guarded(name, self._drawn(name, kind, record))
            at += size
        else:
            raise ContainerError(Reason.CONTAINER_MEMBERS)
        yield from self._plus(b"".join(plus))
        if self._points > _POINTS_MAX:
            yield failed(b"", Reason.UNSUPPORTED)

    def _drawn(self, name: bytes, kind: int, record: bytes) -> Iterator[ArchiveMember]:
        found = False
        for number, place in enumerate(_EMF_BITMAPS.get(kind, ())):
            if place + 16 > len(record):
                continue
            header_at, header, pixels_at, pixels = struct.unpack_from("<IIII", record, place)
            if header and pixels:
                found = True
                first, rest = record[header_at : header_at + header], record[pixels_at : pixels_at + pixels]
                if len(first) < header or len(rest) < pixels:
                    yield failed(name, Reason.CONTAINER_BROKEN)
                elif first[16:17] in b"\4\5" and PICTURES.match(rest):
                    yield stored(name, rest)
                else:
                    file = _BITMAP_FILE.pack(b"BM", 14 + header + pixels, 0, 14 + header)
                    yield stored(name + b",%d" % number, file + first + rest)
        self._points += kind in _EMF_POINTS and not found

    def _plus(self, records: bytes) -> Iterator[ArchiveMember]:
        """Yield the pictures in records of EMF+."""
        at = number = 0
        while at < len(records):
            number += 1
            if number > _RECORDS_MAX:
                raise ContainerError(Reason.CONTAINER_MEMBERS)
            kind, flags, size, length = _PLUS.unpack_from(records, at)
            name = b"plus=%d" % at
            content = records[at + _PLUS.size : at + _PLUS.size + length]
            if size < _PLUS.size or len(content) < length:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            if kind == _PLUS_OBJECT:
                if flags & 0x8000:
                    self._object.append(content[4:])
                else:
                    whole = b"".join((*self._object, content))
                    self._object.clear()
                    yield from _guarded(name, _object(name, flags >> 8 & 0x7F, whole))
            elif kind == _PLUS_RECTANGLES:
                self._points += int.from_bytes(content[4:8], "little")
            at += size


def _object(name: bytes, kind: int, content: bytes) -> Iterator[ArchiveMember]:
    """Yield the picture of an object of EMF+, if it has one."""
    if kind == _BRUSH and int.from_bytes(content[4:8], "little") == _TEXTURE:
        has_transform = content[8] & 2
        content = content[40 if has_transform else 16 :]
    elif kind != _IMAGE:
        return
    if len(content) < 8:
        return
    form = int.from_bytes(content[4:8], "little")
    if form == 2:
        yield stored(name, content[16:])
    elif form == 1:
        width, height, stride, pixels, packed = struct.unpack_from("<iiiII", content, 8)
        yield (
            stored(name, content[28:])
            if packed
            else _plain(name, width, height, stride, pixels, content[28:])
        )


def _plain(name: bytes, width: int, height: int, stride: int, pixels: int, content: bytes) -> ArchiveMember:
    """Return the pixels of an object of EMF+ as a BMP file."""
    depth = _INDEXED.get(pixels) or _DIRECT.get(pixels, 0)
    colours = 0
    if pixels in _INDEXED:
        colours = int.from_bytes(content[4:8], "little")
        content = content[8:]
    row = (width * depth + 31) // 32 * 4
    if not depth or stride != row or not 0 < height < 1 << 16 or not 0 < width < 1 << 16 or colours > 256:
        return failed(name, Reason.UNSUPPORTED)
    header = _BITMAP.pack(40, width, -height, 1, depth, 0, 0, 0, 0, colours, 0)
    return stored(name, bitmap_file(header + content))
