"""Read archives by Python's standard library, where libarchive is not installed or the sandbox is incomplete.

Of these parsers, only those that unpack are written in C. They write nothing, and load nothing once a decoder
has begun.
"""

from __future__ import annotations

from collections.abc import Iterator

from hashscan.hashing.archives.library import PIECE_SIZE, STREAM_START, ArchiveMember, is_other_stream
from hashscan.hashing.archives.tar_members import Source, tar_members
from hashscan.hashing.archives.unpacking import UNPACKERS, blocks_of, unpacked
from hashscan.hashing.archives.zip_members import streamed_members, zip_members
from hashscan.hashing.container_kinds import is_standard
from hashscan.hashing.containers import START_SIZE
from hashscan.hashing.formats import sniff
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

_FURTHER = {
    "gzip": (b"\x1f\x8b",),
    "bzip2": (b"BZh",),
    "xz": (b"\xfd7zXZ\0",),
    "Zstandard": (b"\x28\xb5\x2f\xfd", *(bytes((first,)) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))),
}
"""First bytes of a further stream, which programs append to the first one."""
_BEFORE_FIRST = 512
"""Bytes in front of the first file of a tar archive."""


class StandardLibrary:
    """Archives read in place of `ArchiveLibrary`, with the same methods."""

    def opens(self, kind: str) -> bool:
        return is_standard(kind)

    def members(self, file: PreadFile, kind: str, options: bytes = b"") -> Iterator[ArchiveMember]:
        """Yield the members of an archive, or the one content of a compressed file; there are no options."""
        if kind == "ZIP":
            return zip_members(file)
        if kind == "tar":
            return tar_members(Source(blocks_of(file)))
        return _in_compressed(Source(_content_of(file, kind)))

    def streamed(self, file: PreadFile) -> Iterator[ArchiveMember]:
        return streamed_members(file)


def _in_compressed(source: Source) -> Iterator[ArchiveMember]:
    """Yield the members of a compressed tar archive, or the content of another compressed file."""
    # What is a picture or a document besides is one member, whose containers are opened, too.
    start = source.peek(START_SIZE)
    kind = sniff(start) if start else None
    if kind is not None and kind.name == "tar" and b"%PDF" not in start[:_BEFORE_FIRST]:
        yield from tar_members(source)
    else:
        yield ArchiveMember(b"data", True, iter(lambda: source.some(PIECE_SIZE), b""))


def _content_of(file: PreadFile, kind: str) -> Iterator[bytes]:
    """Yield the content of a compressed file, of one of `UNPACKERS`; bytes behind its streams that are no
    further one are ignored. A stream of another form there is in doubt: some programs unpack it, too."""
    blocks = blocks_of(file)
    rest: bytes | None = b""
    while True:
        rest = yield from unpacked(blocks, UNPACKERS[kind](), rest or b"")
        if rest is None:
            raise ContainerError(Reason.CONTAINER_BROKEN)
        # Zeros may fill the last block of a tape.
        rest = rest.lstrip(b"\0")
        while len(rest) < STREAM_START and (block := next(blocks, b"")):
            rest = (rest + block).lstrip(b"\0")
        if not rest.startswith(_FURTHER.get(kind, ())):
            if is_other_stream(rest, kind):
                raise ContainerError(Reason.CONTAINER_BROKEN)
            return
