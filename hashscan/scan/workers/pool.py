"""The interface between a scan and its workers, `submit(batch) -> Future`, and the process pool."""

from __future__ import annotations

import signal
import threading
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import repeat
from typing import ClassVar

from msgspec import structs

from hashscan.locking import ClosedOnExit
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult, FileResult, Reason, StoredContentData, Verdict
from hashscan.reports.records import Record
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.process_setup import die_with_parent, isolate_session, warm_up
from hashscan.scan.workers.processes import ProcessDied, Processes, ProcessStuck, TaskRefused
from hashscan.scan.workers.throttle import RateLimiter
from hashscan.scan.workers.watchdog import StuckLimits, StuckOwners
from hashscan.scan.workers.wire import (
    PackedBatch,
    PackedResults,
    pack_batch,
    pack_results,
    unpack_batch,
    unpack_results,
)
from hashscan.scan.workers.worker import Worker

MakeWorker = Callable[[WorkerSetup, DecodeCache], Worker]
"""A function that makes a worker in the worker's process; it must be importable there."""


_LIGHT_BYTES = 64 << 20

LIMITS = StuckLimits()


class Pool(ClosedOnExit):
    """An executor of batches."""

    workers: int
    """The number of workers at the moment; may change."""
    defers: ClassVar[bool] = False
    """True if the workers respect `Batch.defer`."""
    failure: str = ""
    """The reason why nothing can be checked any more; batches that are submitted later are unreadable."""

    @abstractmethod
    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Check a batch; the future never fails because of a file in it."""

    @abstractmethod
    def close(self) -> None:
        """Stop at once; batches that are being checked are given up."""

    def processes(self) -> list[int]:
        """Return the ids of the processes on this machine that read files."""
        return []

    def messages(self) -> Iterator[str]:
        """Yield messages about the workers for the operator, each once."""
        return iter(())

    def fields(self) -> Record:
        """Return the report's fields about the workers in their present state."""
        return {}


class ProcessPool(Pool):
    """Workers in processes of their own; one that dies costs no more than the file that killed it.

    A batch whose worker died, or was stuck in it (see `watchdog`), is retried file by file. A file that kills
    its worker then as well is unreadable, with the reason that the worker died. A file in which a worker is
    stuck when it has no other file is unreadable, with the reason that reading it does not end; so are the
    remaining files of its owner, once the owner's files have held workers for too long (see `StuckLimits`).
    """

    defers = True

    def __init__(
        self,
        setup: WorkerSetup,
        workers: int,
        make: MakeWorker = Worker,
        rate_limiter: RateLimiter | None = None,
        limits: StuckLimits | None = None,
    ) -> None:
        """Start the processes.

        Args:
            rate_limiter: the rate limiter for all of them together; it is not closed with the pool.
        """
        self.workers = workers
        limits = limits or LIMITS
        self._stuck = StuckOwners(limits)
        self._decode_cache = DecodeCache()
        arguments = (setup, make, self._decode_cache, rate_limiter)
        self._processes = Processes(workers, _run, _start, arguments, warm_up(), limits)

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Check a batch in one of the processes."""
        outer: Future[BatchResult] = Future()
        outer.set_running_or_notify_cancel()
        parts = self._stuck.parts(batch.items) if self._stuck else ()
        if len(parts) > 1:
            self._split(batch, outer, parts)
        else:
            self._schedule(batch).add_done_callback(partial(self._finish, batch, outer, False))
        return outer

    def _schedule(self, batch: Batch) -> Future[PackedResults]:
        sizes = [item.stat.size for item in batch.items]
        # A task that takes long, or an unknown time, must not wait for a busy worker while another is idle.
        light = min(sizes) >= 0 and sum(sizes) <= _LIGHT_BYTES
        patience = partial(self._stuck.patience, batch)
        return self._processes.submit(pack_batch(batch), light=light, patience=patience)

    def _finish(
        self, batch: Batch, outer: Future[BatchResult], again: bool, inner: Future[PackedResults]
    ) -> None:
        """Use the result of a batch, or retry its files one by one; `again` is True for such a retry."""
        try:
            outer.set_result(unpack_results(batch, inner.result()))
        except ProcessDied as died:
            if again:
                outer.set_result(unread_result(batch, Reason.WORKER_DIED, _how(died)))
            else:
                self._split(batch, outer, None)
        except ProcessStuck as stuck:
            self._stuck.charge(batch, stuck.seconds)
            if len(batch.items) == 1:
                outer.set_result(unread_result(batch, Reason.STUCK, str(stuck)))
            else:
                self._split(batch, outer, None)
        except TaskRefused:
            outer.set_result(
                unread_result(batch, Reason.STUCK, "not tried: its owner's files have held workers")
            )
        except BaseException as error:  # a defect in a worker, passed on to the caller
            outer.set_exception(error)

    def _split(self, batch: Batch, outer: Future[BatchResult], parts: Sequence[Sequence[int]] | None) -> None:
        """Have parts of a batch checked separately; each file, if no parts are given."""
        again = parts is None
        places = [[position] for position in range(len(batch.items))] if parts is None else parts
        collected = _Parts(places, outer)
        for number, positions in enumerate(places):
            part = structs.replace(batch, items=tuple(batch.items[position] for position in positions))
            answer: Future[BatchResult] = Future()
            answer.add_done_callback(partial(collected.take, number))
            self._schedule(part).add_done_callback(partial(self._finish, part, answer, again))

    def processes(self) -> list[int]:
        """Return the workers' process ids."""
        return self._processes.pids()

    def close(self) -> None:
        """Stop the processes."""
        self._processes.close()
        self._decode_cache.close()


