"""Read the directory of a font's tables: OpenType, collections of it, WOFF, WOFF2.

Some tables hold pictures that are shown for letters: `sbix` and `CBDT` as files, `SVG ` as drawings. Most
fonts have none of them, and show nothing but outlines and layers of these in colours (`COLR`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from hashscan.hashing.pread import PreadFile

PICTURE_TABLES = frozenset({b"sbix", b"CBDT", b"SVG "})
FONTS = (b"\0\1\0\0", b"OTTO", b"true", b"ttcf", b"wOFF", b"wOF2")
"""First bytes of the formats."""

_COLLECTION, _WOFF, _WOFF2 = FONTS[3:]
_COLLECTED_MAX = 256
"""Fonts of a collection that are looked at; such a file of more is taken for one with pictures."""
_KNOWN = {32: b"CBDT", 36: b"SVG ", 37: b"sbix"}
"""Numbers of some tables in WOFF2 (its specification, 4.1)."""
_NAMED, _GLYPHS = 63, frozenset({10, 11})
_DIGITS_MAX = 5
"""Bytes of a number in WOFF2 (UIntBase128)."""


class Table(NamedTuple):
    """One table of a font."""

    tag: bytes
    offset: int
    """Offset of its first byte in the file; 0 in WOFF2, whose tables are compressed together."""
    size: int
    """Number of bytes that it has in the file."""
    unpacked: int
    """Number of bytes that it has when it is decompressed."""


def may_have_pictures(prefix: bytes) -> bool:
    """Return True if a file that begins with these bytes is a font with a table of pictures; or if its
    directory goes on behind them.

    Args:
        prefix: the first 4,096 bytes or more, or the whole file.
    """
    if not prefix.startswith(FONTS):
        return False
    try:
        return any(table.tag in PICTURE_TABLES for table in tables_of(prefix))
    except struct.error:
        return len(prefix) >= _LONG


_LONG = 4096
_TABLES_MAX = 4096
"""Tables of a font for which browsers refuse it (OpenType Sanitizer)."""


def tables_of(prefix: bytes) -> Iterator[Table]:
    """Yield the tables that the directory at the begin of a file names.

    Raises:
        struct.error: it goes on behind these bytes.
    """
    if prefix.startswith(_WOFF):
        (number,) = struct.unpack_from(">H", prefix, 12)
        for at in range(44, 44 + 20 * number, 20):
            tag, offset, size, unpacked = struct.unpack_from(">4s3I", prefix, at)
            yield Table(tag, offset, size, unpacked)
    elif prefix.startswith(_WOFF2):
        yield from _tables_of_woff2(prefix)
    elif prefix.startswith(_COLLECTION):
        (number,) = struct.unpack_from(">I", prefix, 8)
        if number > _COLLECTED_MAX:
            raise struct.error
        for place in struct.unpack_from(f">{number}I", prefix, 12):
            yield from _tables_at(prefix, place)
    else:
        yield from _tables_at(prefix, 0)


def _tables_at(prefix: bytes, begin: int) -> Iterator[Table]:
    (number,) = struct.unpack_from(">H", prefix, begin + 4)
    if number >= _TABLES_MAX:
        return
    for at in range(begin + 12, begin + 12 + 16 * number, 16):
        tag, _, offset, size = struct.unpack_from(">4s3I", prefix, at)
        yield Table(tag, offset, size, size)


def _tables_of_woff2(prefix: bytes) -> Iterator[Table]:
    (number,) = struct.unpack_from(">H", prefix, 12)
    at = 48
    for _ in range(number):
        (flags,) = struct.unpack_from("B", prefix, at)
        at += 1
        kind, version = flags & 63, flags >> 6
        tag = _KNOWN.get(kind, b"")
        if kind == _NAMED:
            (tag,) = struct.unpack_from("4s", prefix, at)
            at += 4
        unpacked, at = _number(prefix, at)
        # Outlines are transformed unless the version says that they are not; other tables only if it does.
        if version != (3 if kind in _GLYPHS else 0):
            _, at = _number(prefix, at)
        yield Table(tag, 0, 0, unpacked)


def _number(prefix: bytes, at: int) -> tuple[int, int]:
    found = 0
    for _ in range(_DIGITS_MAX):
        (byte,) = struct.unpack_from("B", prefix, at)
        at += 1
        found = found << 7 | byte & 127
        if not byte & 128:
            break
    return found, at


def fonts_of(file: PreadFile) -> Iterator[dict[bytes, Table]]:
    """Yield the tables of a font by their tags, or of each font of a collection.

    Raises:
        struct.error: it has no whole directory.
    """
    file.seek(0)
    head = file.read(_DIRECTORY_MAX)
    if not head.startswith(_COLLECTION):
        yield {table.tag: table for table in tables_of(head)}
        return
    (number,) = struct.unpack_from(">I", head, 8)
    for place in struct.unpack_from(f">{min(number, _COLLECTED_MAX)}I", head, 12):
        file.seek(place)
        yield {table.tag: table for table in _tables_at(file.read(_DIRECTORY_MAX), 0)}
    if number > _COLLECTED_MAX:
        raise struct.error


_DIRECTORY_MAX = 2 << 20
"""Bytes of the longest directory, and more."""
