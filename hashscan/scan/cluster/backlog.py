"""The queue of batches that wait for a cluster's workers: assignment, retries, and blame for lost workers.

When a worker is lost, each file of its batches is retried alone, by a worker that has no other file. If that
worker is lost as well, the file is the cause, provided that the node starts another worker; if the node is
silent instead, the whole machine has failed, and the file is retried elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator

from hashscan.scan.cluster.work import Slot, Suspect, Work

BATCHES_PER_WORKER = 2
RETURN_SECONDS = 30.0
"""The time in which a node must start another worker in place of one that died."""
LOSSES_MAX = 3
"""The number of machines that may be lost while they have a file, before the file is given up."""


class Backlog:
    """The batches that no worker has."""

    def __init__(self) -> None:
        self._waiting: deque[Work] = deque()
        self._alone: deque[Work] = deque()
        self._suspects: list[Suspect] = []

    def add(self, work: Work) -> None:
        """Append a new batch."""
        self._waiting.append(work)

    def requeue(self, works: Iterable[Work]) -> None:
        """Requeue the batches of a worker that can't check them, when none of them is the cause."""
        for work in reversed(list(works)):
            (self._alone if work.alone else self._waiting).appendleft(work)

    def lost(self, works: Iterable[Work], node: str, now: float) -> None:
        """Requeue the batches of a worker that died.

        Args:
            works: all batches that it had.
            node: the worker's node.
            now: the time in seconds, by the same clock as in `judge`.
        """
        for work in works:
            if work.alone:
                self._suspects.append(Suspect(work, node, now + RETURN_SECONDS))
            else:
                self._alone.extend(work.split_by_file())

    def node_has_new_worker(self, node: str) -> None:
        """Give up a node's suspect files when it has a new worker: so the machine is not the cause."""
        for suspect in [s for s in self._suspects if s.node == node]:
            self._suspects.remove(suspect)
            suspect.work.give_up("the worker that had it died, and so did one that had nothing else")

    def retry_expired_suspects(self, now: float) -> None:
        """Retry the files elsewhere whose machine was lost."""
        for suspect in [s for s in self._suspects if s.deadline < now]:
            self._suspects.remove(suspect)
            suspect.work.losses += 1
            if suspect.work.losses >= LOSSES_MAX:
                suspect.work.give_up(f"{LOSSES_MAX} machines were lost while they had it")
            else:
                self._alone.append(suspect.work)

    def assign(self, slots: Collection[Slot]) -> Iterator[tuple[Slot, Work]]:
        """Yield pairs of a worker and its next batch; send each before the next is requested."""
        while self._alone and (idle := next((slot for slot in slots if not slot.busy), None)):
            yield idle, self._alone.popleft()
        free = [slot for slot in slots if len(slot.busy) < BATCHES_PER_WORKER and not slot.reserved]
        if self._alone and not any(slot.reserved for slot in slots) and free:
            # One of them gets nothing new until it is idle, otherwise files to be retried alone would wait
            # for ever.
            free.remove(min(free, key=lambda slot: len(slot.busy)))
        while self._waiting and free:
            slot = min(free, key=lambda slot: len(slot.busy))
            yield slot, self._waiting.popleft()
            if len(slot.busy) >= BATCHES_PER_WORKER:
                free.remove(slot)

    def drain(self) -> list[Work]:
        """Remove all batches and return them."""
        every = [*self._waiting, *self._alone, *(suspect.work for suspect in self._suspects)]
        self._waiting.clear()
        self._alone.clear()
        self._suspects.clear()
        return every
