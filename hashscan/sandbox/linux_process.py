"""Control this process by interfaces that Python lacks: prctl, capabilities, autogroups, the heap.

With autogrouping, which most distributions switch on, the kernel distributes processor time between sessions,
and niceness decides only within each session. A decoder is a session of its own; however nice, it would get
as much as a whole web server.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.prctl.restype = ctypes.c_int
_libc.syscall.restype = ctypes.c_long
for _name in ("capget", "capset"):
    getattr(_libc, _name).argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    getattr(_libc, _name).restype = ctypes.c_int


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, *values: int) -> int:
    """Call prctl(2); values left out are 0.

    Raises:
        OSError: the kernel refused.
    """
    padded = (*values, 0, 0, 0, 0)[:4]
    return _checked(_libc.prctl(option, *padded))


def syscall(number: int, *values: int) -> int:
    """Make a system call by its number, for calls without a function in the C library.

    Raises:
        OSError: the kernel refused.
    """
    return _checked(_libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(value) for value in values)))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilitySet(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


_VERSION_3 = 0x20080522
"""The only structure version without a warning by current kernels: 64 capabilities in two halves
(capget(2))."""


def capabilities() -> tuple[int, int, int]:
    """Return the effective, permitted and inheritable capabilities of this process, as bit masks.

    Raises:
        OSError: the kernel refused.
    """
    header, halves = _CapabilityHeader(_VERSION_3, 0), (_CapabilitySet * 2)()
    _checked(_libc.capget(ctypes.byref(header), halves))
    low, high = halves
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def clear_capabilities() -> None:
    """Drop every effective, permitted and inheritable capability."""
    header, halves = _CapabilityHeader(_VERSION_3, 0), (_CapabilitySet * 2)()
    _checked(_libc.capset(ctypes.byref(header), halves))


_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2


def become_with_capabilities(uid: int, numbers: Iterable[int]) -> None:
    """Change to another user for good, and keep these capabilities alone, for started programs, too.

    To be called by a process with one thread, as capabilities belong to threads.

    Raises:
        OSError: this process lacks the right to, or one of the capabilities.
    """
    kept = list(numbers)
    mask = sum(1 << number for number in kept)
    prctl(_PR_SET_KEEPCAPS, 1)
    os.setresuid(uid, uid, uid)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    halves = (_CapabilitySet * 2)(_CapabilitySet(low, low, low), _CapabilitySet(high, high, high))
    header = _CapabilityHeader(_VERSION_3, 0)
    _checked(_libc.capset(ctypes.byref(header), halves))
    for number in kept:
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)


_GROUP = "/proc/self/autogroup"
_TRIES = 20
_PAUSE_SECONDS = 0.05
"""Pause between tries. Except for root, the kernel allows this only once in a tenth of a second on the whole
machine."""


def set_autogroup_niceness() -> None:
    """Set the niceness of this process's autogroup to that of the process, if it is above 0.

    If the kernel has no autogroups, or all tries fail because other processes do the same, nothing is done.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness <= 0:
        return
    for _ in range(_TRIES):
        try:
            group = os.open(_GROUP, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(group, b"%d" % niceness)
            finally:
                os.close(group)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        except OSError:
            return
        else:
            return


_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def use_one_heap() -> None:
    """Have all threads that are started later allocate from one heap, with C libraries that can do so.

    A heap keeps what is freed. With a heap for each thread, the work of several threads takes as much as the
    most that each of them ever needed, and a process that runs for months seems to grow.
    """
    if (mallopt := getattr(_libc, "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 1)


def release_memory() -> None:
    """Collect garbage, and give the pages that are free to the kernel, which takes about a millisecond."""
    gc.collect()
    if (malloc_trim := getattr(_libc, "malloc_trim", None)) is not None:
        malloc_trim(0)
