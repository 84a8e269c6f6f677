"""Give a scan the lowest CPU and disk priority of the machine (niceness and I/O class).

Processes that are started later inherit it: the fork server, workers, decoders.
"""

from __future__ import annotations

import contextlib
import os
import platform

from hashscan.sandbox.autogroup import set_autogroup_niceness
from hashscan.sandbox.libc import syscall

NICEST = 19

_IOPRIO_SET = {
    "x86_64": 251,
    "aarch64": 30,
    "riscv64": 30,
    "loongarch64": 30,
    "ppc64le": 273,
    "s390x": 282,
    "armv7l": 314,
}
"""The number of the system call ioprio_set(2), for which the C library has no function."""
_OF_PROCESS = 1
_IDLE = 3 << 13  # class 3, linux/ioprio.h


def lower_priority() -> None:
    """Use processors and disks only when nobody else does, until the process ends.

    Disks respect this if their scheduler supports priorities: bfq and mq-deadline do, none and kyber don't.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICEST)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        with contextlib.suppress(OSError):
            syscall(number, _OF_PROCESS, 0, _IDLE)
    if os.getsid(0) == os.getpid():
        # The session of a service contains no other processes.
        set_autogroup_niceness()


def isolate_session() -> None:
    """Make a worker's niceness count against other sessions, if it is not 0.

    The worker gets a session of its own, because the session that started the scan must not become slower
    with it.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) > 0:
        os.setsid()
        set_autogroup_niceness()
