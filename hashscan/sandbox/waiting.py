"""Waits for an answer, for a limited time in which both sides could run."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

_SLICE_SECONDS = 0.5
_LATE_SECONDS = 1.0
"""A slice that took more than this was not all ours: we were stopped, or frozen with our container. So may
have been whoever owes the answer, and that time isn't held against him."""


def wait(poll: select.poll, deadline: float, processor_left: Callable[[], float] | None = None) -> bool:
    """Wait until something registered is ready, or time.monotonic() is `deadline` and later by as long as
    this process was stopped meanwhile.

    Args:
        poll: with what is waited for.
        deadline: as above.
        processor_left: how many seconds of processor time the other side has left; asked for the first time
            after half a second. The wait ends when it has none.

    Returns:
        Whether something is ready.
    """
    now = time.monotonic()
    most = _SLICE_SECONDS
    while True:
        left = deadline - now
        if poll.poll(max(0.0, min(left, most)) * 1000):
            return True
        if left <= 0:
            return False
        if processor_left is not None:
            # It has one thread, which uses no more than a second in a second.
            most = min(_SLICE_SECONDS, processor_left())
            if most <= 0:
                return False
        before, now = now, time.monotonic()
        deadline += max(0.0, now - before - _LATE_SECONDS)
