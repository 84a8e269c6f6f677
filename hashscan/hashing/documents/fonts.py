"""Read the pictures of fonts that are shown for letters: those of the tables `sbix`, `CBDT` and `SVG `.

Pictures of emojis have 128 to 160 pixels, and their fonts have thousands of them: a PNG of less than
`SIDE_LEAST` is left out. A drawing without a picture and with few elements is left out, too. Tables in WOFF2
are compressed by Brotli, which no library here decompresses.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.openers import READ_MAX, failed, guarded, stored
from hashscan.hashing.containers import CONTAINERS, SEARCHED
from hashscan.hashing.font_tables import PICTURE_TABLES, Table, fonts_of, may_have_pictures
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.recogniser import Probed
from hashscan.model import Reason

SIDE_LEAST = 192
"""Pixels of the longer side of the smallest PNG that is a member."""
ELEMENTS_LEAST = 256
"""Elements of the smallest drawing without a picture that is a member."""

_PNG = b"\x89PNG\r\n\x1a\n"
_END = b"IEND"
_AS_PNG = frozenset({17, 18, 19})
"""Forms of the pictures in `CBDT`; others are pixels."""
_GZIP = 16 + zlib.MAX_WBITS
_MAY_HAVE_PICTURE = re.compile(rb"data:|[&\\]", re.IGNORECASE)
"""A URL of a picture, or an escape of XML or CSS by which it may be written."""


_FONT = next(known for known in CONTAINERS if known.name == "font with pictures")


def font_kinds(file: PreadFile) -> Iterator[Probed]:
    """Yield the kind of a font with a table of pictures; a probe."""
    if may_have_pictures(file.read(SEARCHED)):
        yield Probed(_FONT, certain=True, by="tables of fonts")


class FontOpener:
    """Opens fonts."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield the pictures of all letters."""
        seen: set[Table] = set()
        try:
            for tables in fonts_of(file):
                for tag in sorted(PICTURE_TABLES & tables.keys()):
                    if tables[tag] not in seen:
                        seen.add(tables[tag])
                        name = b"table=" + tag.strip()
                        yield from guarded(name, _of_table(file, tables, tag, name))
        except struct.error as error:
            raise ContainerError(Reason.CONTAINER_BROKEN) from error


def _of_table(
    file: PreadFile, tables: dict[bytes, Table], tag: bytes, name: bytes
) -> Iterator[ArchiveMember]:
    """Yield the pictures of one table."""
    if not tables[tag].offset:
        yield failed(name, Reason.METHOD)
        return
    needed = {b"sbix": b"maxp", b"CBDT": b"CBLC", b"SVG ": b"head"}[tag]
    pieces = [_bytes_of(file, tables[each]) if each in tables else b"" for each in (tag, needed)]
    content, other = pieces
    if content is None or other is None:
        yield failed(name, Reason.CONTAINER_BYTES)
        return
    reader = {b"sbix": _of_sbix, b"CBDT": _of_cbdt, b"SVG ": _of_svg}[tag]
    try:
        yield from reader(content, other, name)
    except (struct.error, zlib.error):
        yield failed(name, Reason.CONTAINER_BROKEN)


def _bytes_of(file: PreadFile, table: Table) -> bytes | None:
    """Return the bytes of a table; None if they are too many."""
    if max(table.size, table.unpacked) > READ_MAX:
        return None
    file.seek(table.offset)
    content = file.read(table.size)
    if table.size < table.unpacked:
        content = zlib.decompressobj().decompress(content, table.unpacked)
    return content


def _of_sbix(content: bytes, profile: bytes, name: bytes) -> Iterator[ArchiveMember]:
    """Yield the pictures of `sbix`, by the number of letters that `maxp` states."""
    (letters,), (strikes,) = struct.unpack_from(">H", profile, 4), struct.unpack_from(">I", content, 4)
    for strike in struct.unpack_from(f">{strikes}I", content, 8):
        places = struct.unpack_from(f">{letters + 1}I", content, strike + 4)
        for letter in range(letters):
            picture = content[strike + places[letter] + 8 : strike + places[letter + 1]]
            if picture and not _is_small(picture):
                yield stored(name + b",glyph=%d" % letter, picture)


def _of_cbdt(content: bytes, places: bytes, name: bytes) -> Iterator[ArchiveMember]:
    """Yield the pictures of `CBDT`, by its index `CBLC`."""
    (sizes,) = struct.unpack_from(">I", places, 4)
    for size in range(sizes):
        first, _, number = struct.unpack_from(">3I", places, 8 + 48 * size)
        for at in range(first, first + 8 * number, 8):
            (further,) = struct.unpack_from(">I", places, at + 4)
            (form,) = struct.unpack_from(">H", places, first + further + 2)
            if form not in _AS_PNG:
                yield failed(name, Reason.UNSUPPORTED)
                return
    begin = content.find(_PNG)
    while begin >= 0:
        end = content.find(_END, begin)
        end = end + 8 if end >= 0 else len(content)
        if not _is_small(content[begin : begin + 24]):
            yield stored(name + b",offset=%d" % begin, content[begin:end])
        begin = content.find(_PNG, begin + 1)


def _of_svg(content: bytes, head: bytes, name: bytes) -> Iterator[ArchiveMember]:
    """Yield the drawings of `SVG `; the baseline of a letter is their upper edge."""
    (units,), (first,) = struct.unpack_from(">H", head, 18), struct.unpack_from(">I", content, 2)
    (number,) = struct.unpack_from(">H", content, first)
    entries = {struct.unpack_from(">II", content, first + 6 + 12 * each) for each in range(number)}
    for place, size in sorted(entries):
        drawing = content[first + place : first + place + size]
        if drawing.startswith(b"\x1f\x8b"):
            unpacker = zlib.decompressobj(_GZIP)
            drawing = unpacker.decompress(drawing, READ_MAX)
            if unpacker.unconsumed_tail:
                yield failed(name + b",drawing=%d" % place, Reason.CONTAINER_BYTES)
                continue
        if _MAY_HAVE_PICTURE.search(drawing) is not None or drawing.count(b"<") >= ELEMENTS_LEAST:
            if b"viewBox" not in drawing:
                seen_at = b"<svg viewBox='0 -%d %d %d' " % (units, units, 2 * units)
                drawing = drawing.replace(b"<svg ", seen_at, 1)
            yield stored(name + b",drawing=%d" % place, drawing)


def _is_small(picture: bytes) -> bool:
    """Return True for a PNG of fewer pixels than count."""
    return picture.startswith(_PNG) and max(struct.unpack_from(">II", picture, 16)) < SIDE_LEAST
