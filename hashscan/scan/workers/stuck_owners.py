"""Account for stuck workers by file owner, and decide how long further files of an owner may take.

Each stuck worker is ended, and the file is unreadable. A worker that the kernel can't end stays until the
file releases it, so the number of such workers must be bounded, too: with the present limits, an owner's
files cost 33 workers at most, and as many more as there are workers, which may be in such files at the same
time. If files of several owners are in one batch, some more workers are lost that no owner is charged for:
two for each worker, and one for each of the owner's first three.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from hashscan.model import Batch, Item
from hashscan.scan.large_files import Owner
from hashscan.scan.workers.watchdog import StuckLimits


class StuckOwners:
    """The owners whose files have stuck workers in one scan."""

    def __init__(self, limits: StuckLimits) -> None:
        self._limits = limits
        self._times: Counter[Owner] = Counter()
        self._seconds: defaultdict[Owner, float] = defaultdict(float)

    def charge(self, batch: Batch, seconds: float) -> None:
        """Charge a batch's owner with the time for which the batch has stuck its worker.

        No owner is charged if the files are of several owners: they are retried one by one.
        """
        owners = {_owner(item) for item in batch.items}
        if len(owners) == 1:
            owner = owners.pop()
            self._seconds[owner] += seconds
            self._times[owner] += 1

    def patience(self, batch: Batch) -> float:
        """Return the seconds that a worker may make no progress with a batch; 0 if none may start it."""
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
        """Split a batch so that owners whose files have stuck workers often are in parts of their own.

        Returns:
            For each part, positions in the batch.
        """
        parts: dict[Owner | None, list[int]] = {}
        for position, item in enumerate(items):
            owner = _owner(item)
            often = self._times[owner] >= self._limits.often
            parts.setdefault(owner if often else None, []).append(position)
        return list(parts.values())

    def __bool__(self) -> bool:
        """Return True if any owner was charged."""
        return bool(self._times)


def _owner(item: Item) -> Owner:
    return Owner(item.stat.of_object, item.stat.uid)
