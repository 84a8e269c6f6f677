"""The process that workers are forked from: without threads, and without anything the sweep has open."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext


def warm_up() -> ForkServerContext:
    """Start it, unless it runs; it imports what workers need while the sweep goes on with something else.

    Returns:
        The context to start workers with.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hashscan.scan.worker"])
    forkserver.ensure_running()
    return context
