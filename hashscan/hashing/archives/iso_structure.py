"""Readings of the image of a CD or DVD that are needed to see all files that some system shows.

An image may have two trees of folders: one of plain names (ISO 9660, perhaps with the names of Rock Ridge),
and one of Unicode names (Joliet). Where they name the same extents, one is read, otherwise both. One with a
file system of the newer form (UDF) as well is read by its ISO 9660 trees alone.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hashscan.model import Reason

if TYPE_CHECKING:
    from hashscan.hashing.pread import PreadFile

_SECTOR = 2048
_FIRST, _LAST = 16, 64
"""Sectors of volume descriptors."""
_PLAIN, _UNICODE = 1, 2
_ROOT, _RECORD_MIN, _FOLDER = 156, 34, 2
_FOLDERS_MAX = 10_000
_FOLDER_BYTES_MAX = 16 << 20
_NUMBER = struct.Struct("<I")

_Extent = tuple[int, int]


def readings(file: PreadFile) -> tuple[bytes, ...]:
    """Return options of the library for each reading that is needed."""
    roots: dict[int, list[_Extent]] = {_PLAIN: [], _UNICODE: []}
    for sector in range(_FIRST, _LAST):
        descriptor = _read(file, sector * _SECTOR, _SECTOR)
        if descriptor[1:6] == b"CD001" and len(descriptor) == _SECTOR and descriptor[0] in roots:
            roots[descriptor[0]].append(_extent(descriptor, _ROOT))
    if not roots[_UNICODE]:
        return (b"",)
    if sum(map(len, roots.values())) == 2:
        plain, unicode = (_files(file, found[0]) for found in roots.values())
        if plain is not None and plain == unicode:
            return (b"",)
    return b"", b"iso9660:!joliet"


def iso_doubt(file: PreadFile) -> Reason | None:
    """Return a reason if systems may show other files than those of the ISO 9660 trees, else None."""
    for sector in range(_FIRST, _LAST):
        if _read(file, sector * _SECTOR + 1, 4) == b"NSR0":
            return Reason.AMBIGUOUS
    return None


def _read(file: PreadFile, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _extent(record: bytes, at: int) -> _Extent:
    """Return the first sector and the length in bytes."""
    return _NUMBER.unpack_from(record, at + 2)[0], _NUMBER.unpack_from(record, at + 10)[0]


def _files(file: PreadFile, root: _Extent) -> set[_Extent] | None:
    """Return the extents of all files in a tree; None if there are too many folders."""
    found: set[_Extent] = set()
    folders, waiting, left = {root}, [root], _FOLDER_BYTES_MAX
    while waiting:
        sector, length = waiting.pop()
        left -= length
        if left < 0 or len(folders) > _FOLDERS_MAX:
            return None
        content = _read(file, sector * _SECTOR, length)
        at = 0
        while at < len(content):
            size = content[at]
            if size < _RECORD_MIN or at + size > len(content):
                # Records do not cross the end of a sector.
                at = (at // _SECTOR + 1) * _SECTOR
                continue
            extent = _extent(content, at)
            if not content[at + 25] & _FOLDER:
                found.add(extent)
            elif extent not in folders:
                folders.add(extent)
                waiting.append(extent)
            at += size
    return found
