"""Findings when the quarantine can't be used, or no more is to be moved."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hashscan.lists.acceptance import accept
from hashscan.lists.store import ListStore
from hashscan.model import Action, Entry, PolicyRule, Weak
from hashscan.quarantine.captured_file import Outcome
from hashscan.quarantine.store import read_items
from hashscan.scan import mover
from hashscan.scan.mover import Mover
from hashscan.settings.matching import PolicySettings, QuarantineSettings
from hashscan.state_dir import StateDir
from tests.service.engine.serving import store_list

HOLDER = (
    "import sys; from hashscan.quarantine.store import Quarantine\n"
    "from hashscan.state_dir import StateDir\n"
    "with Quarantine(StateDir(sys.argv[1])): print('ready', flush=True); sys.stdin.read()"
)
SCAN: dict[str, Any] = {"type": "scan", "lists": [{"name": "l", "state": "fresh"}]}
MATCH = {"list": "l", "entry": "e", "algorithm": "md5", "distance": 0, "threshold": 0, "category": "A1"}


def findings(folder: Path, number: int) -> list[dict[str, Any]]:
    folder.mkdir()
    found = []
    for name in range(number):
        path = folder / f"{name:04}"
        path.write_bytes(b"accused")
        status = path.stat()
        found.append(
            {
                "type": "finding",
                "path": str(path),
                "verdict": "match",
                "action": "quarantine",
                "because": "b",
                "matches": [MATCH],
                "inode": status.st_ino,
                "size": 7,
                "mtime_ns": status.st_mtime_ns,
                "ctime_ns": status.st_ctime_ns,
            }
        )
    return found


@pytest.fixture(autouse=True)
def accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that may move as many files as it matches."""
    store_list(tmp_path / "state", Entry("e", "md5", bytes(16), "A1"), name="l")
    store = ListStore(StateDir(tmp_path / "state").lists)
    accept(store.folder("l"), "somebody", 0)
    monkeypatch.setitem(SCAN["lists"][0], "source", store.source("l"))


@pytest.fixture
def moves(tmp_path: Path) -> Mover:
    return Mover(StateDir(tmp_path / "state"), QuarantineSettings(1, 2), lambda message: None)


def test_past_its_time_nothing_is_moved_and_each_says_so(tmp_path: Path, moves: Mover) -> None:
    records = list(
        moves.mover_function(SCAN, lambda: False, time.monotonic())(findings(tmp_path / "files", 2))
    )
    assert [record["quarantine"]["outcome"] for record in records] == ["refused"] * 2
    assert len(os.listdir(tmp_path / "files")) == 2
    assert moves.not_moved == 2


def test_what_is_kept_counts_for_the_breaker(tmp_path: Path, moves: Mover) -> None:
    list(moves.mover_function(SCAN, lambda: False)(findings(tmp_path / "files", 2)))
    kept = list(moves.kept())
    assert [(one["uid"], one["matches"]) for one in kept] == [(os.geteuid(), [MATCH])] * 2
    assert {one["path"] for one in kept} == {str(tmp_path / "files" / name) for name in ("0000", "0001")}


def test_what_is_named_twice_is_moved_once(tmp_path: Path, moves: Mover) -> None:
    found = findings(tmp_path / "files", 3)
    records = list(moves.mover_function(SCAN, lambda: False)([*found, found[0]]))
    assert [record["quarantine"]["outcome"] for record in records] == ["done"] * 4
    assert (moves.outcomes[Outcome.DONE], moves.not_moved) == (3, 0)


def test_each_says_what_came_of_it_in_its_order(tmp_path: Path, moves: Mover) -> None:
    found = findings(tmp_path / "files", 450)
    os.unlink(found[3]["path"])
    Path(found[300]["path"]).write_bytes(b"another")
    found[7]["verdict"] = "held"
    last = list(moves.mover_function(SCAN, lambda: False)(found))
    assert [one["path"] for one in last] == [one["path"] for one in found]
    assert last[7] == found[7]
    outcomes = {place: one["quarantine"]["outcome"] for place, one in enumerate(last) if place != 7}
    assert outcomes == dict.fromkeys(outcomes, "done") | {3: "gone", 300: "changed"}
    assert (moves.not_moved, moves.fields()) == (
        2, {"moved": 447, "raced": 0, "held": 0, "changed": 1, "gone": 1, "refused": 0},
    )  # fmt: skip
    assert len(read_items(StateDir(tmp_path / "state"))) == 447
    kept = last[0]["quarantine"]
    assert (Path(kept["place"]["path"]) / kept["item"]).exists()


def test_another_process_has_the_quarantine(
    tmp_path: Path, moves: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover, "_LOCK_SECONDS", 0.0)
    found = findings(tmp_path / "files", 3)
    command = [sys.executable, "-c", HOLDER, tmp_path / "state"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        last = list(moves.mover_function(SCAN, lambda: False)(found))
        holder.communicate(b"")
    assert {one["quarantine"]["outcome"] for one in last} == {"refused"}
    assert "another process uses" in last[0]["quarantine"]["detail"]
    assert (moves.not_moved, len(os.listdir(tmp_path / "files"))) == (3, 3)


def test_stopped_in_between(tmp_path: Path, moves: Mover) -> None:
    found = findings(tmp_path / "files", 250)
    last = list(moves.mover_function(SCAN, lambda: moves.outcomes[Outcome.DONE] > 0)(found))
    assert [one["quarantine"]["outcome"] for one in last] == ["done"] * 200 + ["refused"] * 50
    assert len(os.listdir(tmp_path / "files")) == 50


def test_rules_say_what_may_be_moved(tmp_path: Path) -> None:
    said: list[str] = []
    rules = PolicySettings((PolicyRule(1, Action.QUARANTINE),))
    found = findings(tmp_path / "files", 3)
    found[1]["action"] = "report"
    # Whatever the record says, nothing is moved on the word of a list that is no good.
    found[2]["matches"] = [{**MATCH, "list": "o"}]
    scan = {**SCAN, "lists": [*SCAN["lists"], {"name": "o", "state": "local"}]}
    moves = Mover(StateDir(tmp_path / "state"), QuarantineSettings(1, 2), said.append, policy=rules)
    last = list(moves.mover_function(scan, lambda: False)(found))
    assert [one.get("quarantine", {}).get("outcome") for one in last] == ["done", None, None]
    assert moves.not_moved == 0
    assert not any("--act-on" in message for message in said)


@pytest.mark.parametrize("act_on", [(), (Weak.LOCAL,)])
def test_without_rules_all_that_is_backed_is_moved(tmp_path: Path, act_on: tuple[Weak, ...]) -> None:
    said: list[str] = []
    found = findings(tmp_path / "files", 2)
    found[0]["action"] = "report"
    found[1]["matches"] = [{**MATCH, "list": "o"}]
    scan = {**SCAN, "lists": [*SCAN["lists"], {"name": "o", "state": "local"}]}
    settings = PolicySettings(act_on=act_on)
    moves = Mover(StateDir(tmp_path / "state"), QuarantineSettings(1, 2), said.append, policy=settings)
    last = list(moves.mover_function(scan, lambda: False)(found))
    outcomes = [one.get("quarantine", {}).get("outcome") for one in last]
    assert outcomes == ["done", "done" if act_on else None]
    stays = "1 match stays: a local list is not enough to move a file without --act-on local"
    assert (stays in said) is not bool(act_on)
