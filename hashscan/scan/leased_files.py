"""Retry files that have a write lease at the end of the scan.

Opening such a file asks the lease's holder to release it; a holder who doesn't, loses it after
/proc/sys/fs/lease-break-time seconds (45 by default). So the scan tries all files first, waits this time
once, and then retries. A file whose lease was taken again meanwhile is unreadable.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hashscan.model import Batch, Item

PER_OWNER_MAX = 10_000
"""The number of files of one owner that are deferred; more are unreadable at once, so that no owner can
fill the memory."""
_TOTAL_MAX = 100_000
_LONGEST_SECONDS = 60
_SETTING = Path("/proc/sys/fs/lease-break-time")


class LeasedFiles:
    """The deferred files of one scan."""

    def __init__(self) -> None:
        self._batches: defaultdict[Batch, list[Item]] = defaultdict(list)
        self._by_owner: Counter[int] = Counter()
        self._due = 0.0
        self._closed = False

    def defer(self, batch: Batch, item: Item) -> bool:
        """Defer a file, and return False if it can't be deferred.

        Args:
            batch: the batch with this file.
            item: the file.
        """
        owner = item.stat.uid
        if self._closed or self._by_owner[owner] >= PER_OWNER_MAX or self._by_owner.total() >= _TOTAL_MAX:
            return False
        self._by_owner[owner] += 1
        self._batches[replace(batch, items=())].append(item)
        self._due = time.monotonic() + _break_seconds()
        return True

    @property
    def seconds(self) -> float:
        """The number of seconds to wait until all of them may be retried; 0 if there are none."""
        return max(0.0, self._due - time.monotonic()) if self._batches else 0.0

    def take(self) -> Iterator[Batch]:
        """Yield the deferred files in their batches; from now on none can be deferred."""
        self._closed = True
        for batch, items in self._batches.items():
            yield replace(batch, items=tuple(items))
        self._batches.clear()


def _break_seconds() -> float:
    """Return the longest time, in seconds, that a holder can keep a lease after the request to release it."""
    try:
        seconds = int(_SETTING.read_text(encoding="ascii"))
    except (OSError, ValueError):
        seconds = 45
    # The kernel counts in whole ticks. 0 means no limit.
    return min(seconds or 1, _LONGEST_SECONDS) + 0.1
