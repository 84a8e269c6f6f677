"""Start the fork server that workers are forked from; it has no threads and no open files of the scan."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

_FROM_TERMINALS = (signal.SIGHUP, signal.SIGTSTP)
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
    end = ["hashscan.scan.workers.forked"] if threading.current_thread() is threading.main_thread() else []
    context.set_forkserver_preload([*end, "hashscan.scan.workers.worker", *modules])
    # A terminal sends its signals to all of its processes. The scan alone decides when the workers stop:
    # neither they nor the fork server, with which they would end, ever receive these signals.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FROM_TERMINALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
