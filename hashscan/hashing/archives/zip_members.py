"""Read ZIP archives by their directory, which is read as a stream, and as programs do that don't look at it.

`zip_structure` says if both give the same. `zipfile` would hold the whole directory in memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from hashscan.hashing.archives.library import PIECE_SIZE, ArchiveMember, MemberError
from hashscan.hashing.archives.unpacking import (
    UNPACKERS,
    Unpacker,
    blocks_of,
    lzma_of_zip,
    raw_deflate,
    unpacked,
)
from hashscan.hashing.archives.zip_structure import (
    CENTRAL,
    DEFLATE64,
    DESCRIBED,
    DIRECTORY_END,
    ENCRYPTED,
    END,
    LINK,
    LOCAL,
    MAX_32,
    MEMBER,
    Entry,
    StructureError,
    directory,
    entries,
    large,
)
from hashscan.hashing.containers import TAIL_SIZE
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

_STORED, _DEFLATED, _LZMA = 0, 8, 14
_METHODS = {DEFLATE64: "Deflate64", 12: "bzip2", 93: "Zstandard", 95: "xz"}
_MARKED = 2
"""Flag of a member whose LZMA has a mark at its end."""
_LZMA_HEAD = struct.Struct("<HH")
_LZMA_PROPERTIES = 5
_SIGNATURES = (MEMBER, b"PK\7\x08", CENTRAL)


def zip_members(file: PreadFile) -> Iterator[ArchiveMember]:
    """Yield the members that the directory names, those at one place once."""
    try:
        begin, end, base, _ = directory(file)
    except (StructureError, struct.error):
        begin, end, base = _likely_directory(file)
    if begin < 0:
        yield from streamed_members(file)
        raise ContainerError(Reason.CONTAINER_BROKEN)
    seen = set()
    try:
        for entry, name in entries(file, begin, end):
            key = entry.offset, entry.method, entry.packed
            if key in seen:
                continue
            seen.add(key)
            pieces = iter(()) if entry.mode == LINK else _pieces(file, base + entry.offset, entry)
            yield ArchiveMember(_name(name), not (entry.is_folder or entry.mode == LINK), pieces)
    except (StructureError, struct.error):
        raise ContainerError(Reason.CONTAINER_BROKEN) from None


def streamed_members(file: PreadFile) -> Iterator[ArchiveMember]:
    """Yield the members by the header in front of each, wherever the next one is."""
    at = _next_of(file, 0, (MEMBER,))
    while at < file.size:
        file.seek(at)
        header = file.read(LOCAL.size)
        if len(header) < LOCAL.size:
            return
        _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = LOCAL.unpack(header)
        name, extra = file.read(name_length), file.read(extra_length)
        size, packed = large(extra, size, packed)
        begin = at + LOCAL.size + name_length + extra_length
        unknown = bool(flags & DESCRIBED) and not packed
        if unknown:
            # Where a further one begins, if it is stored; unpackers know the end of others.
            stored = method == _STORED or flags & ENCRYPTED
            packed = (_next_of(file, begin, _SIGNATURES) if stored else file.size) - begin
        entry = Entry(at, flags, method, packed, size, False, 0, crc)
        content = _Content(file, begin, entry, checked=not unknown)
        yield ArchiveMember(_name(name), True, content.pieces())
        end = content.end if unknown else begin + packed
        at = _next_of(file, max(begin, end), (MEMBER,))


def _likely_directory(file: PreadFile) -> tuple[int, int, int]:
    """Return where a directory begins and ends that programs may take for it, and where its archive begins.

    It begins before the file if there is none.
    """
    first = max(0, file.size - TAIL_SIZE)
    file.seek(first)
    tail = file.read(TAIL_SIZE)
    place = tail.rfind(DIRECTORY_END, 0, max(0, len(tail) - END.size + len(DIRECTORY_END)))
    if place >= 0:
        *_, size, offset, _ = END.unpack_from(tail, place)
        end = first + place
        for begin in (end - size, offset):
            file.seek(max(0, begin))
            if 0 <= begin < end and file.read(len(CENTRAL)) == CENTRAL:
                return begin, end, begin - offset
    return -1, -1, 0


def _name(name: bytes) -> bytes:
    # Programs for Windows write the other one, and most programs take both for the same.
    return name.replace(b"\\", b"/")


def _next_of(file: PreadFile, at: int, signatures: tuple[bytes, ...]) -> int:
    """Return where the next of some signatures is; the file's length if there is none."""
    while at < file.size:
        file.seek(at)
        block = file.read(PIECE_SIZE)
        places = [place for place in map(block.find, signatures) if place >= 0]
        if places:
            return at + min(places)
        if len(block) < PIECE_SIZE:
            break
        at += len(block) - len(MEMBER) + 1
    return file.size


