"""Restore the system's page cache to its state before a file was read.

A scan reads far more than memory can hold, and each file once. The pages it loads would displace those that
the machine's real work needs. So before a file is read, this module determines which of its pages are in
memory; afterwards the others are dropped.

cachestat(2) tells, from Linux 6.5 on and where our extension in C was built; some kernels answer it for those
only who own the file or may write it.
mincore(2) would need a mapping of the file. What is left elsewhere is to read a byte that must not wait for
the disk: where that works at the beginning, the whole file is taken to be in memory.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

Range = tuple[int, int]
"""First byte and number of bytes; 0 bytes means all bytes to the end."""

_WINDOW = 128 * 1024
_WINDOWS = 256
"""Minimum size in bytes, and maximum number, of the parts that are checked one by one in a file that is
partly in memory."""
ALL: Sequence[Range] = ((0, 0),)


def _unanswered(descriptor: int, start: int, length: int) -> int:
    return -errno.ENOSYS


_cached_pages: Callable[[int, int, int], int] = _unanswered
"""Pages of a part of a file that are in memory; below 0 where the kernel doesn't answer, or not to us."""
with suppress(ImportError):
    from hashscan.sources._kernel_calls import cached_pages as _cached_pages


def absent_ranges(descriptor: int, size: int) -> Sequence[Range]:
    """Return the parts of a file that are not in memory, and may be dropped after it has been read.

    Args:
        descriptor: open for reading, of a regular file.
        size: its size by fstat.

    Returns:
        Ranges of which no page is in memory; none if this can't be determined. Dropping pages that others use
        would be worse than keeping pages that nobody uses.
    """
    if not size:
        return ()
    present = _cached_pages(descriptor, 0, 0)
    if present < 0:
        return _ranges_by_first_byte(descriptor)
    if not present:
        return ALL
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
        return ALL if error.errno == errno.EAGAIN else ()
    return ()
