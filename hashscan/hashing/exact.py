"""Exact digests, of a file's bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import xxhash

from hashscan.hashing.base import ExactHash, Hasher

_BUFFER_SIZE = 256 * 1024
"""It stays in the processor's cache while one digest after another reads it. Measured with md5, sha1 and
sha256 together, 64 KiB to 4 MiB are equally fast, so this is large enough for disks and small for memory."""

_SMALL_BUFFER_SIZE = 4 * 1024


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


def digest_descriptor(descriptor: int, hashes: Sequence[ExactHash]) -> tuple[dict[str, bytes], int]:
    """Read a file once from its first byte to its end and compute all digests.

    The file's own offset is neither used nor moved, since another process may share it. Whatever length the
    file was said to have, it is read to its end. It is never mapped: a file cut short would kill us.

    Args:
        descriptor: open for reading, of a regular file.
        hashes: the algorithms.

    Returns:
        The digests by algorithm name, and the number of bytes read.

    Raises:
        OSError: the file can't be read.
    """
    running = [(algorithm.name, algorithm.start()) for algorithm in hashes]
    # Most files are small, and a large buffer costs more to make than they do to read.
    size = os.fstat(descriptor).st_size
    buffer = memoryview(bytearray(min(max(size, _SMALL_BUFFER_SIZE), _BUFFER_SIZE)))
    offset = 0
    while count := os.preadv(descriptor, [buffer], offset):
        offset += count
        filled = buffer[:count]
        for _, hasher in running:
            hasher.update(filled)
    return {name: hasher.digest() for name, hasher in running}, offset
