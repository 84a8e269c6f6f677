"""The states that releases have left are read, continued and undone by this version.

`tools/record_state.py` records one for each release. See there for what each of them holds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, Run, environment, runner
from tests.sources.children import needs_root
from tools.record_state import HOST, LISTED, PLACE, RECORDED

RELEASES = sorted(RECORDED.glob("*.tar.xz"))


def names(ran: Ran, verdict: str) -> set[str]:
    return {line["path"].partition("/site/")[2] for line in ran.lines if line.get("verdict") == verdict}


@pytest.fixture(params=RELEASES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path / "recorded", filter="fully_trusted")
    return tmp_path / "recorded"


@pytest.fixture
def run(recorded: Path) -> Run:
    return runner(recorded / "state")


def test_there_is_one() -> None:
    assert RELEASES


def test_reports_are_read(recorded: Path, run: Run) -> None:
    assert run("report", "show", recorded / "first.jsonl").code == 0
    assert run("report", "show").code == 0
    ran = run("report", "convert", recorded / "first.jsonl", "--format", "jsonl")
    assert names(ran, "match") == {LISTED[0], LISTED[2]}
    assert names(ran, "held") == {LISTED[1]}
    assert names(ran, "undecoded") == {"alice/torn.jpg"}
    assert run("report", "prune", "--keep", "1d", recorded / "first.jsonl").code == 0


def test_cases_and_journals_are_read(recorded: Path, run: Run) -> None:
    ran = run("cases", "list", "--status", "all", "--format", "json")
    assert ran.code == 0, ran.err
    states = {line.get("path", "").partition("/site/")[2]: line["state"] for line in ran.lines}
    assert {states.pop(LISTED[0]), states.pop(LISTED[1])} == {"found", "told"}
    assert states == {LISTED[2]: "removed", "": "refused"}
    assert {line["customer"] for line in ran.lines} == {"alice", "bob"}
    assert run("cases", "show", "0123456789ABCDEF").code == 0
    ran = run("stats", "--format", "json", "--since", "2026-01-01")
    assert ran.code == 0, ran.err
    totals = json.loads(ran.out)["totals"]
    assert totals["scans"]["complete"] + totals["scans"]["incomplete"] == 2
    assert (totals["custody"]["quarantined"], totals["uploads"]["refused"]) == (1, 0)
    assert run("alerts", "list", "--format", "json").lines


def test_the_state_is_read_and_continued(recorded: Path, run: Run) -> None:
    assert run("state", "check").code == 0
    assert run("state", "export").code == 0
    (found,) = run("lookup", recorded / "site" / LISTED[0], "--format", "json").lines
    assert found["path"] == f"{PLACE}/site/{LISTED[0]}"
    ran = run("scan", "--known", "--report", "-", "--with-digests")
    assert ran.code in {1, 4}, ran.err
    assert names(ran, "match") == {LISTED[0]}
    assert names(ran, "held") == {LISTED[1]}
    ran = run("scan", recorded / "site", "--report", "-")
    assert ran.code in {1, 4}, ran.err
    assert names(ran, "match") == {LISTED[0]}
    assert names(ran, "held") == {LISTED[1]}
    assert run("state", "vacuum").code == 0
    assert run("state", "check").code == 0


def test_lists_exceptions_and_the_log_are_read(recorded: Path, run: Run) -> None:
    ran = run("lists", "verify")
    assert ran.code == 0, ran.err
    assert "1-sha256" in run("lists", "except").out
    (item,) = run("quarantine", "list", "--format", "json").lines
    assert (item["path"], item["state"]) == (f"{PLACE}/site/{LISTED[2]}", "moved")


@needs_root
def test_what_is_in_quarantine_can_be_restored(recorded: Path) -> None:
    """At the place that the log names, where nothing else sees it."""
    script = (
        f"hostname {HOST} && mount -t tmpfs none {PLACE.parent} && mkdir {PLACE} && "
        f'mount --bind "$1" {PLACE} && cd / && shift && exec "$@"'
    )
    apart = ("unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", script, "sh", recorded)
    variables = {**environment(PLACE / "state"), "PYTHONPATH": str(Path(__file__).parents[1])}

    def at_its_place(*words: str) -> subprocess.CompletedProcess[str]:
        command = (*apart, sys.executable, "-m", "hashscan", *words)
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    for words in (("quarantine", "verify"), ("quarantine", "restore", "--all"), ("cases", "check")):
        done = at_its_place(*words)
        assert done.returncode == 0, done.stderr
    assert (recorded / "site" / LISTED[2]).stat().st_size > 0
