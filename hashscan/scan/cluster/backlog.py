"""The batches that a cluster checks, and the queue of those that wait: assignment, retries, and blame for
lost workers.

When a worker is lost, each file of its batches is retried alone, by a worker that has no other file. If that
worker is lost as well, the file is the cause, provided that the node starts another worker; if the node is
silent instead, the whole machine has failed, and the file is retried elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future as Outer
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import structs

from hashscan.model import Batch, BatchResult, Reason
from hashscan.scan.cluster.messages import Ready
from hashscan.scan.workers.pool import merge_results, unread_result

if TYPE_CHECKING:
    from distributed import Future


@dataclass(eq=False, slots=True)
class Work:
    """A batch that needs a result."""

    batch: Batch
    finish: Callable[[BatchResult], None]
    fail: Callable[[BaseException], None]
    alone: bool = False
    """True for one file of a batch whose worker was lost; a worker gets it without any other file."""
    losses: int = 0
    """The number of machines that were lost while they had it alone."""

    def give_up(self, reason: str) -> None:
        self.finish(unread_result(self.batch, Reason.WORKER_DIED, reason))

    def split_by_file(self) -> list[Work]:
        """Return its files as separate work; their results together are its result."""
        parts = _Parts(self, [None] * len(self.batch.items))
        return [
            Work(structs.replace(self.batch, items=(item,)), parts.receiver(position), self.fail, alone=True)
            for position, item in enumerate(self.batch.items)
        ]


def work_of(batch: Batch, outer: Outer[BatchResult]) -> Work:
    """Return work whose result goes into a future; later results are ignored."""

    def finish(result: BatchResult) -> None:
        if not outer.done():
            outer.set_result(result)

    def fail(error: BaseException) -> None:
        if not outer.done():
            outer.set_exception(error)

    return Work(batch, finish, fail)


@dataclass(slots=True)
class _Parts:
    whole: Work
    results: list[BatchResult | None]

    def receiver(self, position: int) -> Callable[[BatchResult], None]:
        def take(answer: BatchResult) -> None:
            self.results[position] = answer
            results = [known for known in self.results if known is not None]
            if len(results) == len(self.results):
                self.whole.finish(merge_results([[place] for place in range(len(results))], results))

        return take


@dataclass(eq=False, slots=True)
class Slot:
    """A worker that is ready for batches."""

    address: str
    """Dask's address; a worker that is restarted has another one."""
    ready: Ready
    busy: dict[Work, Future[Any]] = field(default_factory=dict)

    @property
    def reserved(self) -> bool:
        """True if its batch must stay alone."""
        return any(work.alone for work in self.busy)


@dataclass(slots=True)
class Suspect:
    """A file whose worker was lost when it had no other file; the cause is the file or the machine."""

    work: Work
    node: str
    deadline: float
    """The time by which the node's next worker process must be present; otherwise the machine is taken for
    lost."""


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
        self._waiting.append(work)

    def requeue(self, works: Iterable[Work]) -> None:
        """Requeue the batches of a worker that can't check them, when none of them is the cause."""
        for work in reversed(list(works)):
            (self._alone if work.alone else self._waiting).appendleft(work)

    def lost(self, works: Iterable[Work], node: str, now: float) -> None:
        """Requeue the batches of a worker that died; `now` is in seconds, by the same clock as in `judge`."""
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
        every = [*self._waiting, *self._alone, *(suspect.work for suspect in self._suspects)]
        self._waiting.clear()
        self._alone.clear()
        self._suspects.clear()
        return every
