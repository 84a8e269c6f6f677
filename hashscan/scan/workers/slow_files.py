"""Decide which files wait until all others have been checked, because their decoders take long.

A page of some kilobytes can keep a decoder busy for a minute. If files of others waited behind it in the
batch, or behind its worker, one owner could delay the scan of all. So each file is on trial first: one that
takes several times as long as its size explains is given up, and joins the queue of large files
(`batch_queues.LargeFileQueue`), where the owners take turns. An owner may have many files that stay just
below that. So the time beyond the ordinary is added up for each owner; when it is used up, the owner's
containers and pictures wait without a trial. Each worker counts the files that it opens itself, and reports
them with its batch; the scan adds up the counts of all workers and names the slow owners with each batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from hashscan.sandbox.client import TRIAL_SHARE

PICTURE_SECONDS = 2.0
"""Processor time of a picture on trial."""

_ORDINARY_SECONDS, _ORDINARY_BYTES = 0.25, 8 << 20
"""Processor time that nearly all files stay below; for each so many bytes of a file, a second more."""

_CONTAINER_FACTOR = 2.0
"""Processor time of a container on trial, as a multiple of the ordinary."""

_OWNER_SECONDS = 1.0
"""Processor time beyond the ordinary from which an owner's files are slow."""

_EARNED_SHARE = 0.1
"""Share of an owner's ordinary processor time that may be used beyond it in addition: of a million files of
one user, some take long."""

_COST_PER_SECOND = 1 << 27
"""Bytes that are read and digested in the processor time in which a decoder works for a second."""


def cost_of(seconds: float) -> int:
    """Return the bytes that take as long to read and digest as a decoder takes for a file, at most."""
    return int(seconds * _COST_PER_SECOND)


class SlowOwners:
    """The owners whose files take long to decode, in a scan or as one worker has seen them."""

    def __init__(self) -> None:
        self._excess: Counter[int] = Counter()
        """By owner, microseconds."""
        self._reported: Counter[int] = Counter()
        self._named: Collection[int] = ()

    def charge(self, owner: int, seconds: float, size: int, *, given_up: bool) -> None:
        """Count the processor time that a decoder has used, for nothing if given up, for a file of so many
        bytes."""
        ordinary = 0.0 if given_up else min(seconds, _ordinary_seconds(size))
        self._excess[owner] += int((seconds - ordinary - _EARNED_SHARE * ordinary) * 1e6)

    def add(self, excess: Mapping[int, int]) -> None:
        self._excess.update(excess)

    def name(self, owners: Collection[int]) -> None:
        """Take these owners as slow, in addition to those that were counted here, until the next call."""
        self._named = owners

    def report(self) -> dict[int, int]:
        """Return what was counted since the last call, by owner, in microseconds."""
        changed = {
            owner: excess - self._reported[owner]
            for owner, excess in self._excess.items()
            if excess != self._reported[owner]
        }
        self._reported.update(changed)
        return changed

    def __contains__(self, owner: int) -> bool:
        return owner in self._named or self._excess.get(owner, 0) >= _OWNER_SECONDS * 1e6


def container_seconds(limit: float, size: int) -> float:
    """Return the processor time in seconds of a container on trial."""
    return min(TRIAL_SHARE * limit, _CONTAINER_FACTOR * _ordinary_seconds(size))


def _ordinary_seconds(size: int) -> float:
    return _ORDINARY_SECONDS + size / _ORDINARY_BYTES
