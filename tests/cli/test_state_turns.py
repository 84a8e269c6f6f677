"""Sweeps that are cut short, by a budget or a target that isn't there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hashscan.scan.state.listings import from_bytes
from tests.cli.conftest import Ran, Run

Records = list[dict[str, Any]]


def read(report: Path) -> Records:
    return [json.loads(line) for line in report.read_text().splitlines()]


def names(records: Records, kind: str = "finding") -> list[str]:
    return sorted(Path(record["path"]).name for record in records if record["type"] == kind)


@pytest.fixture
def tree(tmp_path: Path, uploads: Path, age: Callable[[], None]) -> Path:
    """A hundred folders of four files, with a listed picture in every tenth."""
    listed = (uploads / "listed.jpg").read_bytes()
    for number in range(100):
        folder = uploads / f"{number:02}"
        folder.mkdir()
        for file in range(4):
            (folder / f"{number}-{file}").write_bytes(b"%d %d" % (number, file))
        if number % 10 == 0:
            (folder / f"{number}.jpg").write_bytes(listed)
    age()
    return uploads


def kept(state: Path) -> int:
    """How many files are remembered."""
    with closing(sqlite3.connect(state / "sweep" / "state.sqlite")) as database:
        found = database.execute("SELECT listing FROM folders UNION ALL SELECT listing FROM pieces")
        return sum(len(from_bytes(listing)) for (listing,) in found)


@pytest.mark.slow
def test_a_budget_stops_in_good_order_and_the_next_sweep_goes_on(
    run: Run, tree: Path, local_list: str, tmp_path: Path
) -> None:
    unchanged = []
    report = tmp_path / "r.jsonl"
    for _ in range(20):
        ran = run(
            "scan", tree, "--report", report, "--time-budget", "2s", "--limit-files", "80", "--workers", "1"
        )
        records = read(report)
        unchanged.append(records[-1]["unchanged"])
        if ran.code in {0, 1}:
            break
        assert "the next sweep goes on" in ran.err
        assert ran.code in {3, 4}
        assert any("time budget" in words for words in records[-1]["incomplete"])
    assert ran.code == 1
    assert records[-1]["files"] == 413
    assert len(unchanged) >= 3
    assert unchanged == sorted(unchanged)
    assert len(names(records)) == 12


def sweep(run: Run, tree: Path, tmp_path: Path, *options: str) -> tuple[Ran, Records]:
    report = tmp_path / "r.jsonl"
    ran = run("scan", tree, "--report", report, *options)
    return ran, read(report)


@pytest.mark.slow
def test_a_target_that_is_not_there_forgets_nothing_and_its_findings_stand(
    run: Run, tree: Path, local_list: str, tmp_path: Path
) -> None:
    _, first = sweep(run, tree, tmp_path)
    away = tmp_path / "away"
    tree.rename(away)
    tree.mkdir()
    ran, empty = sweep(run, tree, tmp_path)
    assert ran.code == 3
    assert names(empty, "standing") == names(first)
    assert "earlier findings that stand" in ran.err
    assert "--accept-shrink" in ran.err
    tree.rmdir()
    away.rename(tree)
    ran, again = sweep(run, tree, tmp_path)
    assert (ran.code, again[-1]["unchanged"], names(again)) == (1, 413, names(first))


@pytest.mark.slow
def test_a_target_that_has_shrunk_is_not_believed(
    run: Run, tree: Path, local_list: str, state: Path, tmp_path: Path
) -> None:
    sweep(run, tree, tmp_path)
    for number in range(30):
        for file in (tree / f"{number:02}").iterdir():
            file.unlink()
        (tree / f"{number:02}").rmdir()
    ran, shrunk = sweep(run, tree, tmp_path)
    assert ran.code == 4
    assert names(shrunk, "standing") == ["0.jpg", "10.jpg", "20.jpg"]
    assert any("had 413" in words for words in shrunk[-1]["incomplete"])
    assert kept(state) == 413
    ran, accepted = sweep(run, tree, tmp_path, "--accept-shrink")
    assert (ran.code, names(accepted, "standing")) == (1, [])
    assert kept(state) == 413 - 123
    assert sweep(run, tree, tmp_path)[0].code == 1


def test_what_is_gone_is_forgotten_and_no_finding_any_more(
    run: Run, tree: Path, local_list: str, state: Path, tmp_path: Path
) -> None:
    sweep(run, tree, tmp_path)
    (tree / "00" / "0.jpg").unlink()
    for file in (tree / "10").iterdir():
        file.unlink()
    (tree / "10").rmdir()
    ran, records = sweep(run, tree, tmp_path)
    assert (ran.code, len(names(records)), names(records, "standing")) == (1, 10, [])
    assert kept(state) == 413 - 6
    with closing(sqlite3.connect(state / "sweep" / "state.sqlite")) as database:
        gone = database.execute("SELECT count(*) FROM findings WHERE gone IS NOT NULL").fetchone()
    assert gone == (2,)


def test_a_standing_finding_that_the_list_no_longer_says_is_none(
    run: Run, tree: Path, local_list: str, tmp_path: Path
) -> None:
    sweep(run, tree, tmp_path)
    tree.rename(tmp_path / "away")
    tree.mkdir()
    other = tmp_path / "other.csv"
    other.write_text(f"id,algorithm,value,category\nx,md5,{'0' * 32},A1\n")
    assert run("lists", "import", other, "--name", "ours").code == 0
    ran, empty = sweep(run, tree, tmp_path)
    assert (ran.code, names(empty, "standing")) == (3, [])


def test_a_duration_that_is_none(run: Run, tmp_path: Path) -> None:
    ran = run("scan", tmp_path, "--time-budget", "soon")
    assert ran.code == 2
    assert "90m" in ran.err
