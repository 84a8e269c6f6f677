"""A watchdog for workers that are stuck in the kernel, by the kernel's data in /proc/PID/status, and the
account of them by file owner.

A read can wait without end: on a FUSE or a network filesystem whose server doesn't answer, on a dying disk,
or on the lock of a file. A customer can hold that lock: write(2) with a buffer that is mapped from the
customer's own FUSE keeps the file locked until this FUSE has answered. XFS then keeps every reader of the
file waiting, and ext4 every process that asks for holes (SEEK_DATA); no signal ends that, not even SIGKILL.

Such a process sleeps (state S or D), and its counts of context switches don't change: a process is counted
when it falls asleep, and again only after it has run. A working process looks different:

- A process that computes, or waits for a processor, has the state R.
- A process that waits for its decoder checks every half second if the decoder is over its limits
  (`sandbox.protocol`).
- A process that keeps to a rate limit wakes every second, or ten times as often while the load is too high
  (`throttle`).
- A process that reads from a slow disk wakes with each piece that has arrived.
- A process that was stopped (SIGSTOP as by `pause`, or by a debugger) has the state T or t, and that time
  doesn't count; nor does time in which this process was stopped itself.

An attacker who lets a worker continue now and then, for one read, could hold it without end all the same. So
the times in which a task made no progress are added up, in stretches of some seconds, and a tenth of the time
in which it progressed is subtracted.

Downloads are not watched (`StuckOwners.patience`). A worker that waits for a silent server may sleep for as
long, but each request has a time limit of its own, and no lock of a customer's file can block it.

Without /proc, nothing is noticed.

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
from dataclasses import dataclass

from hashscan.model import Batch, Item
from hashscan.scan.workers.batch_queues import Owner

_COUNTED = (b"voluntary_ctxt_switches:", b"nonvoluntary_ctxt_switches:")
_STILL = b"SDI"
_STOPPED = b"Tt"
_FORGIVEN_FRACTION = 0.1
"""The fraction of the time with progress that is subtracted from the time without."""


@dataclass(frozen=True, slots=True)
class StuckLimits:
    """The times that workers may spend without progress."""

    seconds: float = 300.0
    """The limit for one task. A hard-mounted NFS waits for its server for minutes, and a bad disk for its
    retries."""
    again_seconds: float = 30.0
    """The limit for a task with files of an owner whose files have stuck `often` workers already."""
    often: int = 3
    owner_seconds: float = 1800.0
    """The limit for all tasks of one owner that ended so; then no more of the owner's files are read in
    the scan."""
    look_seconds: float = 5.0
    stretch_seconds: float = 15.0
    """The shortest stretch without progress that counts: a disk that others use may take up to this time."""


class Progress:
    """The time for which one process has made no progress with its present task."""

    def __init__(self, limits: StuckLimits) -> None:
        self._stretch_seconds = limits.stretch_seconds
        self.begin()

    def begin(self) -> None:
        """Reset for another task."""
        self._seen: tuple[bytes, ...] = ()
        self._before = self._now = 0.0

    @property
    def stalled_seconds(self) -> float:
        """The seconds without progress that count."""
        return self._before + self._now

    def check(self, process: int, elapsed: float) -> None:
        """Check the process."""
        state, counts = _status(process)
        if state in _STOPPED:
            return
        if state in _STILL and counts == self._seen:
            self._now += elapsed
        elif self._seen:
            if self._now >= self._stretch_seconds:
                self._before += self._now
            else:
                self._before = max(0.0, self._before - _FORGIVEN_FRACTION * elapsed)
            self._now = 0.0
        self._seen = counts


def _status(process: int) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the state and the counts of context switches of a process's main thread.

    If they can't be read, the state is running.
    """
    try:
        with open(f"/proc/{process}/status", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return b"R", ()
    state = next((line[7:8] for line in lines if line.startswith(b"State:\t")), b"R")
    return state, tuple(line for line in lines if line.startswith(_COUNTED))


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
        """Return positions in a batch in parts: owners whose files often stuck workers have their own."""
        parts: dict[Owner | None, list[int]] = {}
        for position, item in enumerate(items):
            owner = _owner(item)
            often = self._times[owner] >= self._limits.often
            parts.setdefault(owner if often else None, []).append(position)
        return list(parts.values())

    def __bool__(self) -> bool:
        return bool(self._times)


def _owner(item: Item) -> Owner:
    return Owner(item.stat.of_object, item.stat.uid)
