"""The seam between a sweep and its workers: `submit(batch) -> Future`, here over a pool of processes."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import ClassVar

from hashscan.model import Batch, BatchResult, FileResult, Reason, Verdict
from hashscan.reports.record_lines import Record
from hashscan.scan.answers import Answers
from hashscan.scan.background import follow
from hashscan.scan.forkserver import warm_up
from hashscan.scan.orphans import die_with_parent
from hashscan.scan.pace import Pace
from hashscan.scan.processes import ProcessDied, Processes
from hashscan.scan.setup import WorkerSetup
from hashscan.scan.wire import (
    PackedBatch,
    PackedResults,
    pack_batch,
    pack_results,
    unpack_batch,
    unpack_results,
)
from hashscan.scan.worker import Worker

MakeWorker = Callable[[WorkerSetup, Answers], Worker]
"""Makes a worker in its own process; must be importable there."""


_LIGHT_BYTES = 64 << 20


class Pool(ABC):
    """Runs batches somewhere."""

    workers: int
    """How many there are at the moment; may change."""
    defers: ClassVar[bool] = False
    """Whether its workers heed `Batch.defer`."""
    failure: str = ""
    """Why nothing can be checked any more; what is submitted nevertheless is unreadable."""

    @abstractmethod
    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Check a batch; the future never fails because of a file in it."""

    @abstractmethod
    def close(self) -> None:
        """Stop at once; batches that are under way are given up."""

    def processes(self) -> list[int]:
        """Those of this machine that read files."""
        return []

    def messages(self) -> Iterator[str]:
        """What a person should know of the workers, and was not told yet."""
        return iter(())

    def fields(self) -> Record:
        """What the report says of the workers, as they are now."""
        return {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ProcessPool(Pool):
    """Workers in processes of their own; one that dies costs no more than the file that killed it.

    A batch whose worker died is tried again file by file. A file that kills its worker then as well is
    unreadable, with the reason that the worker died.
    """

    defers = True

    def __init__(
        self, setup: WorkerSetup, workers: int, make: MakeWorker = Worker, pace: Pace | None = None
    ) -> None:
        """Start the processes.

        Args:
            setup: what to do.
            workers: how many.
            make: makes the worker of each.
            pace: how fast they may read together; not closed with the pool.
        """
        self.workers = workers
        self._answers = Answers()
        arguments = (setup, make, self._answers, pace)
        self._processes = Processes(workers, _run, _start, arguments, warm_up())

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Check a batch in one of the processes."""
        outer: Future[BatchResult] = Future()
        outer.set_running_or_notify_cancel()
        self._schedule(batch).add_done_callback(partial(self._settle, batch, outer))
        return outer

    def _schedule(self, batch: Batch) -> Future[PackedResults]:
        sizes = [item.stat.size for item in batch.items]
        # What takes long, or nobody knows how long, must not lie with a busy worker while another is idle.
        light = min(sizes) >= 0 and sum(sizes) <= _LIGHT_BYTES
        return self._processes.submit(pack_batch(batch), light=light)

    def _settle(self, batch: Batch, outer: Future[BatchResult], inner: Future[PackedResults]) -> None:
        try:
            outer.set_result(unpack_results(batch, inner.result()))
        except ProcessDied:
            retry = _Retry(len(batch.items), outer)
            for position, item in enumerate(batch.items):
                alone = replace(batch, items=(item,))
                self._schedule(alone).add_done_callback(partial(retry.take, position, alone))
        except BaseException as error:  # a defect in a worker, handed to whoever waits
            outer.set_exception(error)

    def processes(self) -> list[int]:
        """The workers' process ids."""
        return self._processes.pids()

    def close(self) -> None:
        """Stop the processes."""
        self._processes.close()
        self._answers.close()


class _Retry:
    """Collects the answers for the files of a batch whose worker died."""

    def __init__(self, files: int, outer: Future[BatchResult]) -> None:
        self._answers: list[BatchResult | None] = [None] * files
        self._outer = outer
        self._lock = threading.Lock()

    def take(self, position: int, batch: Batch, inner: Future[PackedResults]) -> None:
        """Take the answer for one file; the last one completes the batch."""
        try:
            answer = unpack_results(batch, inner.result())
        except ProcessDied as died:
            answer = _died(batch, died)
        except BaseException as error:  # a defect in a worker, handed to whoever waits
            with self._lock:
                if not self._outer.done():
                    self._outer.set_exception(error)
            return
        with self._lock:
            self._answers[position] = answer
            answers = [known for known in self._answers if known is not None]
            if len(answers) == len(self._answers) and not self._outer.done():
                self._outer.set_result(joined(answers))


def joined(answers: list[BatchResult]) -> BatchResult:
    """The answer to a batch whose files were checked one by one."""
    return BatchResult(
        results=tuple(result for answer in answers for result in answer.results),
        bytes_read=sum(answer.bytes_read for answer in answers),
        sandbox=next((a.sandbox for a in answers if a.sandbox is not None), None),
        # A worker that died kept nothing.
        kept=tuple(k for answer in answers for k in answer.kept or (None,) * len(answer.results))
        if any(answer.kept for answer in answers)
        else (),
        deferred=tuple(
            (position, size) for position, answer in enumerate(answers) for _, size in answer.deferred
        ),
        hole_bytes=sum(answer.hole_bytes for answer in answers),
    )


def _died(batch: Batch, died: ProcessDied) -> BatchResult:
    code = died.exit_code
    how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    return BatchResult(
        results=tuple(
            FileResult(item.name, item.stat, Verdict.UNREADABLE, Reason.WORKER_DIED, how)
            for item in batch.items
        )
    )


_worker: Worker | None = None
"""The one worker of a pool's process."""


def _start(setup: WorkerSetup, make: MakeWorker, answers: Answers, pace: Pace | None) -> None:
    global _worker  # noqa: PLW0603 - a pool's initializer has no other place to leave it
    # A sweep that is killed must not leave workers behind, reading on.
    die_with_parent()
    _worker = make(setup, answers)
    if pace is not None:
        _worker.keep_pace(pace.spend)
    # Last, since it may have to wait, and the sandbox is being started meanwhile.
    follow()


def _run(packed: PackedBatch) -> PackedResults:
    assert _worker is not None
    batch = unpack_batch(packed)
    return pack_results(batch, _worker.check(batch))
