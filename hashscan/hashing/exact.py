"""Compute the exact digests (MD5, SHA-1, SHA-256, SHA-512, XXH3) of a file's bytes in one read."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import xxhash

from hashscan.hashing.hash_algorithms import ExactHash, Hasher

_BUFFER_SIZE = 256 * 1024
"""Size of the read buffer in bytes. It stays in the processor's cache while one digest after another reads
it. Measured with md5, sha1 and sha256 together, sizes from 64 KiB to 4 MiB are equally fast; this one is
large enough for disks and needs little memory."""

_GROWTH_MAX = 64 << 20
"""Maximum number of bytes that are read beyond a file's stated size."""


class _HashlibHash(ExactHash):
    """A hash that hashlib has by the same name."""

    def __init__(self) -> None:
        # A copy takes a fifth of the time of a new one.
        self._empty = hashlib.new(self.name, usedforsecurity=False)

    def new(self) -> Hasher:
        return self._empty.copy()


class MD5(_HashlibHash):
    """MD5 (RFC 1321), which most lists of known material still use."""

    name = "md5"


class SHA1(_HashlibHash):
    """SHA-1 (FIPS 180-4)."""

    name = "sha1"


class SHA256(_HashlibHash):
    """SHA-256 (FIPS 180-4), which identifies content."""

    name = "sha256"


class SHA512(_HashlibHash):
    """SHA-512 (FIPS 180-4)."""

    name = "sha512"


class XXH3(ExactHash):
    """XXH3 with 128 bits, seed 0, in the canonical (big-endian) form."""

    name = "xxh3_128"

    def new(self) -> Hasher:
        """Return a new running digest."""
        hasher: Hasher = xxhash.xxh3_128()
        return hasher


class FileGrewError(OSError):
    """Error: a file became much longer while it was read."""


class ExactReader:
    """A reader that reads files, one after another and each once, and computes all their exact digests.

    A file's own offset is neither used nor moved, since another process may share it. A file is read to its
    end, whatever its stated length, but only up to a limit beyond that length: otherwise a writer could keep
    the reader busy forever. A file is never mapped into memory: if it were truncated, the access would kill
    this process.

    Holes are read like data. The kernel's information about holes (SEEK_DATA) is not used, since a faulty
    file system or a malicious FUSE could hide content with it. The caller limits how many bytes of holes are
    read.
    """

    def __init__(self, hashes: Sequence[ExactHash]) -> None:
        # Copying a digest object is faster than making a new one.
        self._hashes = [(algorithm.name, algorithm.new().copy) for algorithm in hashes]
        # One buffer for all files: most are small, and allocating a buffer takes longer than reading them.
        self._buffer = memoryview(bytearray(_BUFFER_SIZE))
        self._file = -1, 0, 0
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._ask: Callable[[int], None] | None = None

    def begin(self, descriptor: int, size: int, ask: Callable[[int], None] | None = None) -> memoryview:
        """Read a file's first bytes.

        Args:
            descriptor: descriptor of a regular file, open for reading.
            size: the file's size from fstat, in bytes.
            ask: called with a number of bytes before they are read; returns when reading is allowed.

        Returns:
            The first 256 KiB, or the whole file if it is shorter; overwritten when reading continues.

        Raises:
            OSError: the file can't be read.
        """
        if ask is not None:
            ask(min(size, _BUFFER_SIZE))
        count = os.preadv(descriptor, [self._buffer], 0)
        # Some file systems return fewer bytes than requested before the end of the file.
        while count < min(size, _BUFFER_SIZE):
            more = os.preadv(descriptor, [self._buffer[count:]], count)
            if not more:
                break
            count += more
        self._file = descriptor, size, count
        self._pieces = None
        self._ask = ask
        return self._buffer[:count]

    def begin_content(self, content: memoryview) -> memoryview:
        """Begin with a file that is in memory already.

        Args:
            content: all its bytes, which must not change.

        Returns:
            The first 256 KiB, or the whole file if it is shorter.
        """
        self._pieces = (content[at : at + _BUFFER_SIZE] for at in range(0, len(content), _BUFFER_SIZE))
        return content[:_BUFFER_SIZE]

    def begin_pieces(self, pieces: Iterable[bytes | memoryview]) -> memoryview:
        """Begin with a file whose bytes come as a stream and can be read only once.

        Args:
            pieces: all its bytes in order; exceptions raised while iterating are not caught.

        Returns:
            The first 256 KiB, or the whole file if it is shorter.
        """
        pieces = iter(pieces)
        first = bytearray()
        for piece in pieces:
            first += piece
            if len(first) >= _BUFFER_SIZE:
                break
        start = memoryview(first)
        self._pieces = chain((start,), pieces)
        return start[:_BUFFER_SIZE]

    def finish(self) -> tuple[dict[str, bytes], int]:
        """Read the file that was begun last to its end.

        Returns:
            The digests by algorithm name, and the number of bytes read.

        Raises:
            FileGrewError: the file is more than 64 MiB longer than its stated size.
            OSError: the file can't be read.
        """
        running = [(name, start()) for name, start in self._hashes]
        pieces, self._pieces = self._pieces, None
        total = self._hash_file(running) if pieces is None else _hash_pieces(pieces, running)
        return {name: hasher.digest() for name, hasher in running}, total

    def _hash_file(self, running: Sequence[tuple[str, Hasher]]) -> int:
        """Hash a file from the bytes in the buffer to its end; return the number of bytes."""
        descriptor, size, count = self._file
        offset = 0
        while count:
            offset += count
            filled = self._buffer[:count]
            for _, hasher in running:
                hasher.update(filled)
            # A small file of its stated size ends here; a later check of its size shows whether it grew.
            if offset == size < _BUFFER_SIZE:
                break
            if offset > size + _GROWTH_MAX:
                raise FileGrewError(errno.EFBIG, "it is much longer than it was")
            if self._ask is not None and offset < size:
                self._ask(min(size - offset, _BUFFER_SIZE))
            count = os.preadv(descriptor, [self._buffer], offset)
        return offset


def _hash_pieces(pieces: Iterable[bytes | memoryview], running: Sequence[tuple[str, Hasher]]) -> int:
    total = 0
    for piece in pieces:
        total += len(piece)
        for _, hasher in running:
            hasher.update(memoryview(piece))
    return total
