"""`hashscan report prune`: what is removed, what stays, and what attackers and kills can't do."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.cases.report_pruning import Decision, prune_reports
from hashscan.locking import ScanLock
from hashscan.reports.records import line_of
from hashscan.state_dir import StateDir
from tests.cli.conftest import COMMAND, Run, environment
from tests.prefork import PREFORK
from tests.reports.documents import SCAN, finding, summary

NOW = datetime.now(UTC)
PRUNE = ("report", "prune", "--keep", "90d")
FOUND = b"/srv/\xffbad.jpg"


def report(
    folder: Path, name: str, days: float, paths: tuple[bytes, ...] = (), *, ended: bool = True
) -> Path:
    """A report of a scan that ended so many days ago; its own times are those of now, as anybody may set."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [finding(path) for path in paths]
    last = [summary(records, ended=(NOW - timedelta(days=days)).isoformat())] if ended else []
    file = folder / name
    file.write_bytes(b"".join(map(line_of, [{**SCAN, "uuid": name}, *records, *last])))
    return file


@pytest.fixture
def reports(state: Path) -> Path:
    folder = state / "reports"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def test_old_reports_are_removed_by_the_end_that_they_have(run: Run, reports: Path) -> None:
    old = report(reports, "a.jsonl", 91, (FOUND,))
    report(reports, "b.jsonl", 89)
    os.utime(reports / "b.jsonl", (0, 0))
    dry = run(*PRUNE, "--dry-run")
    assert (dry.code, dry.out) == (0, f"{old}\n")
    assert names(reports) == {"a.jsonl", "b.jsonl"}
    ran = run(*PRUNE)
    assert (ran.code, ran.out) == (0, f"{old}\n")
    assert names(reports) == {"b.jsonl"}
    assert run(*PRUNE).code == 0


def test_a_report_stays_while_a_case_of_its_findings_is_open(run: Run, reports: Path) -> None:
    report(reports, "a.jsonl", 400, (b"/srv/other", FOUND))
    report(reports, "b.jsonl", 400, (b"/srv/other",))
    imported = report(reports.parent, "imported.jsonl", 400, (FOUND,))
    assert run("cases", "import", imported).code == 0
    ran = run(*PRUNE)
    assert (ran.code, names(reports)) == (0, {"a.jsonl"})
    assert run("cases", "close", "1", "--reason", "done").code == 0
    assert run(*PRUNE).code == 0
    assert names(reports) == set()


def test_what_has_no_age_is_left_and_named(run: Run, reports: Path, tmp_path: Path) -> None:
    report(reports, "killed.jsonl", 400, ended=False)
    report(reports, "killed2.jsonl.partial", 400, ended=False)
    report(reports, "killed3.jsonl.partial.20260101T000000.0Z", 400, ended=False)
    (reports / "text.jsonl").write_text("no report\n")
    (reports / "empty.jsonl").touch()
    (reports / "notes.txt").write_text("not considered")
    os.mkfifo(reports / "fifo.jsonl")
    (reports / "folder.jsonl").mkdir()
    before = names(reports)
    for name in before:
        if (reports / name).is_file():
            os.utime(reports / name, (0, 0))
    ran = run(*PRUNE)
    assert (ran.code, ran.out, names(reports)) == (3, "", before)
    assert ran.err.count("left: ") == len(before) - 1
    damaged = report(reports, "damaged.jsonl", 400)
    lines = damaged.read_bytes().splitlines(keepends=True)
    damaged.write_bytes(lines[0] + b"\x00nonsense\n" + lines[-1])
    assert run(*PRUNE).code == 3
    assert damaged.exists()


def test_no_symlink_is_followed(run: Run, reports: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    old = report(elsewhere, "old.jsonl", 400)
    (reports / "link.jsonl").symlink_to(old)
    (tmp_path / "linked").symlink_to(elsewhere)
    for words in (
        (),
        (reports / "link.jsonl",),
        (tmp_path / "linked",),
        (tmp_path / "linked" / "old.jsonl",),
    ):
        ran = run(*PRUNE, *words)
        assert (ran.code, ran.out) == (3, "")
    assert old.exists()
    assert (reports / "link.jsonl").is_symlink()
    assert run(*PRUNE, elsewhere).code == 0
    assert not old.exists()


def test_the_state_s_own_folder_may_not_be_a_symlink(run: Run, state: Path, tmp_path: Path) -> None:
    old = report(tmp_path / "elsewhere", "old.jsonl", 400)
    state.mkdir()
    (state / "reports").symlink_to(old.parent)
    assert run(*PRUNE).code == 12
    assert old.exists()


def test_named_reports_and_folders(run: Run, reports: Path, tmp_path: Path) -> None:
    files = [report(tmp_path / "own", f"{number}.jsonl", 400) for number in range(3)]
    kept = report(reports, "kept.jsonl", 400)
    ran = run(*PRUNE, files[0], tmp_path / "missing.jsonl")
    assert (ran.code, ran.out) == (3, f"{files[0]}\n")
    assert run(*PRUNE, "own", cwd=tmp_path).out.splitlines() == ["own/1.jsonl", "own/2.jsonl"]
    assert kept.exists()


def test_a_running_scan_excludes_it(run: Run, state: Path, reports: Path) -> None:
    old = report(reports, "a.jsonl", 400)
    with ScanLock(StateDir(state)):
        assert run(*PRUNE).code == 11
    assert old.exists()


@pytest.mark.parametrize("words", [("--keep", "0"), ("--keep", "x"), ("--keep", "-1d"), ()])
def test_a_wrong_age_is_refused(run: Run, reports: Path, words: tuple[str, ...]) -> None:
    assert run("report", "prune", *words).code == 2


def test_without_the_state_nothing_is_removed(run: Run, tmp_path: Path) -> None:
    old = report(tmp_path / "own", "old.jsonl", 400)
    assert run(*PRUNE, old).code == 2
    assert old.exists()


def test_a_file_that_takes_the_place_of_a_report_stays(state: Path, tmp_path: Path) -> None:
    """Its owner renames another one there when the report was read."""
    folder = tmp_path / "own"
    old, other = report(folder, "old.jsonl", 400, (FOUND,)), report(folder, "other", 1)
    StateDir(state).make()
    with Ledger(StateDir(state)) as ledger:

        class Racing:
            def one(self, *arguments: object) -> None:
                os.replace(other, old)

        racing: Ledger = Racing()  # type: ignore[assignment]
        before = NOW - timedelta(days=90)
        (result,) = prune_reports(racing, tmp_path / "none", [old], before, dry_run=False)
        assert result.decision is Decision.REFUSED
        assert old.exists()
        (result,) = prune_reports(ledger, tmp_path / "none", [old], before, dry_run=False)
        assert result.decision is Decision.RECENT


def test_a_kill_leaves_each_report_whole_or_none(state: Path, reports: Path, run: Run) -> None:
    contents = {report(reports, f"{number:03}.jsonl", 400): None for number in range(300)}
    whole = next(iter(contents)).stat().st_size
    process = PREFORK.popen(
        [*COMMAND, *PRUNE], env=environment(state), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert all((reports / name).stat().st_size == whole for name in names(reports))
    assert run(*PRUNE).code == 0
    assert names(reports) == set()
