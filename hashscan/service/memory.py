"""Give memory back that a process which runs for months has used for a moment only.

The C library keeps what is freed. It keeps it in a heap for each thread, so that the work of several threads
takes as much as the most that each of them ever needed, and the process seems to grow.
"""

from __future__ import annotations

import ctypes
import gc

_M_ARENA_MAX = -8
"""From glibc's malloc.h."""

_libc = ctypes.CDLL(None)


def use_one_heap() -> None:
    """Have all threads that are started later allocate from one heap, with the C libraries that can do so."""
    if (mallopt := getattr(_libc, "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 1)


def release_memory() -> None:
    """Collect garbage, and give the pages that are free to the kernel, which takes about a millisecond."""
    gc.collect()
    if (malloc_trim := getattr(_libc, "malloc_trim", None)) is not None:
        malloc_trim(0)