class _Parts:
    """The results of the parts of a batch, collected until all are there."""

    def __init__(self, places: Sequence[Sequence[int]], outer: Future[BatchResult]) -> None:
        self._places = places
        self._parts: dict[int, BatchResult] = {}
        self._outer = outer
        self._lock = threading.Lock()

    def take(self, number: int, inner: Future[BatchResult]) -> None:
        """Store the result of one part; the last one completes the batch."""
        error = inner.exception()
        with self._lock:
            if error is not None:
                if not self._outer.done():
                    self._outer.set_exception(error)
                return
            self._parts[number] = inner.result()
            if len(self._parts) == len(self._places) and not self._outer.done():
                parts = [self._parts[part] for part in range(len(self._places))]
                self._outer.set_result(merge_results(self._places, parts))


def merge_results(places: Sequence[Sequence[int]], parts: Sequence[BatchResult]) -> BatchResult:
    """Return the result of a batch whose parts were checked separately, each with the positions of its files
    in the batch."""
    results: dict[int, FileResult] = {}
    kept: dict[int, StoredContentData | None] = {}
    deferred: list[tuple[int, int]] = []
    for positions, answer in zip(places, parts, strict=True):
        results.update(zip(positions, answer.results, strict=True))
        # A worker that died kept nothing.
        kept.update(zip(positions, answer.kept or repeat(None), strict=False))
        deferred += [(positions[position], size) for position, size in answer.deferred]
    return BatchResult(
        results=tuple(results[position] for position in range(len(results))),
        bytes_read=sum(answer.bytes_read for answer in parts),
        sandbox=next((a.sandbox for a in parts if a.sandbox is not None), None),
        kept=tuple(kept[position] for position in range(len(results)))
        if any(answer.kept for answer in parts)
        else (),
        deferred=tuple(sorted(deferred)),
        hole_bytes=sum(answer.hole_bytes for answer in parts),
        compared=sum(answer.compared for answer in parts),
        not_compared=sum(answer.not_compared for answer in parts),
        recognition=dict(sum((Counter(answer.recognition) for answer in parts), Counter[str]())),
        excess=_sums(answer.excess for answer in parts),
    )


def _sums(counts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Return the sums of counts, of which some may be negative."""
    total: Counter[int] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _how(died: ProcessDied) -> str:
    code = died.exit_code
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def unread_result(batch: Batch, reason: Reason, detail: str) -> BatchResult:
    """Return the result of a batch none of whose files can be read."""
    return BatchResult(
        results=tuple(
            FileResult(item.name, item.stat, Verdict.UNREADABLE, reason, detail) for item in batch.items
        )
    )


_worker: Worker | None = None


def _start(
    setup: WorkerSetup, make: MakeWorker, decode_cache: DecodeCache, rate_limiter: RateLimiter | None
) -> None:
    global _worker  # noqa: PLW0603 - a pool's initializer has no other place to leave it
    # A scan that is killed must not leave workers behind that continue to read.
    die_with_parent()
    _worker = make(setup, decode_cache)
    if rate_limiter is not None:
        _worker.set_rate_limiter(rate_limiter.acquire)
    isolate_session()


def _run(packed: PackedBatch) -> PackedResults:
    assert _worker is not None
    batch = unpack_batch(packed)
    return pack_results(batch, _worker.check(batch))
