"""Waits for an answer, for a limited time in which both sides could run."""

from __future__ import annotations

import select
import time

_SLICE_SECONDS = 0.5
_LATE_SECONDS = 1.0
"""A slice that took more than this was not all ours: we were stopped, or frozen with our container. So may
have been whoever owes the answer, and that time isn't held against him."""


def wait(poll: select.poll, deadline: float) -> bool:
    """Wait until something registered is ready, or time.monotonic() is `deadline` and later by as long as
    this process was stopped meanwhile.

    Returns:
        Whether something is ready.
    """
    now = time.monotonic()
    while True:
        left = deadline - now
        if poll.poll(max(0.0, min(left, _SLICE_SECONDS)) * 1000):
            return True
        if left <= 0:
            return False
        before, now = now, time.monotonic()
        deadline += max(0.0, now - before - _LATE_SECONDS)
