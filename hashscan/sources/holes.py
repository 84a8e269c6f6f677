"""Measure the holes in a sparse file: parts that read as zeros and use no disk space."""

from __future__ import annotations

import errno
import os

BLOCK_BYTES = 512
"""Bytes per unit of `st_blocks`, whatever the file system's own block size is."""

PAIRS_MAX = 100_000
"""Maximum number of holes, each with the data behind it, that are examined. A file may have as many as it has
blocks."""


def holes_exceed(descriptor: int, size: int, limit: int) -> bool:
    """Return True if a file has more than `limit` bytes of holes, by SEEK_HOLE and SEEK_DATA.

    `st_blocks` alone does not tell: file systems that compress (ZFS, bcachefs) count what they store. One
    that knows no holes says that all is data. The answer only decides whether to read a file, never what is
    in it: a FUSE that lies makes its own file unreadable, or is read. To ask takes the file's lock, which its
    owner can hold (see `hashscan/scan/workers/watchdog.py`), so files of which `st_blocks` says less are
    never asked.

    Args:
        descriptor: open for reading, of a regular file; its offset is moved. By its `st_blocks` the file has
            more than `limit`; this is believed if there are over PAIRS_MAX holes.
        size: of the file, in bytes.
        limit: in bytes.

    Raises:
        OSError: as lseek(2).
    """
    found = position = 0
    for _ in range(PAIRS_MAX):
        if position >= size:
            return False
        hole = _seek(descriptor, position, os.SEEK_HOLE, size)
        position = _seek(descriptor, hole, os.SEEK_DATA, size)
        found += position - hole
        if found > limit:
            return True
        if position <= hole < size:
            # Inconsistent answer of the file system: data where it has just reported a hole.
            return False
    return True


def _seek(descriptor: int, position: int, whence: int, size: int) -> int:
    """Return the position of the next hole or the next data; the file's end if there is none."""
    if position >= size:
        return size
    try:
        return min(max(os.lseek(descriptor, position, whence), position), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        if error.errno == errno.EINVAL:
            # The file system doesn't support holes.
            return size if whence == os.SEEK_HOLE else position
        raise
