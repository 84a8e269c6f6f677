"""The pipeline with a real worker, run in this process by a pool of one."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import (
    Batch,
    BatchResult,
    FileResult,
    FileStat,
    FolderReason,
    Item,
    Reason,
    Verdict,
)
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan import pipeline
from hashscan.scan.pipeline import ScanPipeline
from hashscan.scan.workers import batch_queues
from hashscan.scan.workers.batch_queues import LARGE_BYTES, SPARSE_BYTES
from hashscan.scan.workers.pool import Pool
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import (
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    UnlistedFolder,
    UnreadableName,
)
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns

pytestmark = pytest.mark.usefixtures("forked_zygotes")


class Inline(Pool):
    """Runs batches where it stands; keeps what it was asked to do."""

    def __init__(self, worker: Worker | None = None, workers: int = 1) -> None:
        self.workers = workers
        self.worker = worker
        self.asked: list[Batch] = []

    def submit(self, batch: Batch) -> Future[BatchResult]:
        self.asked.append(batch)
        future: Future[BatchResult] = Future()
        future.set_result(self.answer(batch))
        return future

    def answer(self, batch: Batch) -> BatchResult:
        assert self.worker is not None
        return self.worker.check(batch)

    def close(self) -> None:
        pass


class Vanishing(Inline):
    """Answers that every file under certain names is gone, and all others are clean."""

    def __init__(self, *gone: bytes) -> None:
        super().__init__()
        self.gone = gone

    def answer(self, batch: Batch) -> BatchResult:
        return BatchResult(
            tuple(
                FileResult(item.name, item.stat, Verdict.UNREADABLE, Reason.VANISHED)
                if item.name in self.gone
                else FileResult(item.name, item.stat, Verdict.CLEAN)
                for item in batch.items
            )
        )


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    setup = WorkerSetup(
        lists=(),
        sandbox=SandboxOptions("auto"),
        algorithms=("md5", "sha1", "sha256", "pdq"),
        max_pixels=10**6,
    )
    with Worker(setup) as made:
        yield made


def listings(*targets: Path, batch_files: int = 64) -> Iterator[Listing]:
    options = ListingOptions(exclude=Patterns.compile((), None), batch_files=batch_files)
    return FilesystemSource([os.fsencode(t) for t in targets], options).listings()


def test_every_file_has_one_verdict(tmp_path: Path, worker: Worker) -> None:
    for number in range(300):
        folder = tmp_path / str(number % 7)
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(b"x" * number)
    os.symlink("nowhere", tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    scan = ScanPipeline(listings(tmp_path, batch_files=10), Inline(worker))
    assert list(scan) == []
    assert scan.summary.files == 300 == scan.summary.verdicts[Verdict.CLEAN]
    assert scan.summary.bytes_read == sum(range(300))
    assert scan.summary.passed["links"] == 1
    assert scan.summary.passed["specials"] == 1
    assert scan.targets_with_files == {os.fsencode(tmp_path)}


def test_a_deadline_is_kept_however_slow_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1000):
        (tmp_path / str(number)).write_bytes(b"x")
    now = 0.0

    class Slow(Vanishing):
        """Ten files a second."""

        def answer(self, batch: Batch) -> BatchResult:
            nonlocal now
            now += 0.1 * len(batch.items)
            return super().answer(batch)

    monkeypatch.setattr(pipeline, "time", SimpleNamespace(monotonic=lambda: now))
    pool = Slow()
    scan = ScanPipeline(listings(tmp_path, batch_files=256), pool, deadline=20.0)
    assert list(scan) == []
    assert scan.cut_short
    assert 20.0 <= now < 21.0
    assert scan.summary.files == sum(len(batch.items) for batch in pool.asked) == pytest.approx(200, abs=10)
    names = [item.name for batch in pool.asked for item in batch.items]
    assert len(set(names)) == len(names)
    assert max(len(batch.items) for batch in pool.asked) > 10


def test_hard_links_are_read_once_and_every_name_counts(tmp_path: Path, worker: Worker) -> None:
    (tmp_path / "0").write_bytes(b"once")
    for number in range(1, 250):
        os.link(tmp_path / "0", tmp_path / str(number))
    pool = Inline(worker)
    scan = ScanPipeline(listings(tmp_path, batch_files=20), pool)
    list(scan)
    assert scan.summary.files == 250
    assert sum(len(batch.items) for batch in pool.asked) == 1
    assert scan.summary.bytes_read == 4


STAT = FileStat(device=1, inode=5, size=3, mtime_ns=0, ctime_ns=0, links=3, uid=0)


def linked(*names: bytes) -> Batch:
    return Batch("file", b"/t", b"", 1, 2, tuple(Item(name, STAT) for name in names))


def test_a_vanished_name_does_not_speak_for_the_others() -> None:
    pool = Vanishing(b"a", b"b")
    scan = ScanPipeline([linked(b"a", b"b", b"c", b"d")], pool)
    records = list(scan)
    assert [record["path"] for record in records] == ["/t/a", "/t/b"]
    assert scan.summary.verdicts == {Verdict.UNREADABLE: 2, Verdict.CLEAN: 2}
    assert [len(batch.items) for batch in pool.asked] == [1, 1, 1]


def test_when_all_names_vanish_all_are_counted() -> None:
    scan = ScanPipeline([linked(b"a", b"b"), linked(b"c")], Vanishing(b"a", b"b", b"c"))
    assert len(list(scan)) == 3
    assert scan.summary.verdicts == {Verdict.UNREADABLE: 3}


def test_what_the_source_passes_by_is_reported_and_counted() -> None:
    item = Item(b"big", STAT)
    scan = ScanPipeline(
        [
            SkippedFile(b"/t", b"f", item, Reason.OVER_SIZE),
            UnreadableName(b"/t", b"f", b"gone", Reason.VANISHED, "No such file"),
            UnlistedFolder(b"/t", b"g", FolderReason.PERMISSION, "Permission denied"),
            NonFileCounts(folders=1, links=2, specials=3),
        ],
        Vanishing(),
    )
    records = list(scan)
    assert [(r["type"], r["path"], r["reason"]) for r in records] == [
        ("skipped", "/t/f/big", "over the size limit"),
        ("unreadable", "/t/f/gone", "vanished"),
        ("folder", "/t/g", "permission denied"),
    ]
    assert scan.summary.files == 2


class Slow(Vanishing):
    """Never answers."""

    def submit(self, batch: Batch) -> Future[BatchResult]:
        self.asked.append(batch)
        return Future()


def test_no_more_than_two_batches_for_each_worker_are_under_way() -> None:
    pool = Slow()
    pool.workers = 3
    batches = [linked(b"%d" % n) for n in range(50)]
    scan = ScanPipeline(
        (Batch(b.source, b.target, b.folder, 1, n, _single(n)) for n, b in enumerate(batches)), pool
    )
    scan._tick = lambda: scan.stop() if len(pool.asked) == 6 else None
    list(scan)
    assert len(pool.asked) == 6
    assert scan.stopped
    assert scan.summary.files == 0


def _single(number: int) -> tuple[Item, ...]:
    return (Item(b"n%d" % number, FileStat(1, number, 3, 0, 0, 1, 0)),)


def test_an_answer_that_does_not_cover_its_batch_is_a_defect() -> None:
    class Forgetful(Vanishing):
        def answer(self, batch: Batch) -> BatchResult:
            return BatchResult(super().answer(batch).results[1:])

    with pytest.raises(AssertionError):
        list(ScanPipeline([linked(b"a")], Forgetful()))


def test_a_workers_defect_is_not_swallowed() -> None:
    class Broken(Vanishing):
        def submit(self, batch: Batch) -> Future[BatchResult]:
            future: Future[BatchResult] = Future()
            future.set_exception(RuntimeError("defect"))
            return future

    with pytest.raises(RuntimeError, match="defect"):
        list(ScanPipeline([linked(b"a")], Broken()))


@pytest.fixture
def holders(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[int]]]:
    """Files with a write lease: those of `asked` are given back while the scan waits, others are not."""
    held: dict[str, list[int]] = {"asked": [], "kept": []}
    # The kernel asks by a signal, which would end this process.
    before = signal.signal(signal.SIGIO, lambda *_: None)
    monkeypatch.setattr(batch_queues, "_lease_break_seconds", lambda: 0.3)
    yield held
    for descriptor in (*held["asked"], *held["kept"]):
        os.close(descriptor)
    signal.signal(signal.SIGIO, before)


def test_leased_files_are_tried_again_when_all_others_were(
    tmp_path: Path, worker: Worker, holders: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d", "e"):
        (tmp_path / name).write_bytes(b"content")
    os.link(tmp_path / "b", tmp_path / "other-b")
    for name, kind in (("b", "asked"), ("c", "asked"), ("d", "kept")):
        holders[kind].append(os.open(tmp_path / name, os.O_RDWR))
        fcntl.fcntl(holders[kind][-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        while holders["asked"]:
            descriptor = holders["asked"].pop()
            # What the lease is to become, as somebody has tried to open the file.
            assert fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            os.close(descriptor)

    monkeypatch.setattr(pipeline.time, "sleep", wait)
    pool = Inline(worker)
    scan = ScanPipeline(listings(tmp_path), pool)
    (record,) = scan
    assert (record["path"], record["reason"]) == (str(tmp_path / "d"), Reason.LEASED)
    assert scan.summary.verdicts == {Verdict.CLEAN: 5, Verdict.UNREADABLE: 1}
    # It was waited for once, and each was tried twice.
    assert sum(waits) > 0
    assert len(pool.asked) == 2
    assert {item.name for item in pool.asked[0].items} >= {b"a", b"c", b"d", b"e"}
    again = {item.name for item in pool.asked[1].items}
    assert len(again) == 3
    assert {b"c", b"d"} < again < {b"b", b"other-b", b"c", b"d"}
    assert not scan.cut_short


def test_a_scan_that_is_stopped_does_not_wait_for_leases(
    tmp_path: Path, worker: Worker, holders: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"content")
    holders["kept"].append(os.open(tmp_path / "a", os.O_RDWR))
    fcntl.fcntl(holders["kept"][-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)
    monkeypatch.setattr(batch_queues, "_lease_break_seconds", lambda: 3600)
    scan = ScanPipeline(listings(tmp_path), Inline(worker))
    monkeypatch.setattr(pipeline.time, "sleep", lambda _: scan.stop())
    assert list(scan) == []
    assert (scan.summary.files, scan.cut_short) == (0, True)


class Deferring(Inline):
    """Leaves files unread as workers of a pool do."""

    defers = True


def test_large_files_come_last_by_owner(tmp_path: Path, worker: Worker) -> None:
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"x")
        with (tmp_path / f"large{number}").open("wb") as file:
            file.truncate(LARGE_BYTES + 1)
        with (tmp_path / f"sparse{number}").open("wb") as file:
            file.truncate(SPARSE_BYTES + 8192)
    pool = Deferring(worker)
    scan = ScanPipeline(listings(tmp_path), pool)
    assert list(scan) == []
    assert not scan.cut_short
    assert scan.summary.verdicts == {Verdict.CLEAN: 15}
    last = [batch for batch in pool.asked if batch.max_sparse is not None]
    assert pool.asked[-10:] == last
    assert all(len(batch.items) == 1 and not batch.defer for batch in last)
    assert {batch.items[0].name for batch in last} == {
        b"%s%d" % (kind, number) for kind in (b"large", b"sparse") for number in range(5)
    }


def test_what_waits_when_the_time_is_used_up_has_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").write_bytes(b"x")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGE_BYTES + 1)
    now = 0.0

    class Slow(Vanishing):
        def answer(self, batch: Batch) -> BatchResult:
            nonlocal now
            now += 30.0
            return super().answer(batch)

    monkeypatch.setattr(pipeline, "time", SimpleNamespace(monotonic=lambda: now))
    scan = ScanPipeline(listings(tmp_path), Slow(), deadline=20.0)
    list(scan)
    assert scan.summary.files == 1
    assert scan.cut_short


def test_an_answer_that_never_comes_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.5
        return now

    class Silent(Inline):
        def submit(self, batch: Batch) -> Future[BatchResult]:
            return Future()

    monkeypatch.setattr(pipeline, "time", SimpleNamespace(monotonic=clock))
    scan = ScanPipeline(listings(tmp_path), Silent(), deadline=20.0)
    assert list(scan) == []
    assert scan.cut_short
    assert scan.summary.files == 0


def test_hard_links_of_a_deferred_file_have_its_verdict(tmp_path: Path, worker: Worker) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(SPARSE_BYTES + 8192)
    for name in "bcd":
        os.link(tmp_path / "a", tmp_path / name)
    pool = Deferring(worker)
    scan = ScanPipeline(listings(tmp_path), pool)
    list(scan)
    assert scan.summary.verdicts == {Verdict.CLEAN: 4}
    assert sum(batch.max_sparse is not None for batch in pool.asked) == 1
