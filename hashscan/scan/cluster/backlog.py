"""Batches that wait for a worker of a cluster: which goes to whom, and which file is to blame for a loss.

When a worker is lost, each file of its batches is tried alone, by a worker that has nothing else. If that is
lost as well, it is the file that did it, provided that the node starts another worker; a node that is silent
instead has gone as a whole, and the file is tried elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator

from hashscan.scan.cluster.work import Slot, Suspect, Work

BATCHES_PER_WORKER = 2
RETURN_SECONDS = 30.0
"""For a node to start another worker in place of one that died."""
LOSSES_MAX = 3
"""Machines that may go away over a file before it is given up."""


class Backlog:
    """What no worker has."""

    def __init__(self) -> None:
        self._waiting: deque[Work] = deque()
        self._alone: deque[Work] = deque()
        self._suspects: list[Suspect] = []

    def add(self, work: Work) -> None:
        """Put a new batch behind the others."""
        self._waiting.append(work)

    def put_back(self, works: Iterable[Work]) -> None:
        """Take back what a worker had that can't do it, and nothing of it is to blame."""
        for work in reversed(list(works)):
            (self._alone if work.alone else self._waiting).appendleft(work)

    def lost(self, works: Iterable[Work], node: str, now: float) -> None:
        """Take back what a worker had that died.

        Args:
            works: all it had.
            node: which node it was of.
            now: by the clock of `judge`, in seconds.
        """
        for work in works:
            if work.alone:
                self._suspects.append(Suspect(work, node, now + RETURN_SECONDS))
            else:
                self._alone.extend(work.apart())

    def returned(self, node: str) -> None:
        """A node has another worker: the machine is well, so it was the file."""
        for suspect in [s for s in self._suspects if s.node == node]:
            self._suspects.remove(suspect)
            suspect.work.give_up("the worker that had it died, and so did one that had nothing else")

    def judge(self, now: float) -> None:
        """Have files tried elsewhere whose machine was lost."""
        for suspect in [s for s in self._suspects if s.deadline < now]:
            self._suspects.remove(suspect)
            suspect.work.losses += 1
            if suspect.work.losses >= LOSSES_MAX:
                suspect.work.give_up(f"{LOSSES_MAX} machines were lost while they had it")
            else:
                self._alone.append(suspect.work)

    def assign(self, slots: Collection[Slot]) -> Iterator[tuple[Slot, Work]]:
        """Who gets what now; each is to be given what it gets before the next is asked for."""
        while self._alone and (idle := next((slot for slot in slots if not slot.busy), None)):
            yield idle, self._alone.popleft()
        free = [slot for slot in slots if len(slot.busy) < BATCHES_PER_WORKER and not slot.reserved]
        if self._alone and not any(slot.reserved for slot in slots) and free:
            # One of them gets nothing new until it is idle, or files to be tried alone would wait for ever.
            free.remove(min(free, key=lambda slot: len(slot.busy)))
        while self._waiting and free:
            slot = min(free, key=lambda slot: len(slot.busy))
            yield slot, self._waiting.popleft()
            if len(slot.busy) >= BATCHES_PER_WORKER:
                free.remove(slot)

    def drain(self) -> list[Work]:
        """All of it, which is then no longer here."""
        every = [*self._waiting, *self._alone, *(suspect.work for suspect in self._suspects)]
        self._waiting.clear()
        self._alone.clear()
        self._suspects.clear()
        return every
