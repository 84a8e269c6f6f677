"""Files that somebody holds a write lease on, put off to the end of a sweep.

To open such a file tells its holder to give the lease back; who doesn't loses it after
/proc/sys/fs/lease-break-time seconds, 45 by default. So all are tried first, that time is waited for once,
and then they are tried again. One whose lease was taken anew meanwhile is unreadable.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hashscan.model import Batch, Item

OF_ONE_OWNER = 10_000
"""Files of one owner that are put off; more are unreadable at once, so that nobody fills the memory."""
_IN_ALL = 100_000
_LONGEST_SECONDS = 60
_SETTING = Path("/proc/sys/fs/lease-break-time")


class LeasedFiles:
    """Those of one sweep."""

    def __init__(self) -> None:
        self._batches: defaultdict[Batch, list[Item]] = defaultdict(list)
        self._by_owner: Counter[int] = Counter()
        self._due = 0.0
        self._closed = False

    def put_off(self, batch: Batch, item: Item) -> bool:
        """Put a file off; False where it has to be given up.

        Args:
            batch: in which it was.
            item: the file.
        """
        owner = item.stat.uid
        if self._closed or self._by_owner[owner] >= OF_ONE_OWNER or self._by_owner.total() >= _IN_ALL:
            return False
        self._by_owner[owner] += 1
        self._batches[replace(batch, items=())].append(item)
        self._due = time.monotonic() + _break_seconds()
        return True

    @property
    def seconds(self) -> float:
        """How long to wait until all of them may be tried again; 0 where there are none."""
        return max(0.0, self._due - time.monotonic()) if self._batches else 0.0

    def take(self) -> Iterator[Batch]:
        """Give them back in their batches; from now on none is put off."""
        self._closed = True
        for batch, items in self._batches.items():
            yield replace(batch, items=tuple(items))
        self._batches.clear()


def _break_seconds() -> float:
    """How long a lease is held on to at most, once it is to be given back."""
    try:
        seconds = int(_SETTING.read_text(encoding="ascii"))
    except (OSError, ValueError):
        seconds = 45
    # The kernel counts in whole ticks. 0 stands for without end.
    return min(seconds or 1, _LONGEST_SECONDS) + 0.1
