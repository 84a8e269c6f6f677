"""Files whose decoding takes long: what is found in time counts, and files of others don't wait for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from hashlib import sha256
from itertools import cycle
from pathlib import Path

import pytest

from hashscan.lists.store import ListStore
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult, Entry, MemberLimits, Reason, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.pipeline import ScanPipeline
from hashscan.scan.workers.pool import Pool, ProcessPool
from hashscan.scan.workers.slow_files import SlowOwners
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import Listing, ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.hashing.documents.drawn import jpeg_stream, pdf, stream
from tests.hostile_files import FILES, pdf_of_shadings
from tests.pictures import encoded, scene

LISTED = encoded(scene(3), "JPEG")


def with_a_slow_page() -> bytes:
    """A document that shows a listed picture, and behind it a page that keeps a library busy."""
    function = stream(
        b"/FunctionType 4/Domain[0 1 0 1]/Range[0 1]", b"{add " + b"dup 57 mul sin add 0.5 mul " * 300 + b"}"
    )
    return pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R 6 0 R]/Count 2>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
            b"/Resources<</XObject<</I 5 0 R>>>>>>",
            stream(b"", b"600 0 0 800 0 0 cm /I Do"),
            jpeg_stream(scene(3), LISTED),
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 7 0 R"
            b"/Resources<</Shading<</S 8 0 R>>>>>>",
            stream(b"", b"/S sh\n" * 2000),
            b"<</ShadingType 1/ColorSpace/DeviceGray/Matrix[600 0 0 800 0 0]/Function 9 0 R>>",
            function,
        ]
    )


class Inline(Pool):
    """Runs batches where it stands, by its workers in turn, and defers as a process of a pool does."""

    defers = True

    def __init__(self, *workers: Worker) -> None:
        self.workers = 1
        self.in_turn = cycle(workers)
        self.asked: list[Batch] = []
        self.results: list[BatchResult] = []

    def submit(self, batch: Batch) -> Future[BatchResult]:
        self.asked.append(batch)
        self.results.append(next(self.in_turn).check(batch))
        future: Future[BatchResult] = Future()
        future.set_result(self.results[-1])
        return future

    def close(self) -> None:
        pass


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [Entry("e", "sha256", sha256(LISTED).digest(), "A1")], "test")
    with store.open(["ours"], datetime.now(UTC)) as opened:
        setup = WorkerSetup(
            lists=opened.handles,
            sandbox=SandboxOptions("auto"),
            algorithms=("md5", "sha256", "pdq"),
            max_pixels=10**6,
            containers=MemberLimits(seconds=2.0),
        )
        with Worker(setup) as made:
            yield made


def listings(folder: Path) -> Iterator[Listing]:
    options = ListingOptions(exclude=Patterns.compile((), None))
    return FilesystemSource([os.fsencode(folder)], options).listings()


@pytest.mark.slow
def test_what_was_found_before_the_limit_counts(tmp_path: Path, worker: Worker) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "two.pdf").write_bytes(with_a_slow_page())
    (batch,) = (listing for listing in listings(folder) if isinstance(listing, Batch))
    (result,) = worker.check(batch).results
    assert (result.verdict, result.reason) == (Verdict.MATCH, Reason.TIMEOUT)
    assert [match.member for match in result.matches] == ["page=1,image=1"]


@pytest.mark.slow
def test_files_of_others_do_not_wait_for_slow_ones(tmp_path: Path, worker: Worker) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    hostile = pdf_of_shadings()
    for number in range(3):
        (folder / f"a{number}.pdf").write_bytes(hostile + b"%%%d" % number)
    for number in range(8):
        (folder / f"b{number}.jpg").write_bytes(LISTED)
        if os.geteuid() == 0:
            os.chown(folder / f"b{number}.jpg", 4001, 4001)
    pool = Inline(worker)
    scan = ScanPipeline(listings(folder), pool)
    verdicts = [(record["verdict"], record.get("reason")) for record in scan]
    assert verdicts == [("match", None)] * 8 + [("undecoded", Reason.TIMEOUT.value)] * 3
    assert scan.summary.files == 11
    assert not scan.cut_short
    assert all(len({item.stat.uid for item in batch.items}) == 1 for batch in pool.asked)
    # Each slow one has a batch of its own in the end.
    assert [len(batch.items) for batch in pool.asked if not batch.defer] == [1, 1, 1]


def test_time_beyond_the_ordinary_makes_an_owner_slow() -> None:
    mine, all_of_them = SlowOwners(), SlowOwners()
    for _ in range(100):
        mine.charge(1, 0.25, 0, given_up=False)
        mine.charge(2, 0.75, 0, given_up=False)
    for _ in range(3):
        mine.charge(3, 1.0, 100 << 20, given_up=True)
    assert [owner in mine for owner in (1, 2, 3, 4)] == [False, True, True, False]
    # Who has many ordinary files has earned some time for others.
    mine.charge(1, 3.0, 0, given_up=True)
    assert 1 not in mine
    all_of_them.add(mine.report())
    assert mine.report() == {}
    assert [owner in all_of_them for owner in (1, 2, 3, 4)] == [False, True, True, False]
    mine.name((4,))
    assert 4 in mine
    assert mine.report() == {}
    mine.name(())
    assert 4 not in mine


@pytest.mark.slow
def test_each_worker_defers_the_files_of_an_owner_that_another_found_slow(
    tmp_path: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashscan.scan.workers.slow_files._OWNER_SECONDS", 0.1)
    for folder in ("a", "b"):
        (tmp_path / "files" / folder).mkdir(parents=True)
        (tmp_path / "files" / folder / "a.pdf").write_bytes(pdf_of_shadings() + b"%" + folder.encode())
        (tmp_path / "files" / folder / "b.jpg").write_bytes(LISTED)
    with Worker(worker.setup) as other:
        pool = Inline(worker, other)
        records = list(ScanPipeline(listings(tmp_path / "files"), pool))
    uid = os.geteuid()
    assert [batch.slow for batch in pool.asked] == [(), (uid,), (), (), ()]
    assert [len(answer.deferred) for answer in pool.results] == [1, 2, 0, 0, 0]
    # It had nothing decoded.
    assert pool.results[0].excess[uid] > 0
    assert pool.results[1].excess == {}
    assert sorted(record["verdict"] for record in records) == ["match"] * 2 + ["undecoded"] * 2


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for files of two owners")
def test_no_process_keeps_the_files_of_others_waiting(tmp_path: Path, worker: Worker) -> None:
    folder = tmp_path / "files"
    for number in range(6):
        path = folder / f"a{number}" / "a.pdf"
        path.parent.mkdir(parents=True)
        path.write_bytes(pdf_of_shadings() + b"%%%d" % number)
        os.chown(path, 4001, 4001)
    for number in range(12):
        (folder / f"z{number}").mkdir()
        (folder / f"z{number}" / "z.jpg").write_bytes(LISTED)
    with ProcessPool(worker.setup, 2) as pool:
        scan = ScanPipeline(listings(folder), pool)
        verdicts = [record["verdict"] for record in scan]
    assert verdicts == ["match"] * 12 + ["undecoded"] * 6
    assert not scan.cut_short


@pytest.mark.slow
def test_every_hostile_file_has_a_verdict(tmp_path: Path, worker: Worker) -> None:
    """Those that were found to take most time or memory."""
    names = (
        "meshes.pdf",
        "tilings.pdf",
        "forms.pdf",
        "annotations.pdf",
        "empties.7z",
        "times.mp4",
        "uses.svg",
    )
    folder = tmp_path / "files"
    folder.mkdir()
    for name in (*names, "entities.svg"):
        (folder / name).write_bytes(FILES[name]())
    (folder / "z.jpg").write_bytes(LISTED)
    scan = ScanPipeline(listings(folder), Inline(worker))
    records = {os.path.basename(str(record["path"])): record["verdict"] for record in scan}
    assert scan.summary.files == len(names) + 2
    assert records.pop("z.jpg") == Verdict.MATCH.value
    assert set(records.values()) == {Verdict.UNDECODED.value}
    assert {"meshes.pdf", "tilings.pdf"} <= set(records)
