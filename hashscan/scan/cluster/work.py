"""Batches that a cluster checks, and the workers that have them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future as Outer
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hashscan.model import Batch, BatchResult, FileResult, Reason, Verdict
from hashscan.scan.cluster.messages import Ready
from hashscan.scan.workers.pool import merge_results

if TYPE_CHECKING:
    from distributed import Future


@dataclass(eq=False, slots=True)
class Work:
    """A batch that needs a result."""

    batch: Batch
    settle: Callable[[BatchResult], None]
    fail: Callable[[BaseException], None]
    alone: bool = False
    """True for one file of a batch whose worker was lost; a worker gets it without any other file."""
    losses: int = 0
    """The number of machines that were lost while they had it alone."""

    def give_up(self, reason: str) -> None:
        """Make all its files unreadable."""
        self.settle(
            BatchResult(
                tuple(
                    FileResult(item.name, item.stat, Verdict.UNREADABLE, Reason.WORKER_DIED, reason)
                    for item in self.batch.items
                )
            )
        )

    def split_by_file(self) -> list[Work]:
        """Return its files as separate work; their results together are its result."""
        parts = _Parts(self, [None] * len(self.batch.items))
        return [
            Work(replace(self.batch, items=(item,)), parts.receiver(position), self.fail, alone=True)
            for position, item in enumerate(self.batch.items)
        ]


def work_of(batch: Batch, outer: Outer[BatchResult]) -> Work:
    """Return work whose result goes into a future; later results are ignored."""

    def settle(result: BatchResult) -> None:
        if not outer.done():
            outer.set_result(result)

    def fail(error: BaseException) -> None:
        if not outer.done():
            outer.set_exception(error)

    return Work(batch, settle, fail)


@dataclass(slots=True)
class _Parts:
    whole: Work
    answers: list[BatchResult | None]

    def receiver(self, position: int) -> Callable[[BatchResult], None]:
        def take(answer: BatchResult) -> None:
            self.answers[position] = answer
            answers = [known for known in self.answers if known is not None]
            if len(answers) == len(self.answers):
                self.whole.settle(merge_results([[place] for place in range(len(answers))], answers))

        return take


@dataclass(eq=False, slots=True)
class Slot:
    """A worker that is ready for batches."""

    address: str
    """Dask's address; a worker that is restarted has another one."""
    ready: Ready
    busy: dict[Work, Future[Any]] = field(default_factory=dict)
    """The batches that it has, with Dask's future of each answer."""

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
