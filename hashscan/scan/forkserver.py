"""The process that workers are forked from: without threads, and without anything the sweep has open."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext


def warm_up(modules: Iterable[str] = ()) -> ForkServerContext:
    """Start it, unless it runs; it imports what workers need while the sweep goes on with something else.

    Args:
        modules: to import besides; those that aren't there are passed over.

    Returns:
        The context to start workers with.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hashscan.scan.worker", *modules])
    forkserver.ensure_running()
    return context
