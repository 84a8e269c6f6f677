"""Results of earlier scans are matched again without opening any file."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hashscan.scan.reporting.observer import Observer
from hashscan.scan.reporting.observer import RunningScan as AnyRun
from hashscan.scan.rescan import run_rescan
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.scan import ScanSettings
from hashscan.state_dir import StateDir
from tests.cli.conftest import COMMAND, Ran, Run, environment
from tests.prefork import PREFORK
from tests.shortcomings import codes

Known = Callable[..., tuple[Ran, list[dict[str, Any]]]]


@pytest.fixture
def scanned(run: Run, local_list: str, uploads: Path) -> Path:
    (uploads / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (uploads / "text").write_bytes(b"words")
    (uploads / "sub").mkdir()
    shutil.copy(uploads / "listed.jpg", uploads / "sub" / "copied.jpg")
    assert run("scan", uploads, "--list", local_list).code == 1
    return uploads


@pytest.fixture
def known(run: Run, tmp_path: Path) -> Known:
    def known(*arguments: object) -> tuple[Ran, list[dict[str, Any]]]:
        report = tmp_path / "known.jsonl"
        ran = run("scan", "--known", "--list", "ours", *arguments, "--report", report)
        return ran, [json.loads(line) for line in report.read_text().splitlines()]

    return known


def found(records: list[dict[str, Any]]) -> dict[str, str]:
    return {Path(r["path"]).name: r["verdict"] for r in records if r["type"] == "finding"}


def gain(run: Run, tmp_path: Path, *entries: str) -> None:
    table = tmp_path / "gained.csv"
    table.write_text("\n".join(("id,algorithm,value,category", *entries)) + "\n")
    assert run("lists", "import", table, "--name", "ours").code == 0


def test_findings_are_reported_although_nothing_is_there_to_be_read(
    run: Run, known: Known, scanned: Path, tmp_path: Path
) -> None:
    report = tmp_path / "scanned.jsonl"
    run("scan", scanned, "--list", "ours", "--report", report)
    first = [json.loads(line) for line in report.read_text().splitlines()]
    scanned.rename(tmp_path / "unmounted")
    ran, records = known()
    assert ran.code == 1
    assert "no file was read" in ran.err
    assert found(records) == found(first)
    assert set(found(records)) >= {"listed.jpg", "copied.jpg"}
    assert records[0]["known"] is True
    assert records[-1]["verdicts"] == first[-1]["verdicts"]
    ours = {"uid", "links", "device"}
    expected = {r["path"]: {k: v for k, v in r.items() if k not in ours} for r in first[1:-1]}
    assert {r["path"]: r for r in records[1:-1]} == expected


def test_a_file_that_other_options_found_is_gone_with_the_last_of_its_folder(
    run: Run, known: Known, scanned: Path
) -> None:
    for file in scanned.iterdir():
        if file.is_file():
            file.unlink()
    assert run("scan", scanned, "--list", "ours", "--one-file-system", "--accept-shrink").code == 1
    assert found(known()[1]) == {"copied.jpg": "match"}


def test_targets_keep_it_to_a_part(known: Known, scanned: Path) -> None:
    assert found(known(scanned / "sub")[1]) == {"copied.jpg": "match"}
    assert found(known(scanned / "listed.jpg")[1]) == {"listed.jpg": "match"}
    ran, records = known(scanned / "text")
    assert (ran.code, records[-1]["files"]) == (0, 1)
    ran, records = known(scanned / "nothing")
    assert ran.code == 3
    assert "nothing is known of any file of these targets" in ran.err


def test_what_the_list_gained_is_found_and_what_it_lost_is_not(
    run: Run, known: Known, scanned: Path, tmp_path: Path, age: Callable[[], None]
) -> None:
    (hashed,) = run("hash", scanned / "other.jpg").lines
    digests = hashed["digests"]
    gain(run, tmp_path, f"g,md5,{digests['md5']},A1")
    assert found(known()[1]) == {"other.jpg": "match"}
    # Nobody but a fresh decoder may accuse a picture of a likeness.
    gain(run, tmp_path, f"g,pdq,{digests['pdq']},B1")
    ran, records = known()
    assert (ran.code, found(records)) == (0, {"other.jpg": "review"})
    (because,) = (r["because"] for r in records if r["type"] == "finding")
    assert "the next scan" in because
    assert run("scan", "--known", "--list", "ours", "--fail-on", "review").code == 1
    age()
    assert run("scan", scanned, "--list", "ours").code == 1
    ran, records = known()
    assert (ran.code, found(records)) == (1, {"other.jpg": "match"})
    gain(run, tmp_path, f"g,md5,{'0' * 32},A1")
    ran, records = known()
    assert (ran.code, found(records)) == (0, {})


def test_files_that_can_not_be_answered_for_make_it_incomplete(
    run: Run, known: Known, scanned: Path, tmp_path: Path
) -> None:
    gain(run, tmp_path, f"g,sha512,{'0' * 128},A1")
    ran, _ = known()
    assert ran.code == 3
    assert "6 files must be read again" in ran.err


def test_a_state_that_knows_nothing_says_so(run: Run, local_list: str) -> None:
    ran = run("scan", "--known", "--list", local_list)
    assert ran.code == 3
    assert "nothing is known of any file" in ran.err


@pytest.mark.parametrize("option", [["--no-state"], ["--shard", "1/2"], ["--exclude", "*.txt"]])
def test_what_says_which_files_to_read_is_refused(run: Run, option: list[str]) -> None:
    ran = run("scan", "--known", *option)
    assert ran.code == 2
    assert option[0] in ran.err


MANY = b"the same words"


@pytest.fixture
def many(run: Run, local_list: str, uploads: Path) -> None:
    """Six hundred files on the list "others": their records are more than a pipe holds."""
    for number in range(600):
        (uploads / f"{number}.txt").write_bytes(MANY)
    report = uploads.parent / "many.jsonl"
    assert run("scan", uploads, "--list", local_list, "--report", report).code == 1
    # What accuses files would be written at the end alone.
    entries = uploads.parent / "others.csv"
    digest = hashlib.sha256(MANY).hexdigest()
    entries.write_text(f"id,algorithm,value,category\ne,sha256,{digest},other\n")
    assert run("lists", "import", entries, "--name", "others").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("many")
def test_asked_to_stop(run: Run, state: Path) -> None:
    command = [*COMMAND, "scan", "--known", "--list", "others", "--report", "-"]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)):
        with PREFORK.popen(
            command, env=environment(state), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        ) as process:
            assert process.stdout is not None
            first = [process.stdout.readline() for _ in range(3)]
            # It can't go on, since nobody reads.
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        lines = [json.loads(line) for line in (*first, *out.splitlines())]
        assert (lines[-1]["type"], lines[-1]["exit_code"]) == ("summary", code)
        assert lines[-1]["verdicts"]["review"] == len(lines) - 2 < 600
        assert codes(lines[-1]) == ["stopped"]
    assert run("state", "check").code == 0
    assert run("scan", "--known", "--list", "ours", "--report", "-").lines[-1]["files"] == 603


@pytest.mark.slow
@pytest.mark.usefixtures("many")
def test_whoever_watches_is_shown_how_far_it_is(state: Path) -> None:
    class Watching(Observer):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def started(self, run: AnyRun) -> None:
            self.run = run
            assert run.processes() == []

        def tick(self) -> None:
            self.seen.append(self.run.summary.files)
            if len(self.seen) == 100:
                self.run.stop()

    watching = Watching()
    settings = ScanSettings(
        targets=(),
        lists=("others",),
        reports=(),
        state=StateDir(state),
        workers=1,
        decoding=DecodingLimits("auto", 1 << 30, 20.0, 64_000_000),
        known=True,
    )
    outcome = run_rescan(settings, watching)
    assert watching.seen == sorted(watching.seen)
    assert 0 < watching.seen[0] < watching.seen[-1] == outcome.summary.files < 603
