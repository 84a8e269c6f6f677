"""Find the ranges of a file that are holes, and those that are in the system's page cache.

A scan reads far more than memory can hold, and each file once. The pages it loads would displace those that
the machine's real work needs. So before a file is read, this module determines which of its pages are in
memory; afterwards the others are dropped.

From Linux 6.5 on, cachestat(2) counts the pages in memory, if the extension in C was built; some kernels
answer it only to users who own the file or may write to it. mincore(2) would need a mapping of the file.
Elsewhere a byte is read with a flag that forbids waiting for the disk: if this works at the beginning, the
whole file is taken to be in memory.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Sequence

from hashscan.c_parts import BUILT

BLOCK_BYTES = 512
"""Bytes per unit of `st_blocks`, whatever the file system's own block size is."""

PAIRS_MAX = 100_000
"""Maximum number of holes, each with the data behind it, that are examined. A file may have as many as it has
blocks."""


def holes_exceed(descriptor: int, size: int, limit: int) -> bool:
    """Return True if a file has more than `limit` bytes of holes, by SEEK_HOLE and SEEK_DATA, which move its
    offset. `st_blocks` alone does not tell: file systems that compress (ZFS, bcachefs) count what they store.
    One that knows no holes says that all is data; of more than PAIRS_MAX holes, `st_blocks` is believed. The
    answer only decides whether to read a file, never what is in it: a FUSE that answers wrongly makes its own
    file unreadable, or is read. To ask takes the file's lock, which its owner can hold (see
    `hashscan/scan/workers/watchdog.py`), so files of which `st_blocks` says less are never asked."""
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


Range = tuple[int, int]
"""First byte and number of bytes; 0 bytes means all bytes to the end."""

_WINDOW = 128 * 1024
_WINDOWS = 256
"""Minimum size in bytes, and maximum number, of the parts that are checked one by one in a file that is
partly in memory."""
ALL_RANGES: Sequence[Range] = ((0, 0),)


def _unanswered(descriptor: int, start: int, length: int) -> int:
    return -errno.ENOSYS


_cached_pages: Callable[[int, int, int], int] = _unanswered
"""Pages of a part of a file that are in memory; below 0 where the kernel doesn't answer, or not to us."""
if BUILT:
    from hashscan.sources._kernel_calls import cached_pages as _cached_pages


def absent_ranges(descriptor: int, size: int) -> Sequence[Range]:
    """Return the ranges of a file that are not in memory, and may be dropped after it has been read; none if
    this can't be determined. Dropping pages that others use would be worse than keeping pages that nobody
    uses."""
    if not size:
        return ()
    present = _cached_pages(descriptor, 0, 0)
    if present < 0:
        return _ranges_by_first_byte(descriptor)
    if not present:
        return ALL_RANGES
    if present * mmap.PAGESIZE >= size:
        return ()
    window = _WINDOW * -(-size // (_WINDOW * _WINDOWS))
    found: list[Range] = []
    for start in range(0, size, window):
        present = _cached_pages(descriptor, start, window)
        if present < 0:
            break
        if present:
            continue
        if found and sum(found[-1]) == start:
            found[-1] = found[-1][0], found[-1][1] + window
        else:
            found.append((start, window))
    return found


def drop_from_cache(descriptor: int, ranges: Sequence[Range]) -> None:
    """Drop ranges of a file from the page cache; pages that are mapped or were changed since then stay."""
    for start, length in ranges:
        try:
            os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)
        except OSError:
            return


def _ranges_by_first_byte(descriptor: int) -> Sequence[Range]:
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        # Other errors mean that the file system doesn't support this flag.
        return ALL_RANGES if error.errno == errno.EAGAIN else ()
    return ()
