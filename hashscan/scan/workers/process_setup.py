"""Set up the processes of a scan: lowest priority, end with the parent, and the fork server that workers are
forked from.

Processes that are started later inherit it: the fork server, workers, decoders.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Iterable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from hashscan.sandbox.linux_process import prctl, set_autogroup_niceness, syscall

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process, even if stopped, when the parent's thread that forked it ends."""
    parent = os.getppid()
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


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
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13  # class 3, linux/ioprio.h


def lower_priority() -> None:
    """Use processors and disks only when no other process does, until this process ends.

    Disks respect this if their scheduler supports priorities: bfq and mq-deadline do, none and kyber don't.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICEST)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        with contextlib.suppress(OSError):
            syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
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


_FROM_TERMINALS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
"""The signals that a terminal sends to all processes; multiprocessing itself ignores SIGINT."""


def warm_up(modules: Iterable[str] = ()) -> ForkServerContext:
    """Start the fork server, unless it runs; it imports the workers' modules while the scan continues.

    Args:
        modules: more modules to import; those that don't exist are ignored.

    Returns:
        The context to start workers with.
    """
    context = multiprocessing.get_context("forkserver")
    # It ends with the thread that starts it, so it may do this for the main thread only, which ends last.
    end = (
        ["hashscan.scan.workers.die_with_scan"]
        if threading.current_thread() is threading.main_thread()
        else []
    )
    context.set_forkserver_preload([*end, "hashscan.scan.workers.worker", *modules])
    # A terminal sends its signals to all of its processes. The scan alone decides when the workers stop:
    # neither they nor the fork server, with which they would end, ever receive these signals.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FROM_TERMINALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
