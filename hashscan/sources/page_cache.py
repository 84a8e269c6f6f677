"""Leaves the system's page cache as it was before a file was read.

A sweep reads far more than memory holds, and each file once. What it brings in would push out what the
machine's real work needs. So before a file is read it is asked which of its pages are in memory, and
afterwards the others are let go.

cachestat(2) tells, from Linux 6.5 on; some kernels answer it for those only who own the file or may write it.
mincore(2) would need a mapping of the file. What is left elsewhere is to read a byte that must not wait for
the disk: where that works at the beginning, the whole file is taken to be in memory.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Sequence

Range = tuple[int, int]
"""First byte and number of bytes; 0 bytes stands for all to the end."""

_CACHESTAT = 451  # on all architectures but Alpha, where it fails
_WINDOW = 128 * 1024
_WINDOWS = 256
"""Of a file that is partly in memory, so many parts of at least this size are looked at each by itself."""


class _CachestatRange(ctypes.Structure):
    """`struct cachestat_range`, linux/mman.h."""

    _fields_ = (("off", ctypes.c_uint64), ("len", ctypes.c_uint64))


class _Cachestat(ctypes.Structure):
    """`struct cachestat`, linux/mman.h: numbers of pages."""

    _fields_ = (
        ("nr_cache", ctypes.c_uint64),
        ("nr_dirty", ctypes.c_uint64),
        ("nr_writeback", ctypes.c_uint64),
        ("nr_evicted", ctypes.c_uint64),
        ("nr_recently_evicted", ctypes.c_uint64),
    )


# CDLL objects don't share their functions, so these argument types hold here only. errno is kept per thread.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long)
_libc.syscall.restype = ctypes.c_long

_WHOLE = _CachestatRange(0, 0)
_TO_WHOLE = ctypes.byref(_WHOLE)
ALL: Sequence[Range] = ((0, 0),)


def absent_ranges(descriptor: int, size: int) -> Sequence[Range]:
    """What of a file is not in memory, and may be let go once it has been read.

    Args:
        descriptor: open for reading, of a regular file.
        size: what fstat says of it.

    Returns:
        Ranges of which no page is in memory. Where that can't be found out there are none: to push out what
        others use would be worse than to keep what nobody does.
    """
    if not size:
        return ()
    try:
        present = _pages(descriptor, _TO_WHOLE)
    except OSError:
        return _judged_by_beginning(descriptor)
    if not present:
        return ALL
    if present * mmap.PAGESIZE >= size:
        return ()
    window = _WINDOW * -(-size // (_WINDOW * _WINDOWS))
    found: list[Range] = []
    for start in range(0, size, window):
        try:
            if _pages(descriptor, ctypes.byref(_CachestatRange(start, window))):
                continue
        except OSError:
            break
        if found and sum(found[-1]) == start:
            found[-1] = found[-1][0], found[-1][1] + window
        else:
            found.append((start, window))
    return found


def let_go(descriptor: int, ranges: Sequence[Range]) -> None:
    """Take ranges of a file out of memory; pages that somebody has mapped or changed since then stay."""
    for start, length in ranges:
        try:
            os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)
        except OSError:
            return


def _pages(descriptor: int, within: object) -> int:
    """How many pages of a range are in memory.

    Raises:
        OSError: the kernel doesn't know the call, or doesn't answer it to us.
    """
    stat = _Cachestat()
    if _libc.syscall(_CACHESTAT, descriptor, within, ctypes.byref(stat), 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    pages: int = stat.nr_cache
    return pages


def _judged_by_beginning(descriptor: int) -> Sequence[Range]:
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        # Others mean that the file system doesn't know this way of asking.
        return ALL if error.errno == errno.EAGAIN else ()
    return ()
