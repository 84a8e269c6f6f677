"""Pictures whose decoders are lost: who is to blame, what becomes of them, and what the scan says of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from hashscan.lists.store import ListStore
from hashscan.matching.worker_setup import WorkerSetup, algorithms_to_compute, asked_algorithms
from hashscan.model import Batch, Entry, FileResult, Reason, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from hashscan.state.store.profile import from_text, profile_of
from tests.cli.later import seconds_later
from tests.pictures import encoded, scene
from tests.scan.hostile import MARKS

GOOD = encoded(scene(1))

SETUP = WorkerSetup(
    lists=(),
    sandbox=SandboxOptions("off", seconds=5.0),
    algorithms=("md5", "sha1", "sha256", "pdq"),
    max_pixels=10**7,
    with_digests=True,
)
SCAN = """
import functools, sys
from msgspec import structs
from hashscan.scan import session
session.WorkerSetup = functools.partial(session.WorkerSetup, decoder=sys.argv[1])
options = session.sandbox_options
session.sandbox_options = lambda limits: structs.replace(options(limits), owner_losses=3)
from hashscan.cli.main import run
sys.exit(run(sys.argv[2:]))
"""
"""The command, with another decoder than ours, and little patience."""


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
        for result in worker.check(
            structs.replace(batch, items=sorted(batch.items, key=lambda i: i.name))
        ).results
    ]
    return {os.fsdecode(result.name): result for result in results}


@contextmanager
def worker_with(tmp_path: Path, entry: Entry, **more: Any) -> Iterator[Worker]:
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [entry], "test")
    with store.open(["ours"], datetime.now(UTC)) as opened:
        setup = replace(
            SETUP,
            lists=opened.handles,
            algorithms=algorithms_to_compute(asked_algorithms(opened.handles)),
            **more,
        )
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
    # Files as new as these would be read again.
    seconds_later(tmp_path / "clock", 60)
    store = ListStore(state / "lists")
    if "ours" not in store.names():
        store.import_entries("ours", [Entry("nothing", "md5", bytes(16), "A1")], "test")
    done = subprocess.run(
        [
            *(sys.executable, "-c", SCAN, f"tests.scan.hostile:{decoder}", "scan", "--state", str(state)),
            *("--report", str(report), "--workers", "1", *arguments, str(tmp_path / "files")),
        ],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "clock")},
        capture_output=True,
        check=False,
    )
    records = [json.loads(line) for line in report.read_text().splitlines()]
    assert done.returncode == records[-1]["exit_code"], done.stderr.decode()
    return done.returncode, records[-1], records[1:-1]


@pytest.mark.slow
def test_killed_decoders_make_a_scan_incomplete_and_are_tried_again(tmp_path: Path, files: Path) -> None:
    (files / "a.jpg").write_bytes(encoded(scene(1)) + MARKS["killed"])
    (files / "b.jpg").write_bytes(encoded(scene(2)))
    for _ in range(2):
        code, summary, (record,) = scan(tmp_path, "load", "--sandbox", "off")
        assert code == 3
        assert (record["verdict"], record["reason"]) == ("undecoded", Reason.STARVED.value)
        assert [(one["code"], one["subject"]) for one in summary["incomplete"]] == [
            ("reason", Reason.STARVED.value)
        ]
    # The same file, with a decoder that nobody kills.
    code, summary, records = scan(tmp_path, "load_as_it_is", "--sandbox", "off")
    assert (code, records, summary["unchanged"]) == (0, [], 1)


@pytest.mark.slow
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


LOST = {"segfault": Reason.DECODER_DIED, "loop": Reason.TIMEOUT, "memory": Reason.MEMORY}


def lose(files: Path) -> dict[str, str]:
    """Put down a picture for each way to lose a decoder; the reasons by name."""
    for mark in LOST:
        (files / f"{mark}.jpg").write_bytes(GOOD + MARKS[mark])
    return {f"{mark}.jpg": reason.value for mark, reason in LOST.items()}


def reasons(records: list[dict[str, Any]]) -> dict[str, str]:
    assert {record["verdict"] for record in records} <= {"undecoded"}
    return {os.path.basename(record["path"]): record["reason"] for record in records}


SMALL = ("--decoder-seconds", "2", "--decoder-memory", "300M", "--large-decoder-memory", "1")


@pytest.mark.slow
def test_losses_that_follow_from_the_content_cost_one_scan_only(tmp_path: Path, files: Path) -> None:
    expected = lose(files)
    code, summary, records = scan(tmp_path, "load", *SMALL)
    assert (code, reasons(records), summary["unchanged"]) == (0, expected, 0)
    # Another decoder, which would do it, isn't asked.
    code, summary, records = scan(tmp_path, "load_as_it_is", *SMALL)
    assert (code, reasons(records), summary["unchanged"]) == (0, expected, 3)
    assert scan(tmp_path, "load_as_it_is", *SMALL, "--strict")[0] == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed", [("--decoder-seconds", "3"), ("--decoder-memory", "310M"), ("--sandbox", "off")]
)
def test_other_limits_have_it_tried_again(tmp_path: Path, files: Path, changed: tuple[str, str]) -> None:
    (files / "good.jpg").write_bytes(encoded(scene(2)))
    (files / "segfault.jpg").write_bytes(GOOD + MARKS["segfault"])
    assert reasons(scan(tmp_path, "load", *SMALL)[2]) == {"segfault.jpg": Reason.DECODER_DIED.value}
    code, summary, records = scan(tmp_path, "load_as_it_is", *SMALL, *changed)
    assert (code, records, summary["unchanged"]) == (0, [], 1)


def test_other_libraries_have_it_tried_again() -> None:
    now = profile_of(SETUP)
    assert any(message.startswith("pillow ") for message in now.limits)
    assert profile_of(replace(SETUP, sandbox=SandboxOptions("off", seconds=6.0))).limits != now.limits
    for library in ("pillow", "numpy", "imagehash"):
        assert f"{library} {version(library)}" in now.limits
    assert from_text(now.to_text()) == now


def test_picture_that_dies_only_of_an_earlier_one_is_decoded(tmp_path: Path, files: Path) -> None:
    """An attacker prepares the decoder with one picture, so that a listed one kills it."""
    listed = encoded(scene(3)) + MARKS["victim"]
    (files / "0.jpg").write_bytes(GOOD + MARKS["poison"])
    (files / "1.jpg").write_bytes(listed)
    entry = Entry("e", "pdq", pdq_of(encoded(scene(3)), files), "A1")
    with worker_with(tmp_path, entry, decoder="tests.scan.hostile:load", keep=True) as worker:
        found = check(worker, files)
    assert found["1.jpg"].verdict is Verdict.MATCH


@pytest.mark.parametrize("limit", [{"owner_losses": 3}, {"owner_seconds": 1e-6}])
def test_owner_who_has_lost_too_many_decoders_hides_nothing(
    tmp_path: Path, files: Path, limit: dict[str, Any]
) -> None:
    for number in range(6):
        # In a batch with those that come after, so that a decoder has them already when the last is lost.
        (files / f"{number}.jpg").write_bytes(encoded(scene(number)) + MARKS["segfault"])
    (files / "7.jpg").write_bytes(encoded(scene(7)))
    (files / "8.txt").write_bytes(b"text")
    (files / "9.jpg").write_bytes(encoded(scene(9)))
    entry = Entry("e", "sha256", hashlib.sha256(encoded(scene(9))).digest(), "A1")
    sandbox = structs.replace(SETUP.sandbox, **limit)
    with worker_with(tmp_path, entry, decoder="tests.scan.hostile:load", sandbox=sandbox) as worker:
        found = check(worker, files)
        assert found["9.jpg"].verdict is Verdict.MATCH
        assert found["8.txt"].verdict is Verdict.CLEAN
        by_reason = {r.value: sum(f.reason is r for f in found.values()) for r in Reason}
        lost = by_reason[Reason.DECODER_DIED.value]
        # All that were lost and the first one's neighbours: a decoder that had met others costs two.
        assert 1 <= lost <= 3
        assert by_reason[Reason.OVER_BUDGET.value] == 8 - lost
        assert found["7.jpg"].verdict is Verdict.UNDECODED
        # What is known of their content costs nothing in the next one.
        again = check(worker, files)
    assert {name: found[name].reason for name in found} == {name: again[name].reason for name in again}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_one_owner_s_losses_cost_no_other(files: Path) -> None:
    for number in range(12):
        path = files / f"{number:02}.jpg"
        path.write_bytes(encoded(scene(number)) + (b"" if number % 3 else MARKS["segfault"]))
        os.chown(path, 1000 + (number % 3 > 0), 1000)
    sandbox = structs.replace(SETUP.sandbox, owner_losses=2)
    with Worker(replace(SETUP, decoder="tests.scan.hostile:load", sandbox=sandbox)) as worker:
        found = check(worker, files)
    assert all((found[name].verdict is Verdict.CLEAN) == (int(name[:2]) % 3 > 0) for name in found)
    assert Reason.OVER_BUDGET in {result.reason for result in found.values()}


@pytest.mark.slow
def test_next_scan_goes_on_where_the_budget_ended(tmp_path: Path, files: Path) -> None:
    """Each scan may lose three; what was lost before costs the next ones nothing, until all were tried."""
    for number in range(7):
        (files / f"{number}.jpg").write_bytes(encoded(scene(number)) + MARKS["segfault"])
    (files / "good.jpg").write_bytes(encoded(scene(20)))
    left = []
    while not left or left[-1]:
        code, summary, records = scan(tmp_path, "load", *SMALL)
        left.append(list(reasons(records).values()).count(Reason.OVER_BUDGET.value))
        assert code == (3 if left[-1] else 0)
        assert len(left) < 8
    assert len(left) > 2
    assert left == sorted(left, reverse=True)
    assert (summary["verdicts"]["clean"], summary["verdicts"]["undecoded"]) == (1, 7)
