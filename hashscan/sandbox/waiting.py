"""Wait for a message until a deadline, without counting time in which this process was stopped."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

_SLICE_SECONDS = 0.5
_LATE_SECONDS = 1.0
"""A slice that took longer than this was interrupted: this process was stopped, or frozen with its container.
The other side may have been stopped as well, so that time doesn't count against it."""


def wait(poll: select.poll, deadline: float, processor_left: Callable[[], float] | None = None) -> bool:
    """Wait until a registered descriptor is ready or the deadline has passed.

    The deadline is extended by the time in which this process was stopped.

    Args:
        poll: with the descriptors to wait for.
        deadline: by time.monotonic().
        processor_left: returns the seconds of processor time that the other side has left; called for the
            first time after half a second. The wait ends when none is left.

    Returns:
        True if a descriptor is ready.
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
            # The other side has one thread, which uses at most one second of processor time per second.
            most = min(_SLICE_SECONDS, processor_left())
            if most <= 0:
                return False
        before, now = now, time.monotonic()
        deadline += max(0.0, now - before - _LATE_SECONDS)