def _pieces(file: PreadFile, place: int, entry: Entry) -> Iterator[bytes]:
    """Yield the bytes of a member of the directory; its own header says where they begin."""
    if place < 0:
        raise MemberError(Reason.CONTAINER_BROKEN)
    file.seek(place)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or not header.startswith(MEMBER):
        raise MemberError(Reason.CONTAINER_BROKEN)
    name_length, extra_length = LOCAL.unpack(header)[-2:]
    begin = place + LOCAL.size + name_length + extra_length
    yield from _Content(file, begin, entry, checked=True).pieces()


class _Content:
    """The bytes of one member."""

    def __init__(self, file: PreadFile, begin: int, entry: Entry, *, checked: bool) -> None:
        """Begin; `checked` is True if the member's length and checksum are known, and compared."""
        self._file, self._begin, self._entry, self._checked = file, begin, entry, checked
        self.end = begin
        """The end of the unpacked bytes, so far."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the unpacked bytes."""
        entry = self._entry
        if entry.flags & ENCRYPTED:
            self.end = self._begin + entry.packed
            raise MemberError(Reason.ENCRYPTED)
        crc = size = 0
        try:
            for piece in self._unpacked():
                crc = zlib.crc32(piece, crc)
                size += len(piece)
                yield piece
        except ContainerError as error:
            raise MemberError(error.reason) from None
        if self._checked and (size, crc) != (entry.size, entry.crc):
            raise MemberError(Reason.CONTAINER_BROKEN)

    def _unpacked(self) -> Iterator[bytes]:
        blocks = self._blocks()
        if self._entry.method == _STORED:
            yield from blocks
            if self.end < self._begin + self._entry.packed:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            return
        rest = yield from unpacked(blocks, *self._unpacker(blocks))
        if rest is None:
            raise ContainerError(Reason.CONTAINER_BROKEN)
        self.end -= len(rest)
        # Programs that don't look at the directory see the next header there.
        ends = self._entry.method in {_DEFLATED, DEFLATE64}
        if self._checked and ends and self.end != self._begin + self._entry.packed:
            raise ContainerError(Reason.CONTAINER_BROKEN)

    def _blocks(self) -> Iterator[bytes]:
        for block in blocks_of(self._file, self._begin, self._entry.packed):
            self.end += len(block)
            yield block

    def _unpacker(self, blocks: Iterator[bytes]) -> tuple[Unpacker, bytes]:
        """Return what unpacks the method, and its first input."""
        method, flags = self._entry.method, self._entry.flags
        if method == _DEFLATED:
            return raw_deflate(), b""
        if method == _LZMA:
            first = next(blocks, b"")
            begin = _LZMA_HEAD.size + _LZMA_PROPERTIES
            if len(first) < begin or _LZMA_HEAD.unpack_from(first)[1] != _LZMA_PROPERTIES:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            size = None if flags & _MARKED or self._entry.size == MAX_32 else self._entry.size
            unpacker, header = lzma_of_zip(first[_LZMA_HEAD.size : begin], size)
            return unpacker, header + first[begin:]
        name = _METHODS.get(method, "")
        if name not in UNPACKERS:
            raise ContainerError(Reason.METHOD)
        return UNPACKERS[name](), b""
