"""Sparse files of terabytes beside another customer's file: by the real command."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hashscan.scan.workers.batch_queues import LARGE_BYTES
from tests.cli.conftest import COMMAND, Run, environment
from tests.prefork import PREFORK
from tests.shortcomings import codes
from tests.waiting import until

ROOT = os.geteuid() == 0
HUGE = 15 << 40
WORKERS = 2


def sparse(path: Path, size: int = HUGE, uid: int = 65534) -> Path:
    """A file of holes, of another owner where root makes it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    if ROOT:
        os.chown(path, uid, uid)
    return path


def verdicts(lines: list[dict[str, Any]]) -> dict[str, str]:
    """Reasons or verdicts of what was found, by file name."""
    return {
        os.path.basename(line["path"]): line.get("reason") or line["verdict"]
        for line in lines
        if "verdict" in line
    }


def test_as_many_as_workers_and_more(run: Run, uploads: Path, local_list: str) -> None:
    for number in range(3 * WORKERS):
        sparse(uploads / "aa" / f"{number}")
    ran = run("scan", uploads, "--report", "-", "--workers", str(WORKERS))
    found = verdicts(ran.lines)
    assert ran.code == 4
    assert found["listed.jpg"] == "match"
    assert [found[f"{n}"] for n in range(3 * WORKERS)] == ["sparse beyond the limit"] * 3 * WORKERS
    assert ran.lines[-1]["reasons"]["unreadable"] == {"sparse beyond the limit": 3 * WORKERS}
    # They are no more read by the next scan, and never clean.
    again = run("scan", uploads, "--report", "-", "--workers", str(WORKERS))
    assert again.code == 4
    assert again.lines[-1]["verdicts"]["unreadable"] == 3 * WORKERS


def test_within_the_limit_a_large_file_is_read_after_all_others(
    run: Run, uploads: Path, local_list: str, age: Callable[[], None]
) -> None:
    for number in range(2):
        sparse(uploads / "aa" / f"{number}", LARGE_BYTES + 5)
    age()
    ran = run("scan", uploads, "--report", "-", "--workers", "1")
    assert ran.code == 1
    assert ran.lines[-1]["verdicts"]["clean"] == 3
    again = run("scan", uploads, "--report", "-", "--workers", "1", "--reread", "0%")
    assert again.lines[-1]["unchanged"] == ran.lines[-1]["files"]
    assert again.lines[-1]["verdicts"] == ran.lines[-1]["verdicts"]


def test_the_limit_is_an_option(run: Run, uploads: Path, local_list: str) -> None:
    sparse(uploads / "aa" / "f", 4 << 20)
    ran = run("scan", uploads, "--report", "-", "--max-sparse", "4M")
    assert (ran.code, ran.lines[0]["selection"]["max_sparse"]) == (1, 4 << 20)
    assert run("scan", uploads, "--report", "-", "--max-sparse", "4M").code == 1
    (uploads / "aa" / "g").write_bytes(b"")
    sparse(uploads / "aa" / "g", (4 << 20) + 1)
    assert run("scan", uploads, "--report", "-", "--max-sparse", "4M").code == 4


@pytest.mark.slow
def test_the_time_budget_ends_within_a_file(run: Run, uploads: Path, local_list: str) -> None:
    for number in range(2 * WORKERS):
        sparse(uploads / "aa" / f"{number}")
    # With such a limit they are read, which would take hours.
    arguments = ("--max-sparse", "16T", "--time-budget", "4s", "--workers", str(WORKERS))
    ran = run("scan", uploads, "--report", "-", *arguments)
    # Who is slow enough has not even read the others by then.
    assert ran.code in {3, 4}
    assert not {f"{n}" for n in range(2 * WORKERS)} & set(verdicts(ran.lines))
    assert "time" in codes(ran.lines[-1])
    assert ran.lines[-1]["files"] <= 3
    # What was broken off is taken up.
    again = run("scan", uploads, "--report", "-", "--workers", str(WORKERS))
    assert again.lines[-1]["verdicts"]["unreadable"] == 2 * WORKERS


def test_terminated_within_a_file(state: Path, uploads: Path, local_list: str, tmp_path: Path) -> None:
    for number in range(2 * WORKERS):
        sparse(uploads / "aa" / f"{number}")
    command: list[object] = [*COMMAND, "scan", uploads, "--max-sparse", "16T", "--workers", str(WORKERS)]
    report = tmp_path / "r.jsonl"
    scanning = PREFORK.popen([*command, "--report", report, "--state", state], env=environment(state))
    partial = report.with_name("r.jsonl.partial")
    until(lambda: partial.exists() and b"listed.jpg" in partial.read_bytes())
    scanning.send_signal(signal.SIGTERM)
    assert scanning.wait(60) == 143


@pytest.mark.parametrize("command", ["check", "hash"])
def test_single_files(run: Run, tmp_path: Path, local_list: str, command: str) -> None:
    ran = run(command, "--format", "json", sparse(tmp_path / "one" / "f"))
    assert ran.code == 3
    assert ran.lines[0]["reason"] == "sparse beyond the limit"


def test_a_picture_with_a_hole_behind_it(run: Run, uploads: Path, local_list: str) -> None:
    # A viewer shows it, and so do we where the limit allows; else it is unreadable and never clean.
    listed = (uploads / "listed.jpg").read_bytes()
    for name, size in (("short.jpg", 2 << 20), ("long.jpg", HUGE)):
        (uploads / name).write_bytes(listed)
        os.truncate(uploads / name, size)
    found = verdicts(run("scan", uploads, "--report", "-").lines)
    assert found["short.jpg"] == "match"
    assert found["long.jpg"] == "sparse beyond the limit"
