"""Readings of the image of a CD or DVD that are needed to see all files that some system shows.

An image may have two trees of folders: one of plain names (ISO 9660, perhaps with the names of Rock Ridge),
and one of Unicode names (Joliet). Where they name the same extents, one is read, otherwise both. One with a
file system of the newer form (UDF) as well is read by its ISO 9660 trees alone.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

_SECTOR = 2048
_FIRST, _LAST = 16, 64
"""Sectors of volume descriptors."""
_PLAIN, _UNICODE = 1, 2
_ROOT, _RECORD_MIN, _FOLDER, _NAME = 156, 34, 2, 33
_ITSELF_AND_ABOVE = frozenset({b"\1\0", b"\1\1"})
"""Length and name of a folder's first two records."""
_FOLDER_BYTES_MAX = 64 << 20
_CONTINUED = re.compile(rb"CE\x1c\x01(.{4}).{4}(.{4}).{4}(.{4})", re.DOTALL)
"""Says where the fields of a record go on (SUSP 1.12, 5.1): sector, offset and length."""
_CONTINUATIONS_MAX = 100_000
_NUMBER = struct.Struct("<I")

_Extent = tuple[int, int]


def readings(file: PreadFile, members_max: int) -> tuple[bytes, ...]:
    """Return options of the library for each reading that is needed. Trees that have more files and folders
    than `members_max`, or lead to the same place again and again, are an error: the library would not end
    before its memory does."""
    roots: dict[int, list[_Extent]] = {_PLAIN: [], _UNICODE: []}
    for sector in range(_FIRST, _LAST):
        descriptor = _read(file, sector * _SECTOR, _SECTOR)
        if descriptor[1:6] == b"CD001" and len(descriptor) == _SECTOR and descriptor[0] in roots:
            roots[descriptor[0]].append(_extent(descriptor, _ROOT))
    tree = _Trees(file, members_max)
    plain, unicode = ([tree.files(root) for root in dict.fromkeys(found)] for found in roots.values())
    if not unicode or (len(roots[_PLAIN]) == len(roots[_UNICODE]) == 1 and plain == unicode):
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


class _Trees:
    """The trees of folders of an image, which are read as often as they are referred to."""

    def __init__(self, file: PreadFile, members_max: int) -> None:
        self._file = file
        # The library passes over what is no file, and a file may have several extents.
        self._records_left = 2 * members_max
        self._bytes_left, self._continuations_left = _FOLDER_BYTES_MAX, _CONTINUATIONS_MAX

    def files(self, root: _Extent) -> set[_Extent]:
        """Return the extents of all files in a tree."""
        found: set[_Extent] = set()
        waiting = [root]
        while waiting:
            sector, length = waiting.pop()
            self._bytes_left -= max(length, _SECTOR)
            if self._bytes_left < 0:
                raise ContainerError(Reason.CONTAINER_MEMBERS)
            for record in _records(_read(self._file, sector * _SECTOR, length)):
                self._records_left -= 1
                if self._records_left < 0:
                    raise ContainerError(Reason.CONTAINER_MEMBERS)
                self._follow(record)
                if record[_NAME - 1 : _NAME + 1] in _ITSELF_AND_ABOVE:
                    continue
                if record[25] & _FOLDER:
                    waiting.append(_extent(record, 0))
                else:
                    found.add(_extent(record, 0))
        return found

    def _follow(self, record: bytes) -> None:
        """Follow the fields of a record that lie elsewhere."""
        waiting = [record]
        while waiting:
            for found in _CONTINUED.finditer(waiting.pop()):
                self._continuations_left -= 1
                if self._continuations_left < 0:
                    raise ContainerError(Reason.CONTAINER_BROKEN)
                sector, offset, length = (_NUMBER.unpack(part)[0] for part in found.groups())
                waiting.append(_read(self._file, sector * _SECTOR + offset, min(length, _SECTOR)))


def _records(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        size = content[at]
        if size < _RECORD_MIN or at + size > len(content):
            # Records do not cross the end of a sector.
            at = (at // _SECTOR + 1) * _SECTOR
            continue
        yield content[at : at + size]
        at += size
