"""Batches on their way through a cluster, and the workers that have them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future as Outer
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hashscan.model import Batch, BatchResult, FileResult, Reason, Verdict
from hashscan.scan.cluster.messages import Ready
from hashscan.scan.workers.pool import joined

if TYPE_CHECKING:
    from distributed import Future


@dataclass(eq=False, slots=True)
class Work:
    """A batch that is owed an answer."""

    batch: Batch
    settle: Callable[[BatchResult], None]
    fail: Callable[[BaseException], None]
    alone: bool = False
    """It is one file of a batch whose worker was lost, and is given to a worker that has nothing else."""
    losses: int = 0
    """How many machines went away while they had it alone."""

    def give_up(self, reason: str) -> None:
        """All its files are unreadable."""
        self.settle(
            BatchResult(
                tuple(
                    FileResult(item.name, item.stat, Verdict.UNREADABLE, Reason.WORKER_DIED, reason)
                    for item in self.batch.items
                )
            )
        )

    def apart(self) -> list[Work]:
        """Its files as work of their own, whose answers together are its answer."""
        parts = _Parts(self, [None] * len(self.batch.items))
        return [
            Work(replace(self.batch, items=(item,)), parts.taker(position), self.fail, alone=True)
            for position, item in enumerate(self.batch.items)
        ]


def work_of(batch: Batch, outer: Outer[BatchResult]) -> Work:
    """Work whose answer goes into a future, the first one for good."""

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

    def taker(self, position: int) -> Callable[[BatchResult], None]:
        def take(answer: BatchResult) -> None:
            self.answers[position] = answer
            answers = [known for known in self.answers if known is not None]
            if len(answers) == len(self.answers):
                self.whole.settle(joined([[place] for place in range(len(answers))], answers))

        return take


@dataclass(eq=False, slots=True)
class Slot:
    """A worker that is ready for batches."""

    address: str
    """Dask's; a worker that is started again has another."""
    ready: Ready
    busy: dict[Work, Future[Any]] = field(default_factory=dict)
    """What it has, with Dask's word for the answer."""

    @property
    def reserved(self) -> bool:
        """Whether what it has must stay alone."""
        return any(work.alone for work in self.busy)


@dataclass(slots=True)
class Suspect:
    """A file whose worker was lost when it had nothing else: was it the file, or the machine?"""

    work: Work
    node: str
    deadline: float
    """The node's next worker process must be there by then, or the machine is taken for lost."""
