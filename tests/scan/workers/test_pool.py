"""The pool with real processes: files that kill decoders and workers cost their own verdict and no other."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hashscan.errors import SandboxError, WorkersError
from hashscan.lists.store import ListStore
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, Entry, Reason, SandboxLevel, Verdict
from hashscan.reports.records import Record
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.pipeline import ScanPipeline
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.pool import MakeWorker, ProcessPool
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.pictures import encoded, scene
from tests.scan.hostile import MARKS, mortal

SETUP = WorkerSetup(
    lists=(),
    sandbox=SandboxOptions(
        "auto", memory_bytes=256 << 20, large_memory_bytes=0, seconds=0.5, wall_factor=100
    ),
    algorithms=("md5", "sha1", "sha256", "pdq"),
    max_pixels=10**7,
)


def scan(
    folder: Path, setup: WorkerSetup, make: MakeWorker, workers: int = 2
) -> tuple[ScanPipeline, list[Record]]:
    options = ListingOptions(exclude=Patterns.compile((), None))
    with ProcessPool(setup, workers, make) as pool:
        run = ScanPipeline(
            FilesystemSource([os.fsencode(folder)], options).listings(), pool, with_digests=True
        )
        return run, list(run)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    content = encoded(scene(1, 160, 120))
    for number in range(100):
        (folder / f"{number:03}.jpg").write_bytes(content + b"%d" % number)
    return folder


@pytest.mark.slow
def test_files_that_kill_cost_one_verdict_each(pictures: Path, tmp_path: Path) -> None:
    """A hundred pictures, of which three kill the decoder in three ways and one kills the worker."""
    marked = {"segfault": "010.jpg", "loop": "031.jpg", "memory": "052.jpg", "worker": "073.jpg"}
    entries = []
    for number, (mark, name) in enumerate(marked.items()):
        path = pictures / name
        path.write_bytes(path.read_bytes() + MARKS[mark])
        digest = hashlib.sha256(path.read_bytes()).digest()
        entries.append(Entry(f"e{number}", "sha256", digest, "other"))
    setup = replace(SETUP, decoder="tests.scan.hostile:load")
    run, records = scan(pictures, setup, mortal)
    assert run.summary.verdicts == {Verdict.CLEAN: 96, Verdict.UNDECODED: 3, Verdict.UNREADABLE: 1}
    by_name = {os.path.basename(record["path"]): record for record in records}
    assert {name: record["reason"] for name, record in by_name.items()} == {
        "010.jpg": Reason.DECODER_DIED.value,
        "031.jpg": Reason.TIMEOUT.value,
        "052.jpg": Reason.MEMORY.value,
        "073.jpg": Reason.WORKER_DIED.value,
    }
    assert by_name["010.jpg"]["detail"] == "signal SIGSEGV"
    assert by_name["073.jpg"]["detail"] == "signal SIGKILL"
    for name in ("010.jpg", "031.jpg", "052.jpg"):
        expected = hashlib.sha256((pictures / name).read_bytes()).hexdigest()
        assert by_name[name]["digests"]["sha256"] == expected
    # A picture that gave no digest is still accused by its bytes.
    store = ListStore(tmp_path / "lists")
    store.import_entries("exact", entries, "test")
    with store.open(["exact"], _now()) as opened:
        run, records = scan(pictures, replace(setup, lists=opened.handles), mortal)
    assert run.summary.verdicts == {Verdict.CLEAN: 96, Verdict.REVIEW: 3, Verdict.UNREADABLE: 1}
    assert all("reason" in record for record in records)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_scan_ends_though_every_file_kills_its_worker(tmp_path: Path, workers: int) -> None:
    """A worker may die before its word of having taken the task is heard, which must lose no answer."""
    for number in range(20):
        (tmp_path / str(number)).write_bytes(b"%d" % number + MARKS["worker"])
    run, records = scan(tmp_path, SETUP, mortal, workers)
    assert run.summary.verdicts == {Verdict.UNREADABLE: 20}
    assert {record["reason"] for record in records} == {Reason.WORKER_DIED.value}


def test_workers_that_can_not_start_end_the_scan(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(WorkersError, match="exit code 1"):
        scan(tmp_path, SETUP, stillborn)


def stillborn(setup: WorkerSetup, decode_cache: DecodeCache) -> Worker:
    """No worker at all."""
    os._exit(1)


def test_a_pool_answers_like_a_worker_in_this_process(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.png").write_bytes(encoded(scene(number, 64, 64), "PNG"))
    batches = [
        listing
        for listing in FilesystemSource(
            [os.fsencode(tmp_path)], ListingOptions(exclude=Patterns.compile((), None), batch_files=7)
        ).listings()
        if isinstance(listing, Batch)
    ]
    setup = replace(SETUP, with_digests=True)
    with ProcessPool(setup, 2) as pool, Worker(setup) as worker:
        futures = [pool.submit(batch) for batch in batches]
        for batch, answer in zip(batches, futures, strict=True):
            assert answer.result(60).results == worker.check(batch).results


def test_what_is_wrong_with_the_sandbox_ends_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"a")
    required = replace(SETUP, sandbox=SandboxOptions("required"))
    with pytest.raises(SandboxError, match="seccomp") as caught:
        scan(tmp_path, required, without_seccomp, workers=1)
    assert caught.value.exit_code == 2


def without_seccomp(setup: WorkerSetup, decode_cache: DecodeCache) -> Worker:
    """A worker on a machine without libseccomp."""
    from hashscan.sandbox.client import Sandbox

    Sandbox.seccomp_library = "libseccomp-that-is-not-there.so"
    return Worker(setup, decode_cache)


def test_the_level_of_the_sandbox_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(scene(3, 32, 32), "PNG"))
    run, _ = scan(tmp_path, SETUP, Worker, workers=1)
    assert isinstance(run.summary.sandbox, SandboxLevel)
    assert run.summary.sandbox.limits
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "text").write_bytes(b"no picture")
    run, _ = scan(tmp_path / "b", SETUP, Worker, workers=1)
    assert run.summary.sandbox is None


def _now():  # type: ignore[no-untyped-def]
    from datetime import UTC, datetime

    return datetime.now(UTC)
