"""The process that workers are forked from: without threads, and without anything the sweep has open."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

_FROM_TERMINALS = (signal.SIGHUP, signal.SIGTSTP)
"""SIGINT is ignored by multiprocessing itself."""


def warm_up(modules: Iterable[str] = ()) -> ForkServerContext:
    """Start it, unless it runs; it imports what workers need while the sweep goes on with something else.

    Args:
        modules: to import besides; those that aren't there are passed over.

    Returns:
        The context to start workers with.
    """
    context = multiprocessing.get_context("forkserver")
    # It would end with the thread that starts it, which shall be none but the last.
    end = ["hashscan.scan.workers.forked"] if threading.current_thread() is threading.main_thread() else []
    context.set_forkserver_preload([*end, "hashscan.scan.workers.worker", *modules])
    # What a terminal sends goes to all of its processes. The sweep alone decides what becomes of the workers:
    # neither they nor the process they are forked from, whose end would be theirs, ever see it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FROM_TERMINALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
