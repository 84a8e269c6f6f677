"""The scan pipeline: it takes listings, has workers read the batches, and yields report records."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import repeat

from msgspec import structs

from hashscan.attribution.customers import NO_CUSTOMERS, Customers
from hashscan.matching.evaluation import without_answer
from hashscan.model import Batch, BatchResult, CtimeTrust, FileResult, Item, Reason, Verdict
from hashscan.reports.records import (
    FINDINGS,
    Record,
    folder_record,
    result_record,
    silent_change_record,
    unreadable_record,
    with_sha256,
)
from hashscan.reports.summary import Summary
from hashscan.scan.baseline import NOTHING_ACCEPTED, BaselineFilter
from hashscan.scan.decoder_check import DecodingCount
from hashscan.scan.hard_links import HardLinkTable
from hashscan.scan.workers.batch_queues import (
    LARGE_BYTES,
    BatchSpool,
    LargeFileQueue,
    LeasedFiles,
    Owner,
    ResultSpool,
)
from hashscan.scan.workers.pool import Pool
from hashscan.scan.workers.slow_files import SlowOwners
from hashscan.settings.values import MAX_SPARSE
from hashscan.sources.base import (
    Listing,
    NonFileCounts,
    SkippedFile,
    UnlistedFolder,
    UnreadableName,
    full_path,
)
from hashscan.state.queries.answers import Answers
from hashscan.state.scan_state import ScanState
from hashscan.text import plural, printable

BATCHES_PER_WORKER = 2
"""One batch is read and one is ready: a worker never waits, and little is lost when a scan ends early."""

POLL_SECONDS = 0.2
"""The longest time that a stop request or the progress display may have to wait."""

_OBJECTS_PER_BATCH_MIN = 16
"""The fewest objects in a batch. They are downloaded together; in a smaller batch each would be waited for
alone."""

_ALONE_FROM = 8
"""The number of files of a folder from which those of one owner have a batch of their own; so have those of
an owner whose files take long. A batch has a cost of its own, some times that of a small file."""

UNANSWERED_MAX = 20_000
"""The largest number of files in memory that wait for the answer of a matching service."""

_KNOWN_SECONDS, _KNOWN_SHARE = 60.0, 0.1
"""The longest time, also as a share of the time until the deadline, for which the scan only asks matching
services about what earlier scans have read."""

GRACE_SECONDS = 1.0
"""The time after the deadline for which results of batches that were handed out before are waited for."""

_NAME_REASONS = frozenset({Reason.VANISHED, Reason.REPLACED, Reason.CHANGED})
"""Reasons that say nothing about the same file under another hard link."""


_log = logging.getLogger(__name__)


class ScanPipeline:
    """One run over the listings of its sources.

    Iterating yields the records of everything that is not clean, as it is found; the totals are in `summary`.
    """

    def __init__(
        self,
        listings: Iterable[Listing],
        pool: Pool,
        *,
        with_digests: bool = False,
        moving: bool = False,
        own: frozenset[tuple[int, int]] = frozenset(),
        tick: Callable[[], None] = lambda: None,
        state: ScanState | None = None,
        accepting: BaselineFilter = NOTHING_ACCEPTED,
        customers: Customers = NO_CUSTOMERS,
        deadline: float | None = None,
        max_sparse: int = MAX_SPARSE,
    ) -> None:
        """Prepare a run. `own` are device and inode of each file that the scan itself writes; `deadline` is
        of the monotonic clock; a file is read with up to `max_sparse` hole bytes."""
        self.listed = False
        self.files_by_target: Counter[bytes] = Counter()
        self.summary = Summary()
        self.expected = None if state is None else state.files_before()
        """The number of files that the last complete scans of the targets met; None if it is not known."""
        self._listing: Batch | None = None
        self.decoding = DecodingCount()
        self._listings = listings
        self._pool = pool
        self._with_digests = with_digests
        self._moving = moving
        self._own = own
        self._tick = tick
        self._state = state
        self._accepting = accepting
        self._customers = customers
        self._later = BatchSpool()
        self._large = LargeFileQueue()
        self._large_turn = False
        """True if all other files were handed out, so that large files are next."""
        self._max_sparse = max_sparse
        self._slow = SlowOwners()
        self._links = HardLinkTable()
        self._leased = LeasedFiles()
        self._arrived: queue.SimpleQueue[tuple[Batch, Future[BatchResult]]] = queue.SimpleQueue()
        self._outstanding = 0
        self._ready: deque[Batch] = deque()
        self._services = None if state is None else state.answers
        self._unanswered: dict[int, list[tuple[bytes, Item, FileResult]]] = {}
        """By content, the paths and results of files about which a service was asked."""
        self._unanswered_files = 0
        self._later_answered = ResultSpool()
        """Further files about which a service was asked."""
        self._deadline = deadline
        self._begun: float | None = None
        self._answered = 0
        """The number of files in batches that have a result."""
        self.stopped = False
        self._all_taken = False

    def stop(self) -> None:
        """End the iteration soon; safe to call from a signal handler.

        The results of batches that are done by then are used; other files get no verdict in this scan.
        """
        self.stopped = True

    @property
    def folder(self) -> bytes:
        """The folder that was listed last; empty before the first."""
        return b"" if self._listing is None else full_path(self._listing.target, self._listing.folder)

    def processes(self) -> list[int]:
        return self._pool.processes()

    @property
    def cut_short(self) -> bool:
        """True if some files were not checked, for whatever reason."""
        waiting = self._ready or self._large or self._outstanding
        return self.stopped or not self._all_taken or bool(waiting)

    @property
    def targets_with_files(self) -> set[bytes]:
        return set(self.files_by_target)

    def __iter__(self) -> Iterator[Record]:
        with (
            contextlib.closing(self._links),
            contextlib.closing(self._later),
            contextlib.closing(self._large),
            contextlib.closing(self._later_answered),
        ):
            self._ask_about_known()
            for listing in self._listings:
                self._tick_all()
                yield from self._take(listing)
                yield from self._advance(leave=self._capacity - 1)
                if self._stopping_or_late or self._pool.failure:
                    break
            else:
                self.listed = True
                _log.info("all folders are listed")
                for batch in self._later.batches():
                    self._make_ready(batch)
                    yield from self._advance(leave=self._capacity - 1)
                    if self._stopping_or_late or self._pool.failure:
                        break
                else:
                    self._all_taken = self._large_turn = True
            yield from self._advance(leave=0)
            yield from self._try_leased()
            yield from self._report_unanswered()

    def _try_leased(self) -> Iterator[Record]:
        """Retry the files that had a lease, when every lease must have been released."""
        while not (self._stopping_or_late or self._pool.failure) and (seconds := self._leased.seconds):
            self._tick_all()
            time.sleep(min(seconds, POLL_SECONDS))
        self._ready.extend(self._leased.take())
        yield from self._advance(leave=0)

    @property
    def _stopping_or_late(self) -> bool:
        """True if no more batches are to be handed out."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return self.stopped or late

    @property
    def _out_of_time(self) -> bool:
        """True if not even batches that were handed out are waited for any more."""
        return self._deadline is not None and time.monotonic() >= self._deadline + GRACE_SECONDS

    @property
    def _capacity(self) -> int:
        """The number of batches that may be outstanding; one if there is no worker now, as more may join."""
        return max(1, self._pool.workers * BATCHES_PER_WORKER)

    def _take(self, listing: Listing) -> Iterator[Record]:
        match listing:
            case Batch():
                self.files_by_target[listing.target] += len(listing.items)
                self._listing = listing
                if _log.isEnabledFor(logging.INFO):
                    _log.info(
                        "%s: %s", printable(os.fsdecode(self.folder)), plural(len(listing.items), "file")
                    )
                yield from self._take_batch(listing)
            case SkippedFile(target, folder, item, reason):
                self.files_by_target[target] += 1
                result = FileResult(item.name, item.stat, Verdict.SKIPPED, reason)
                self.summary.add(result)
                path = full_path(target, folder, item.name)
                if self._state is not None:
                    self._state.record_unchecked(path, item.version)
                yield result_record(path, result, with_digests=self._with_digests, item=item)
            case UnreadableName(target, folder, name, reason, detail):
                self.files_by_target[target] += 1
                self.summary.count(Verdict.UNREADABLE, reason)
                path = full_path(target, folder, name)
                if self._state is not None:
                    self._state.record_unchecked(path)
                yield unreadable_record(path, reason, detail)
            case UnlistedFolder(target, folder, closed_because, detail):
                self.summary.close_folder(closed_because)
                if self._state is not None:
                    self._state.mark_incomplete(target, folder)
                yield folder_record(full_path(target, folder), closed_because, detail)
            case NonFileCounts():
                self.summary.add_passed(listing)

    def _take_batch(self, batch: Batch) -> Iterator[Record]:
        """Yield the records of a batch's unchanged files, and have the other files read."""
        if self._state is None:
            yield from self._prepare_batch(batch, later=False)
            return
        known = self._state.lookup(batch)
        self.summary.add_quiet(known.quiet, low_quality=known.low)
        self.summary.ctime[CtimeTrust.UNPROVEN] += known.unproven
        self.summary.ctime[CtimeTrust.ON_TRUST] += known.on_trust
        for item, result in known.results:
            self.summary.recalled += 1
            yield from self._report(batch, result, item)
        if known.reading:
            yield from self._prepare_batch(
                structs.replace(batch, items=tuple(known.reading)), later=known.later
            )

    def _prepare_batch(self, batch: Batch, *, later: bool) -> Iterator[Record]:
        """Prepare a batch for reading, without the files that are known under another hard link."""
        reading: list[Item] = []
        for item in batch.items:
            if (item.stat.device, item.stat.inode) in self._own:
                # A report that grows inside a target would be found to change while it is read.
                ours = FileResult(item.name, item.stat, Verdict.SKIPPED, Reason.OWN)
                yield from self._conclude(batch, ours, item)
                continue
            if item.stat.links > 1:
                read, result = self._links.lookup_or_claim(batch, item)
                if result is not None:
                    yield from self._conclude(batch, result, item)
                if not read:
                    continue
            reading.append(item)
        if reading and later:
            self._later.put(structs.replace(batch, items=tuple(reading)))
        elif reading:
            self._make_ready(structs.replace(batch, items=tuple(reading)))

    def _make_ready(self, batch: Batch) -> None:
        """Queue a batch to be handed out next, in parts by owner, and without its large files."""
        parts: dict[int, list[Item]] = {}
        for item in batch.items:
            parts.setdefault(item.stat.uid, []).append(item)
        if len(parts) == 1:
            self._make_part_ready(batch)
            return
        few: list[Item] = []
        for owner, items in parts.items():
            if len(items) < _ALONE_FROM and owner not in self._slow:
                few += items
            else:
                self._make_part_ready(structs.replace(batch, items=tuple(items)))
        if few:
            self._make_part_ready(structs.replace(batch, items=tuple(few)))

    def _make_part_ready(self, batch: Batch) -> None:
        if max(item.stat.size for item in batch.items) > LARGE_BYTES:
            for item in batch.items:
                if item.stat.size > LARGE_BYTES:
                    self._postpone(batch, item, item.stat.size)
            batch = structs.replace(batch, items=tuple(i for i in batch.items if i.stat.size <= LARGE_BYTES))
        if batch.items:
            self._ready.append(batch)

    def _postpone(self, batch: Batch, item: Item, size: int) -> None:
        self._large.put(structs.replace(batch, items=(item,), defer=False, slow=()), size)
        if self._state is not None:
            self._state.postpone(batch, item)

    def _advance(self, *, leave: int) -> Iterator[Record]:
        """Hand out batches and receive results, until no more than `leave` batches are outstanding."""
        while True:
            if self._services is not None:
                assert self._state is not None
                yield from self._report_contents(self._state.ask_services())
            over = self._stopping_or_late or bool(self._pool.failure and self._large_turn)
            while self._ready and self._outstanding < self._capacity and not over:
                self._submit(self._next())
            while self._large_turn and self._large.running < max(1, self._pool.workers) and not over:
                if (large := self._large.take(self._pool.workers, self._max_sparse)) is None:
                    break
                self._submit(large)
            try:
                batch, future = self._arrived.get(timeout=0.0)
            except queue.Empty:
                if self.stopped or self._out_of_time:
                    return
                if self._outstanding <= leave and (over or not self._ready):
                    return
                waited = self._wait()
                if waited is None:
                    continue
                batch, future = waited
            self._outstanding -= 1
            yield from self._receive(batch, future.result())

    def _tick_all(self) -> None:
        self._tick()
        if self._state is not None:
            self._state.commit_if_due()

    def _wait(self) -> tuple[Batch, Future[BatchResult]] | None:
        self._tick_all()
        try:
            return self._arrived.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None

    def _next(self) -> Batch:
        """Remove a batch from the queue, or as much of it as can probably be read before the deadline."""
        batch = self._ready.popleft()
        if self._deadline is None:
            return batch
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        # The speed is not known until there is a first result.
        rate = self._answered / max(now - self._begun, POLL_SECONDS)
        least = 1 if batch.source == "file" else _OBJECTS_PER_BATCH_MIN
        most = max(least, int(rate * (self._deadline - now) / self._capacity))
        if len(batch.items) <= most:
            return batch
        self._ready.appendleft(structs.replace(batch, items=batch.items[most:]))
        return structs.replace(batch, items=batch.items[:most])

    def _submit(self, batch: Batch) -> None:
        self._outstanding += 1
        if self._pool.defers and batch.max_sparse is None:
            slow = tuple(owner for owner in {item.stat.uid for item in batch.items} if owner in self._slow)
            batch = structs.replace(batch, defer=True, slow=slow)
        self._pool.submit(batch).add_done_callback(lambda future: self._arrived.put((batch, future)))

    def _receive(self, batch: Batch, answer: BatchResult) -> Iterator[Record]:
        if [item.name for item in batch.items] != [result.name for result in answer.results]:
            raise AssertionError("a worker's answer does not cover its batch")
        self._answered += len(batch.items)
        _log.debug("%s checked, %s outstanding", plural(len(batch.items), "file"), self._outstanding)
        if batch.max_sparse is not None:
            self._large.done(batch, answer.bytes_read, answer.hole_bytes)
        self._slow.add(answer.excess)
        self.summary.bytes_read += answer.bytes_read
        self.summary.compared += answer.compared
        self.summary.not_compared += answer.not_compared
        self.summary.recognition.update(answer.recognition)
        self.summary.sandbox = self.summary.sandbox or answer.sandbox
        results = answer.results if self._state is None else self._state.store_results(answer)
        for result, kept in zip(results, answer.kept or repeat(None), strict=False):
            self.decoding.add(result, kept)
        # No large file is deferred twice.
        deferred = dict(answer.deferred) if batch.max_sparse is None else {}
        for place, (item, result) in enumerate(zip(batch.items, results, strict=True)):
            if place in deferred:
                self._postpone(batch, item, deferred[place])
                continue
            # A large file then goes to the queue of large files again.
            if result.reason is Reason.LEASED and self._leased.defer(
                structs.replace(batch, max_sparse=None), item
            ):
                continue
            yield from self._conclude(batch, result, item)
            if item.stat.links > 1:
                yield from self._conclude_links(item, result)
        if self._state is not None:
            self._state.commit_batch(batch)

    def _conclude_links(self, item: Item, result: FileResult) -> Iterator[Record]:
        """Yield the records for the other hard links of a file."""
        if result.verdict is Verdict.UNREADABLE and result.reason in _NAME_REASONS:
            again = self._links.retry_other_name(item)
            if again is not None:
                self._ready.append(again)
            return
        for batch, other in self._links.store_result(item, result):
            yield from self._conclude(batch, structs.replace(result, name=other.name), other)

    def _conclude(self, batch: Batch, result: FileResult, item: Item) -> Iterator[Record]:
        """Yield the records of one file of a batch, and store its result."""
        before = ""
        if self._state is not None:
            content = None if result.other_than_listed else result.content
            before = self._state.record_checked(batch, item, content, result.ctime)
            if content is not None and not item.stat.of_object:
                self.summary.ctime[result.ctime] += 1
        if before:
            path = full_path(batch.target, batch.folder, item.name)
            yield silent_change_record(path, item, before if self._with_digests else "")
        yield from self._report(batch, result, item)

    def _report(self, batch: Batch, result: FileResult, item: Item) -> Iterator[Record]:
        """Count a file, and yield its record unless it is clean; later if a matching service is asked."""
        if self._services is not None:
            if result.content is not None:
                yield from self._report_when_answered(
                    full_path(batch.target, batch.folder, item.name), item, result
                )
                return
            if result.verdict is Verdict.CLEAN:
                result = without_answer(result, self._services.names)
        self.summary.add(result)
        if result.verdict is Verdict.CLEAN and (self._state is None or not self._state.has_open_findings):
            return
        yield from self._report_path(full_path(batch.target, batch.folder, item.name), item, result)

    def _report_path(self, path: bytes, item: Item, result: FileResult) -> Iterator[Record]:
        """Store the result of a file that was counted, and yield its record unless it is clean."""
        if self._state is not None:
            self._store(path, item, result)
        if result.verdict is not Verdict.CLEAN:
            record = result_record(path, result, with_digests=self._with_digests, item=item)
            if self._moving:
                record = with_sha256(record, result)
            yield self._accepting.apply(record, result, self.summary)

    def _store(self, path: bytes, item: Item, result: FileResult) -> None:
        assert self._state is not None
        uid = None if item.stat.of_object else item.stat.uid
        # A clean file needs no customer. While findings are open, every file that is read gets to this line.
        customer = "" if result.verdict is Verdict.CLEAN else self._customers.of(path, uid)
        self._state.store_finding(path, item, result, customer)

    def _ask_about_known(self) -> None:
        """Let the matching services say what has changed, and ask them about what earlier scans have read.

        Reading does not wait for long: one owner's contents may keep a service busy for days.
        """
        now = time.monotonic()
        left = _KNOWN_SECONDS if self._deadline is None else (self._deadline - now) * _KNOWN_SHARE
        until = now + min(left, _KNOWN_SECONDS)
        while (services := self._awaited) and (services.any_begins or time.monotonic() < until):
            assert self._state is not None
            self._state.ask_services(flush=True, timeout=POLL_SECONDS)

    @property
    def _awaited(self) -> Answers | None:
        """The matching services; None if it is not worth waiting for an answer now."""
        if self._services is None or not self._services.worth_waiting or self._stopping_or_late:
            return None
        self._tick_all()
        return self._services

    def _report_when_answered(self, path: bytes, item: Item, result: FileResult) -> Iterator[Record]:
        """Yield the record of a file unless it is clean; later if a matching service has to be asked."""
        content = result.content
        assert content is not None
        assert self._services is not None
        if not self._services.silent(content):
            yield from self._report_answer(path, item, result)
            return
        self._services.ask(content, Owner(item.stat.of_object, item.stat.uid))
        if result.verdict in FINDINGS:
            # What a list accuses now must outlast a kill, though its file be gone by the next scan.
            self._store(path, item, result)
        if self._unanswered_files < UNANSWERED_MAX:
            self._unanswered.setdefault(content, []).append((path, item, result))
            self._unanswered_files += 1
        else:
            self._later_answered.put(path, item, result)

    def _report_unanswered(self) -> Iterator[Record]:
        """Wait for the services as long as answers come, and yield the records of all files that are left."""
        if self._state is None or self._services is None:
            return
        while self._unanswered and self._awaited:
            yield from self._report_contents(self._state.ask_services(flush=True, timeout=POLL_SECONDS))
        yield from self._report_contents(list(self._unanswered), silent=True)
        for path, item, result in self._later_answered.results():
            assert result.content is not None
            while self._services.silent(result.content) and self._awaited:
                self._state.ask_services(flush=True, timeout=POLL_SECONDS)
            yield from self._report_answer(path, item, result)

    def _report_contents(self, contents: Iterable[int], *, silent: bool = False) -> Iterator[Record]:
        """Count the files of contents about which all services have answered (with `silent`, also if some
        have not), and yield their records."""
        for content in contents:
            if content not in self._unanswered:
                continue
            assert self._services is not None
            if silent or not self._services.silent(content):
                for path, item, found in self._unanswered.pop(content):
                    self._unanswered_files -= 1
                    yield from self._report_answer(path, item, found)

    def _report_answer(self, path: bytes, item: Item, found: FileResult) -> Iterator[Record]:
        """Count a file with the answers that there are, and yield its record unless it is clean."""
        assert self._state is not None
        result = self._state.with_answers(path, found)
        self.summary.add(result)
        if result.verdict is not Verdict.CLEAN or self._state.has_open_findings:
            yield from self._report_path(path, item, result)
