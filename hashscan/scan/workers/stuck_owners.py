"""Whose files have stuck workers, and how long further ones may be tried.

Each stuck worker is ended, and the file is unreadable. One that the kernel won't let be ended stays until
the file lets go of it, so their number is to be bounded too: with the limits as they are, an owner's files
cost 33 at most, and as many more as there are workers, which may be in them at the same time. Where files of
several owners are in one batch, some more are lost for which nobody is charged: two for each worker, and one
for each of the owner's first three.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from hashscan.model import Batch, Item
from hashscan.scan.large_files import Owner
from hashscan.scan.workers.watchdog import StuckLimits


class StuckOwners:
    """Those of one scan."""

    def __init__(self, limits: StuckLimits) -> None:
        self._limits = limits
        self._times: Counter[Owner] = Counter()
        self._seconds: defaultdict[Owner, float] = defaultdict(float)

    def charge(self, batch: Batch, seconds: float) -> None:
        """Take note of a batch that has stuck its worker for so long.

        Nobody is to blame where its files are of several owners: they are tried one by one.
        """
        owners = {_owner(item) for item in batch.items}
        if len(owners) == 1:
            owner = owners.pop()
            self._seconds[owner] += seconds
            self._times[owner] += 1

    def patience(self, batch: Batch) -> float:
        """How many seconds a worker may be still with a batch; 0 where none is to begin with it."""
        if batch.source != "file":
            return math.inf
        if not self._times:
            return self._limits.seconds
        return max(map(self._patience, {_owner(item) for item in batch.items}))

    def _patience(self, owner: Owner) -> float:
        if self._seconds[owner] >= self._limits.owner_seconds:
            return 0.0
        often = self._times[owner] >= self._limits.often
        return self._limits.again_seconds if often else self._limits.seconds

    def parts(self, items: Sequence[Item]) -> list[list[int]]:
        """Divide a batch, so that those whose files have stuck workers often are each by themselves.

        Returns:
            Positions in the batch.
        """
        parts: dict[Owner | None, list[int]] = {}
        for position, item in enumerate(items):
            owner = _owner(item)
            often = self._times[owner] >= self._limits.often
            parts.setdefault(owner if often else None, []).append(position)
        return list(parts.values())

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._times)


def _owner(item: Item) -> Owner:
    return Owner(item.stat.of_object, item.stat.uid)
