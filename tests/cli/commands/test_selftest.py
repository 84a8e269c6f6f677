"""The self-test by the real command, on machines with and without lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.lists.entries import canary_entries
from hashscan.locking import ScanLock
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run
from tests.cli.later import days_later
from tests.cli.published import DAYS, publish_exactly, pull, with_canary

BAD = Entry("some", "sha256", bytes(32), "A1")
GOOD = Entry("known", "sha256", bytes(32), "known-good")


def steps(out: str) -> list[str]:
    """Return the lines about the machine's own lists."""
    return [line for line in out.splitlines() if line[5:].startswith("list ")][1:]


def test_a_machine_without_lists(run: Run, state: Path) -> None:
    ran = run("selftest")
    assert ran.code == 0, ran.out
    assert "FAIL" not in ran.out
    assert "found by likeness" in ran.out
    assert steps(ran.out) == []
    with ScanLock(StateDir(state)):
        assert run("selftest").code == 11


def test_a_list_that_was_never_pulled_is_no_defect(run: Run, tmp_path: Path) -> None:
    publish_exactly(tmp_path / "national", with_canary([BAD]))
    root = tmp_path / "national" / "work" / "root.json"
    assert run("lists", "add", "national", tmp_path / "national" / "published", "--root", root).code == 0
    ran = run("selftest")
    assert (ran.code, steps(ran.out)) == (
        3,
        ["FAIL list national is missing: never pulled: run `hashscan lists pull national`"],
    )


@pytest.mark.slow
def test_every_list_is_asked(run: Run, tmp_path: Path, local_list: str) -> None:
    publish_exactly(tmp_path / "national", with_canary([BAD]))
    publish_exactly(tmp_path / "goods", with_canary([GOOD]))
    pull(run, tmp_path / "national")
    pull(run, tmp_path / "goods")
    excepted = run("lists", "except", "canary-3", "--list", "goods", "--reason", "x", "--until", "2999-01-01")
    assert excepted.code == 0
    ran = run("selftest", env=days_later(tmp_path / "later", DAYS))
    assert ran.code == 0, ran.out
    assert steps(ran.out) == [
        "ok   list goods version 1, stale, finds the test picture by its bytes and by likeness",
        "ok   list national version 1, stale, finds the test picture by its bytes and by likeness",
        "ok   list ours is not signed: such a list has no test picture, so nothing is proved of it",
    ]


@pytest.mark.slow
def test_each_list_that_can_not_prove_it_fails(run: Run, tmp_path: Path) -> None:
    others = [Entry(e.id, e.algorithm, bytes(len(e.value)), e.category) for e in canary_entries()]
    for name, entries in {
        "bare": [BAD],
        "half": [BAD, *(e for e in canary_entries() if e.algorithm != "pdq")],
        # The ids alone don't do: the worker must come to them from the picture.
        "lying": [BAD, *others],
        "whole": with_canary([BAD]),
    }.items():
        publish_exactly(tmp_path / name, entries)
        pull(run, tmp_path / name)
    ran = run("selftest")
    assert ran.code == 70
    bare, half, lying, whole = steps(ran.out)
    assert bare.startswith("FAIL list bare version 1, fresh, lacks the test picture by sha256 and pdq, so")
    assert "ask its owner" in bare
    assert half.startswith("FAIL list half version 1, fresh, lacks the test picture by pdq, so")
    assert lying == (
        "FAIL list lying version 1, fresh, holds the test picture but doesn't find it by sha256 and pdq: "
        "check it with `hashscan lists verify`"
    )
    assert whole == "ok   list whole version 1, fresh, finds the test picture by its bytes and by likeness"
