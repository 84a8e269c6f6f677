"""Pictures whose decoders are lost: who is to blame, what becomes of them, and what the scan says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hashscan.lists.store import ListStore
from hashscan.model import Batch, Entry, FileResult, Reason, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.setup import WorkerSetup, algorithms_of_lists
from hashscan.scan.worker import Worker
from hashscan.sources.filesystem import FilesystemSource
from hashscan.sources.options import ListingOptions
from hashscan.sources.patterns import Patterns
from tests.pictures import encoded, scene
from tests.scan.hostile import MARKS

SETUP = WorkerSetup(
    lists=(),
    sandbox=SandboxOptions("off", seconds=5.0),
    algorithms=("md5", "sha1", "sha256", "pdq"),
    max_pixels=10**7,
    with_digests=True,
)
SCAN = """
import functools, sys
from hashscan.scan import sweep
sweep.WorkerSetup = functools.partial(sweep.WorkerSetup, decoder=sys.argv[1])
from hashscan.cli.main import run
sys.exit(run(sys.argv[2:]))
"""
"""The command, with another decoder than ours."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def check(worker: Worker, folder: Path) -> dict[str, FileResult]:
    source = FilesystemSource([os.fsencode(folder)], ListingOptions(exclude=Patterns.compile((), None)))
    batches = [listing for listing in source.listings() if isinstance(listing, Batch)]
    results = [
        result
        for batch in batches
        for result in worker.check(replace(batch, items=sorted(batch.items, key=lambda i: i.name))).results
    ]
    return {os.fsdecode(result.name): result for result in results}


@contextmanager
def worker_with(tmp_path: Path, entry: Entry, **more: Any) -> Iterator[Worker]:
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [entry], "test")
    with store.open(["ours"], datetime.now(UTC)) as opened:
        setup = replace(SETUP, lists=opened.handles, algorithms=algorithms_of_lists(opened.handles), **more)
        with Worker(setup) as worker:
            yield worker


def pdq_of(content: bytes, folder: Path) -> bytes:
    (folder / "digested").write_bytes(content)
    with Worker(replace(SETUP, algorithms=("pdq",))) as worker:
        (digest,) = check(worker, folder)["digested"].digests
    (folder / "digested").unlink()
    return digest.value


def scan(tmp_path: Path, decoder: str, *arguments: str) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
    """Scan `files`; the exit code, the summary, and the other records."""
    report = tmp_path / "report.jsonl"
    report.unlink(missing_ok=True)
    state = tmp_path / "state"
    store = ListStore(state / "lists")
    if "ours" not in store.names():
        store.import_entries("ours", [Entry("nothing", "md5", bytes(16), "A1")], "test")
    done = subprocess.run(
        [
            *(sys.executable, "-c", SCAN, f"tests.scan.hostile:{decoder}", "scan", "--state", str(state)),
            *("--report", str(report), "--workers", "1", *arguments, str(tmp_path / "files")),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    records = [json.loads(line) for line in report.read_text().splitlines()]
    assert done.returncode == records[-1]["exit_code"], done.stderr.decode()
    return done.returncode, records[-1], records[1:-1]


def test_killed_decoders_make_a_scan_incomplete_and_are_tried_again(tmp_path: Path, files: Path) -> None:
    (files / "a.jpg").write_bytes(encoded(scene(1)) + MARKS["killed"])
    (files / "b.jpg").write_bytes(encoded(scene(2)))
    for _ in range(2):
        code, summary, (record,) = scan(tmp_path, "load", "--sandbox", "off")
        assert code == 3
        assert (record["verdict"], record["reason"]) == ("undecoded", Reason.STARVED.value)
        assert summary["incomplete"] == [f"1 pictures: {Reason.STARVED.value}"]
    # The same file, with a decoder that nobody kills.
    code, summary, records = scan(tmp_path, "load_as_it_is", "--sandbox", "off")
    assert (code, records, summary["unchanged"]) == (0, [], 1)


@pytest.mark.parametrize(
    ("decoder", "reason"),
    [("load_killed_at_confirming", Reason.STARVED), ("load_faulty_at_confirming", Reason.UNCONFIRMED)],
)
def test_match_that_no_decoder_lives_to_confirm(
    tmp_path: Path, files: Path, decoder: str, reason: Reason
) -> None:
    content = encoded(scene(1))
    entry = Entry("e", "pdq", pdq_of(content, files), "A1")
    for number in range(3):
        (files / f"{number}.jpg").write_bytes(content)
    with worker_with(tmp_path, entry, decoder=f"tests.scan.hostile:{decoder}", keep=True) as worker:
        found = check(worker, files)
    # Copies, too: what the second decoder did says nothing of them.
    assert {(result.verdict, result.reason) for result in found.values()} == {(Verdict.UNDECODED, reason)}
    assert all("entry e" in result.detail for result in found.values())
