"""Puts a sweep behind everything else that the machine has to do.

What is started from here on inherits it: the process that workers are forked from, workers, decoders.
"""

from __future__ import annotations

import contextlib
import os
import platform

from hashscan.sandbox.autogroup import carry_niceness
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
"""The number of ioprio_set(2), for which the C library has no function."""
_OF_PROCESS = 1
_IDLE = 3 << 13  # class 3, linux/ioprio.h


def step_back() -> None:
    """Take processors and disks only as far as nobody else wants them, for good.

    Disks mind it where their scheduler knows priorities: bfq and mq-deadline do, none and kyber don't.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICEST)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        with contextlib.suppress(OSError):
            syscall(number, _OF_PROCESS, 0, _IDLE)
    if os.getsid(0) == os.getpid():
        # A service: nobody else is in its session.
        carry_niceness()


def follow() -> None:
    """Have a worker's niceness count against other sessions, where it isn't 0.

    It gets a session of its own, since whoever started the sweep must not become slower with it.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) > 0:
        os.setsid()
        carry_niceness()
