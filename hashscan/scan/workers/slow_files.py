"""Decide which files wait until all others have been checked, because their decoders take long.

A page of some kilobytes can keep a decoder busy for a minute. If files of others waited behind it in the
batch, or behind its worker, one owner could delay the scan of all. So each file is on trial first: one that
takes several times as long as its size explains is given up, and joins the queue of large files
(`batch_queues.LargeFileQueue`), where the owners take turns. An owner may have many files that stay just
below that. So the time beyond the usual is added up for each owner in each worker; when it is used up, the
owner's containers wait without a trial, and pictures get a shorter one.
"""

from __future__ import annotations

from collections import Counter

from hashscan.sandbox.client import TRIAL_SHARE, usual_seconds

PICTURE_SECONDS, _PICTURE_SECONDS_OF_SLOW = 2.0, 0.5
"""Processor time of a picture on trial, and that of an owner whose files are slow."""

_CONTAINER_FACTOR = 2.0
"""Processor time of a container on trial, as a multiple of the usual."""

_OWNER_SECONDS = 4.0
"""Processor time beyond the usual from which an owner's files are slow."""

_COST_PER_SECOND = 1 << 27
"""Bytes that are read and digested in the processor time in which a decoder works for a second."""


def cost_of(seconds: float) -> int:
    """Return the bytes that take as long to read and digest as a decoder takes for a file, at most."""
    return int(seconds * _COST_PER_SECOND)


class SlowOwners:
    """The owners whose files take long to decode, as one worker has seen them."""

    def __init__(self) -> None:
        self._beyond: Counter[int] = Counter()
        """By owner, microseconds."""

    def charge(self, owner: int, seconds: float, size: int) -> None:
        """Count the processor time that a decoder has used for a file of so many bytes."""
        beyond = seconds - usual_seconds(size)
        if beyond > 0:
            self._beyond[owner] += int(beyond * 1e6)

    def __contains__(self, owner: int) -> bool:
        return self._beyond[owner] >= _OWNER_SECONDS * 1e6 if owner in self._beyond else False

    def picture_seconds(self, owner: int) -> float:
        """Return the processor time in seconds of a picture on trial."""
        return _PICTURE_SECONDS_OF_SLOW if owner in self else PICTURE_SECONDS


def container_seconds(limit: float, size: int) -> float:
    """Return the processor time in seconds of a container on trial.

    Args:
        limit: all that it may take.
        size: its length in bytes.
    """
    return min(TRIAL_SHARE * limit, _CONTAINER_FACTOR * usual_seconds(size))
