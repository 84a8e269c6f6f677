"""Exact digests, of a file's bytes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import xxhash

from hashscan.hashing.base import ExactHash, Hasher

_BUFFER_SIZE = 256 * 1024
"""It stays in the processor's cache while one digest after another reads it. Measured with md5, sha1 and
sha256 together, 64 KiB to 4 MiB are equally fast, so this is large enough for disks and small for memory."""

_BEYOND = 64 << 20
"""Bytes that are read of a file beyond its size."""


class MD5(ExactHash):
    """MD5 (RFC 1321): what most lists of known material still consist of."""

    name = "md5"

    def start(self) -> Hasher:
        """A new running digest."""
        return hashlib.md5(usedforsecurity=False)


class SHA1(ExactHash):
    """SHA-1 (FIPS 180-4)."""

    name = "sha1"

    def start(self) -> Hasher:
        """A new running digest."""
        return hashlib.sha1(usedforsecurity=False)


class SHA256(ExactHash):
    """SHA-256 (FIPS 180-4), by which content is identified."""

    name = "sha256"

    def start(self) -> Hasher:
        """A new running digest."""
        return hashlib.sha256()


class SHA512(ExactHash):
    """SHA-512 (FIPS 180-4)."""

    name = "sha512"

    def start(self) -> Hasher:
        """A new running digest."""
        return hashlib.sha512()


class XXH3(ExactHash):
    """XXH3 with 128 bits, seed 0, in the canonical (big-endian) form."""

    name = "xxh3_128"

    def start(self) -> Hasher:
        """A new running digest."""
        hasher: Hasher = xxhash.xxh3_128()
        return hasher


class GrewError(OSError):
    """A file became much longer while it was read."""


class ExactReader:
    """Reads files, one after another and each once, and computes all their exact digests.

    A file's own offset is neither used nor moved, since another process may share it. Whatever length a file
    was said to have, it is read to its end, unless that is far away: a writer could keep the reader busy
    without end. It is never mapped: a file cut short would kill us.

    Holes are read like data. The kernel's word for where they are (SEEK_DATA) is not taken, since a file
    system that errs, or a FUSE that lies, would hide content; how many bytes of holes are read at all is for
    the caller to limit.
    """

    def __init__(self, hashes: Sequence[ExactHash]) -> None:
        """Take the algorithms."""
        # A copy is made in less time than a new one.
        self._hashes = [(algorithm.name, algorithm.start().copy) for algorithm in hashes]
        # Most files are small, and a buffer costs more to make than they do to read.
        self._buffer = memoryview(bytearray(_BUFFER_SIZE))
        self._file = -1, 0, 0
        self._content: memoryview | None = None
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._ask: Callable[[int], None] | None = None

    def begin(self, descriptor: int, size: int, ask: Callable[[int], None] | None = None) -> memoryview:
        """Read a file's first bytes.

        Args:
            descriptor: open for reading, of a regular file.
            size: what fstat says of it.
            ask: called with a number of bytes before they are read; returns when they may be.

        Returns:
            256 KiB, or all there is; it changes when the file is read on.

        Raises:
            OSError: the file can't be read.
        """
        if ask is not None:
            ask(min(size, _BUFFER_SIZE))
        count = os.preadv(descriptor, [self._buffer], 0)
        # Some file systems give less than there is.
        while count < min(size, _BUFFER_SIZE):
            more = os.preadv(descriptor, [self._buffer[count:]], count)
            if not more:
                break
            count += more
        self._file = descriptor, size, count
        self._content = self._pieces = None
        self._ask = ask
        return self._buffer[:count]

    def begin_content(self, content: memoryview) -> memoryview:
        """Take a file that is in memory already.

        Args:
            content: all its bytes, which must not change.

        Returns:
            The first 256 KiB, or all there is.
        """
        self._content, self._pieces = content, None
        return content[:_BUFFER_SIZE]

    def begin_pieces(self, pieces: Iterable[bytes | memoryview]) -> memoryview:
        """Take a file whose bytes pass by once.

        Args:
            pieces: all its bytes in order; what getting them raises is not caught.

        Returns:
            The first 256 KiB, or all there is.
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
        """Read the file begun last to its end.

        Returns:
            The digests by algorithm name, and the number of bytes read.

        Raises:
            GrewError: it is more than 64 MiB longer than it was said to be.
            OSError: the file can't be read.
        """
        running = [(name, start()) for name, start in self._hashes]
        if self._pieces is not None:
            pieces, self._pieces = self._pieces, None
            total = 0
            for piece in pieces:
                total += len(piece)
                for _, hasher in running:
                    hasher.update(memoryview(piece))
            return {name: hasher.digest() for name, hasher in running}, total
        if self._content is not None:
            content, self._content = self._content, None
            for at in range(0, len(content), _BUFFER_SIZE):
                for _, hasher in running:
                    hasher.update(content[at : at + _BUFFER_SIZE])
            return {name: hasher.digest() for name, hasher in running}, len(content)
        descriptor, size, count = self._file
        offset = 0
        while count:
            offset += count
            filled = self._buffer[:count]
            for _, hasher in running:
                hasher.update(filled)
            # A file of the size it was said to have ends here, which a look at its size tells as well.
            if offset == size < _BUFFER_SIZE:
                break
            if offset > size + _BEYOND:
                raise GrewError(errno.EFBIG, "it is much longer than it was")
            if self._ask is not None and offset < size:
                self._ask(min(size - offset, _BUFFER_SIZE))
            count = os.preadv(descriptor, [self._buffer], offset)
        return {name: hasher.digest() for name, hasher in running}, offset
