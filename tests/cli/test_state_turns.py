"""Scans that are cut short, by a budget or a target that isn't there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hashscan.scan.pipeline import BATCHES_PER_WORKER
from hashscan.state.store.listings import from_bytes
from tests.cli.conftest import Ran, Run
from tests.cli.opened import opened
from tests.object_server import object_server, statistics
from tests.shortcomings import codes, messages
from tests.sources.objects.buckets import credentials

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
    """Return the number of stored files."""
    with closing(sqlite3.connect(state / "scans" / "state.sqlite")) as database:
        found = database.execute("SELECT listing FROM folders UNION ALL SELECT listing FROM pieces")
        return sum(len(from_bytes(listing)) for (listing,) in found)


SLOW = ("--time-budget", "2s", "--limit-files", "60", "--workers", "1")
MOST_AT_ONCE = 2 * 60 + 60 + 40
"""Files that such a scan reads: in its time, of what it has then, and what is made up for at its start."""


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True])
def test_a_budget_stops_in_good_order_and_the_next_scan_goes_on(
    run: Run, tree: Path, local_list: str, tmp_path: Path, flat: bool
) -> None:
    if flat:
        for file in [path for path in tree.rglob("*") if path.is_file() and path.parent != tree]:
            file.rename(tree / file.name)
    unchanged = []
    report = tmp_path / "r.jsonl"
    with opened(tree) as count:
        for _ in range(20):
            ran = run("scan", tree, "--report", report, *SLOW)
            records = read(report)
            unchanged.append(records[-1]["unchanged"])
            read_now = count.take()
            assert len(read_now) <= MOST_AT_ONCE
            assert len(read_now) + unchanged[-1] == records[-1]["files"]
            if ran.code in {0, 1}:
                break
            assert "the next scan continues" in ran.err
            assert ran.code in {3, 4}
            assert "time" in codes(records[-1])
    assert ran.code == 1
    assert records[-1]["files"] == 413
    assert len(unchanged) >= 3
    assert unchanged == sorted(unchanged)
    assert len(names(records)) == 12


@pytest.mark.slow
def test_what_keeps_changing_waits_for_what_was_not_checked_yet(
    run: Run, tree: Path, local_list: str, tmp_path: Path
) -> None:
    everything = {str(path) for path in tree.rglob("*") if path.is_file()}
    ever: set[str] = set()
    with opened(tree) as count:
        for scans in range(1, 61):
            assert run("scan", tree, "--report", tmp_path / "r.jsonl", *SLOW).code in {3, 4}
            now = set(count.take())
            # Before all folders were reached once, nothing is read again but of the folder where the scan
            # before ended. A scan may leave those that its worker has at its end.
            again = {Path(name).parent for name in now & ever}
            ever |= now
            unread = {Path(name).parent for name in everything - ever}
            assert len(again) <= 1 or len(unread) <= BATCHES_PER_WORKER * scans
            if not unread:
                break
            for name in ever:
                with open(name, "ab") as file:
                    file.write(b"more")
            count.take()
    assert len(ever) == 413


@pytest.mark.slow
def test_a_bucket_is_gone_through_in_several_scans(run: Run, local_list: str, tmp_path: Path) -> None:
    report = tmp_path / "r.jsonl"
    with object_server("a/:300:100", latency=0.02) as url, credentials() as env:
        for _ in range(20):
            where = ("scan", "s3://bucket", "--endpoint", url, "--concurrency", "4")
            ran = run(*where, "--report", report, *SLOW, env=env)
            summary = read(report)[-1]
            if ran.code == 0:
                break
            assert ran.code == 3
            assert "the next scan continues" in ran.err
            assert summary["files"] - summary["unchanged"] <= MOST_AT_ONCE
        assert (ran.code, summary["files"]) == (0, 300)
        assert summary["unchanged"]
        assert statistics(url)["reads"] == 300


def scan(run: Run, tree: Path, tmp_path: Path, *options: str) -> tuple[Ran, Records]:
    report = tmp_path / "r.jsonl"
    ran = run("scan", tree, "--report", report, *options)
    return ran, read(report)


@pytest.mark.slow
def test_a_target_that_is_not_there_forgets_nothing_and_its_findings_stand(
    run: Run, tree: Path, local_list: str, tmp_path: Path
) -> None:
    _, first = scan(run, tree, tmp_path)
    away = tmp_path / "away"
    tree.rename(away)
    tree.mkdir()
    ran, empty = scan(run, tree, tmp_path)
    assert ran.code == 3
    assert names(empty, "standing") == names(first)
    assert ran.out.count("; still open") == len(names(first))
    assert "--accept-shrink" in ran.err
    tree.rmdir()
    away.rename(tree)
    ran, again = scan(run, tree, tmp_path)
    assert (ran.code, again[-1]["unchanged"], names(again)) == (1, 413, names(first))


@pytest.mark.slow
def test_a_target_that_has_shrunk_is_not_believed(
    run: Run, tree: Path, local_list: str, state: Path, tmp_path: Path
) -> None:
    scan(run, tree, tmp_path)
    for number in range(30):
        for file in (tree / f"{number:02}").iterdir():
            file.unlink()
        (tree / f"{number:02}").rmdir()
    ran, shrunk = scan(run, tree, tmp_path)
    assert ran.code == 4
    assert names(shrunk, "standing") == ["0.jpg", "10.jpg", "20.jpg"]
    assert any("had 413" in message for message in messages(shrunk[-1]))
    assert kept(state) == 413
    ran, accepted = scan(run, tree, tmp_path, "--accept-shrink")
    assert (ran.code, names(accepted, "standing")) == (1, [])
    assert kept(state) == 413 - 123
    assert scan(run, tree, tmp_path)[0].code == 1


def test_what_is_gone_is_forgotten_and_no_finding_any_more(
    run: Run, tree: Path, local_list: str, state: Path, tmp_path: Path
) -> None:
    scan(run, tree, tmp_path)
    (tree / "00" / "0.jpg").unlink()
    for file in (tree / "10").iterdir():
        file.unlink()
    (tree / "10").rmdir()
    ran, records = scan(run, tree, tmp_path)
    assert (ran.code, len(names(records)), names(records, "standing")) == (1, 10, [])
    assert kept(state) == 413 - 6
    with closing(sqlite3.connect(state / "scans" / "state.sqlite")) as database:
        gone = database.execute("SELECT count(*) FROM findings WHERE gone IS NOT NULL").fetchone()
    assert gone == (2,)


def test_a_standing_finding_that_the_list_no_longer_says_is_none(
    run: Run, tree: Path, local_list: str, tmp_path: Path
) -> None:
    scan(run, tree, tmp_path)
    tree.rename(tmp_path / "away")
    tree.mkdir()
    other = tmp_path / "other.csv"
    other.write_text(f"id,algorithm,value,category\nx,md5,{'0' * 32},A1\n")
    assert run("lists", "import", other, "--name", "ours").code == 0
    ran, empty = scan(run, tree, tmp_path)
    assert (ran.code, names(empty, "standing")) == (3, [])


def test_a_duration_that_is_none(run: Run, tmp_path: Path) -> None:
    ran = run("scan", tmp_path, "--time-budget", "soon")
    assert ran.code == 2
    assert "90m" in ran.err


@pytest.mark.slow
def test_where_looking_alone_outlasts_the_budget_every_folder_has_its_turn(
    run: Run, local_list: str, tmp_path: Path
) -> None:
    wanted = set()
    for number in range(6):
        path = tmp_path / "tree" / str(number % 2) / str(number) / f"{number}.txt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % number)
        wanted.add(path.name)
    met: set[str] = set()
    report = tmp_path / "r.jsonl"
    # Over before the scan begins, so that each takes a single step; nothing is read.
    where = ("scan", tmp_path / "tree", "--exclude", "*.txt", "--time-budget", "0.01s", "--report", report)
    for _ in range(30):
        assert run(*where).code == 3
        met.update(names(read(report), "skipped"))
        if met == wanted:
            break
    assert met == wanted
