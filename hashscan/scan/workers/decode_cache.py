"""The decode cache of a scan: decoder results by content, so that equal bytes are not decoded again.

All workers of a scan share one table: an anonymous file in memory of a fixed size, which the system removes
with the last of them. If the system can't provide it, each worker has a table of its own. Two workers that
read the same content at the same moment may still both decode it.

The key is a digest of the content's SHA-256 and of the algorithms, together with the owner of the file: a
cached result is never used for another owner's file. Otherwise a decoder that one customer's picture has
taken over could hide content wherever it is stored, and so could a file that its owner changes, unnoticed by
the system, between the decoder's reading and ours. With this key no owner can hide more than the owner's own
files, and that was possible before: decoders serve one owner only. If the files of all customers belong to
one user, customers share decoders, and so cached results.

A cached result is the reply that the decoder sent, and each reader checks it as if a decoder had just sent
it. A match that follows from a cached result is confirmed by a fresh decoder, as any other match.

Replies are stored in a ring, so the newest are kept; an index holds their positions. Only writing is locked.
A reader may find an entry that is half overwritten, or left half written by a worker that was killed: so each
entry has a checksum.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.reduction import DupFd
from typing import Any

from hashscan.locking import ClosedOnExit, record_locked

RING_BYTES = 32 << 20
"""The size of the ring: some 60,000 replies of the usual length."""

_HINTS = 1 << 21
_SLOTS = 1 << 18

_NEXT = struct.Struct("<Q")
_PLACE = struct.Struct("<I")
_ENTRY = struct.Struct("<16s40sI")
"""Checksum, key, length of the reply that follows."""
_ALIGNED = 16
"""The alignment of entries in the ring; the first position stays unused, because 0 means none."""

_WRITING, _LARGE_PICTURE = 0, 1
"""The bytes of the table whose record locks are held."""

_LARGE_PICTURE_SECONDS = 0.1
"""Time between tries to get the lock of large pictures."""

_HINTS_AT = 4096
_SLOTS_AT = _HINTS_AT + _HINTS
_RING_AT = _SLOTS_AT + _SLOTS * _PLACE.size


class DecodeCache(ClosedOnExit):
    """The shared table of the decode cache; other processes may get it, pickled, when they start."""

    def __init__(self, ring_bytes: int = RING_BYTES, *, descriptor: int | None = None) -> None:
        """Make an empty table, or map the one behind a descriptor.

        Args:
            ring_bytes: the space for replies in bytes; memory is allocated as it fills.
            descriptor: the descriptor of a table of the same size; this object closes it.
        """
        self._ring_bytes = ring_bytes
        self._descriptor = _anonymous_file(_RING_AT + ring_bytes) if descriptor is None else descriptor
        self._memory = mmap.mmap(self._descriptor, _RING_AT + ring_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._descriptor < 0:
            return DecodeCache, (self._ring_bytes,)
        return _received, (self._ring_bytes, DupFd(self._descriptor))

    def seen_before(self, trait: bytes) -> bool:
        """Return True if content with this trait was probably read before, and record that it is read now.
        True means only that comparing the digest before decoding is likely to save work."""
        code = hashlib.blake2b(trait, digest_size=8).digest()
        place = _HINTS_AT + int.from_bytes(code[:4], "little") % _HINTS
        # One byte a trait; 0 means none yet.
        tag = code[4] or 1
        before, self._memory[place] = self._memory[place], tag
        return before == tag

    def get(self, owner: int, content: bytes) -> bytes | None:
        """Return the cached reply for an owner's content, given by a digest of 32 bytes, or None."""
        key = _key(owner, content)
        (place,) = _PLACE.unpack_from(self._memory, _slot(key))
        start = _RING_AT + place * _ALIGNED
        if not place or start + _ENTRY.size > len(self._memory):
            return None
        checksum, found, length = _ENTRY.unpack_from(self._memory, start)
        first = start + _ENTRY.size
        if found != key or first + length > len(self._memory):
            return None
        answer = self._memory[first : first + length]
        return answer if _checksum(key, answer) == checksum else None

    def put(self, owner: int, content: bytes, answer: bytes) -> None:
        """Store a reply, if necessary in place of the oldest; a reply too long for the ring is not stored."""
        key = _key(owner, content)
        entry = _ENTRY.pack(_checksum(key, answer), key, len(answer)) + answer
        size = -(-len(entry) // _ALIGNED) * _ALIGNED
        if size > self._ring_bytes - _ALIGNED:
            return
        # The system releases a record lock when its holder is killed, unlike any lock in shared memory.
        with self._locked(_WRITING):
            (offset,) = _NEXT.unpack_from(self._memory, 0)
            if not offset or offset + size > self._ring_bytes:
                offset = _ALIGNED
            start = _RING_AT + offset
            self._memory[start : start + len(entry)] = entry
            _PLACE.pack_into(self._memory, _slot(key), offset // _ALIGNED)
            _NEXT.pack_into(self._memory, 0, offset + size)

    def large_picture(self) -> AbstractContextManager[None]:
        """Wait until no other worker decodes a large picture, and exclude it while the body runs.

        Writing is not excluded. Waiting ends when the other decoder answers or is ended by its worker.
        """
        # A worker that sleeps without end would count as stuck.
        return self._locked(_LARGE_PICTURE, seconds=_LARGE_PICTURE_SECONDS)

    def _locked(self, place: int, *, seconds: float = 0.0) -> AbstractContextManager[None]:
        if self._descriptor < 0:
            return nullcontext()
        return record_locked(self._descriptor, place, seconds=seconds)

    def close(self) -> None:
        """Unmap the table and close its descriptor."""
        self._memory.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _anonymous_file(size: int) -> int:
    """Return an anonymous file in memory, or -1 if the system has none or limits the size of files."""
    try:
        descriptor = os.memfd_create("hashscan-decode-cache")
    except OSError:
        return -1
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _received(ring_bytes: int, passed: Any) -> DecodeCache:
    return DecodeCache(ring_bytes, descriptor=passed.detach())


def _key(owner: int, content: bytes) -> bytes:
    return content + owner.to_bytes(8, "little")


def _slot(key: bytes) -> int:
    """Return the position in the index of a key's ring position; keys with the same slot evict each other."""
    return _SLOTS_AT + zlib.crc32(key) % _SLOTS * _PLACE.size


def _checksum(key: bytes, answer: bytes) -> bytes:
    return hashlib.blake2b(key + answer, digest_size=16).digest()
