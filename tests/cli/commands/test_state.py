"""Scans that remember: each is compared with one that doesn't."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import Run
from tests.pictures import encoded, scene

Records = list[dict[str, Any]]


def of_this_scan(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what is of one scan only."""
    left_out = {"uuid", "started", "ended", "seconds", "bytes", "unchanged", "sandbox", "path_b64"}
    return {key: value for key, value in record.items() if key not in left_out}


def comparable(records: Records) -> list[str]:
    """All but how files were recognised, of which none is where nothing is read."""
    kept = [{name: value for name, value in record.items() if name != "recognition"} for record in records]
    return sorted(json.dumps(of_this_scan(record), sort_keys=True) for record in kept)


@pytest.fixture
def tree(tmp_path: Path, uploads: Path, age: Callable[[], None]) -> Path:
    """All kinds of files, old enough to be believed."""
    moving = [scene(seed) for seed in (5, 20, 21)]
    deep = uploads / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "moving.gif").write_bytes(encoded(moving[1], "GIF", save_all=True, append_images=moving))
    (deep / "turned.png").write_bytes(encoded(scene(5).transpose(Image.Transpose.ROTATE_90), "PNG"))
    (deep / "cut.jpg").write_bytes((uploads / "listed.jpg").read_bytes()[:-3000])
    (deep / "broken.png").write_bytes(encoded(scene(6), "PNG")[:200])
    (deep / "flat.png").write_bytes(encoded(Image.new("RGB", (300, 300), "grey"), "PNG"))
    (uploads / "drawing.psd").write_bytes(b"8BPS\0\1" + bytes(100))
    (uploads / "text").write_bytes(b"words")
    (uploads / "empty").touch()
    (uploads / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"latin")
    os.link(uploads / "listed.jpg", deep / "linked.jpg")
    shutil.copy(uploads / "listed.jpg", deep / "copied.jpg")
    os.utime(uploads / "text", (13_569_465_600, 13_569_465_600))
    age()
    return uploads


@pytest.fixture
def scan(run: Run, local_list: str, tmp_path: Path) -> Callable[..., tuple[int, Records]]:
    def scan(*arguments: object, expect: str = "") -> tuple[int, Records]:
        report = tmp_path / "report.jsonl"
        ran = run("scan", *arguments, "--list", local_list, "--report", report)
        assert expect in ran.err
        return ran.code, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


Scan = Callable[..., tuple[int, Records]]


def fresh(run: Run, tree: Path, state: Path, tmp_path: Path, *arguments: object) -> tuple[int, Records]:
    """A scan that knows nothing, with the same lists."""
    other = tmp_path / "fresh"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(state / "lists", other / "lists", symlinks=True)
    report = tmp_path / "fresh.jsonl"
    ran = run(
        "scan", tree, "--list", "ours", "--report", report, *arguments, env={"HASHSCAN_STATE": str(other)}
    )
    return ran.code, [json.loads(line) for line in report.read_text().splitlines()]


@pytest.mark.parametrize("options", [[], ["--with-digests", "--review-threshold", "60"]])
def test_a_second_scan_reads_nothing_and_says_the_same(scan: Scan, tree: Path, options: list[str]) -> None:
    code, first = scan(tree, *options)
    again, second = scan(tree, *options, expect="(14 of them unchanged)")
    assert (code, again) == (1, 1)
    assert (first[-1]["unchanged"], second[-1]["unchanged"], second[-1]["bytes"]) == (0, 14, 0)
    assert {record["verdict"] for record in first[1:-1]} >= {"match", "undecoded"}
    assert comparable(second) == comparable(first)


@pytest.mark.slow
def test_only_what_has_changed_is_read(scan: Scan, run: Run, tree: Path, state: Path, tmp_path: Path) -> None:
    scan(tree)
    (tree / "new.jpg").write_bytes((tree / "listed.jpg").read_bytes())
    (tree / "other.jpg").unlink()
    (tree / "empty").rename(tree / "a" / "moved")
    # Of the same size and with its old times: only ctime tells.
    status = (tree / "text").stat()
    (tree / "text").write_bytes(b"WORDS")
    os.utime(tree / "text", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tree / "c").mkdir()
    (tree / "c" / "text").write_bytes(b"more")
    code, records = scan(tree)
    assert records[-1]["unchanged"] == 14 - 3
    assert records[-1]["files"] == 15
    assert (code, comparable(records)) == (1, comparable(fresh(run, tree, state, tmp_path)[1]))
    assert scan(tree)[1][-1]["unchanged"] == 15


@pytest.mark.slow
def test_what_a_list_gains_is_found_without_reading_what_it_can_not_be_alike(
    scan: Scan, run: Run, tree: Path, state: Path, tmp_path: Path
) -> None:
    scan(tree)
    (hashed,) = run("hash", tree / "other.jpg").lines
    gained = tmp_path / "gained.csv"
    gained.write_text(
        "id,algorithm,value,category\n"
        f"g-md5,md5,{hashed['digests']['md5']},A1\n"
        f"g-pdq,pdq,{hashed['digests']['pdq']},B1\n"
    )
    assert run("lists", "import", gained, "--name", "ours").code == 0
    code, records = scan(tree)
    assert (code, comparable(records)) == (1, comparable(fresh(run, tree, state, tmp_path)[1]))
    # A likeness that no fresh decoder has confirmed yet is confirmed, which takes reading; and only then.
    assert records[-1]["unchanged"] == 13
    assert scan(tree)[1][-1]["unchanged"] == 14


def test_what_a_list_gains_while_other_options_hold_is_found(
    scan: Scan, run: Run, uploads: Path, tmp_path: Path, age: Callable[[], None]
) -> None:
    (uploads / "apart").mkdir()
    for name in ("listed.jpg", "alike.jpg"):
        (uploads / name).unlink()
    (uploads / "apart" / "text").write_bytes(b"words")
    age()
    assert scan(uploads)[0] == 0
    (hashed,) = run("hash", uploads / "other.jpg").lines
    gained = tmp_path / "gained.csv"
    gained.write_text(f"id,algorithm,value,category\ng,pdq,{hashed['digests']['pdq']},B1\n")
    assert run("lists", "import", gained, "--name", "ours").code == 0
    assert scan(uploads / "apart", "--max-pixels", "1000000")[0] == 0
    code, records = scan(uploads)
    assert (code, [Path(record["path"]).name for record in records[1:-1]]) == (1, ["other.jpg"])


@pytest.mark.slow
def test_what_a_list_no_longer_says_is_no_finding(scan: Scan, run: Run, tree: Path, tmp_path: Path) -> None:
    scan(tree)
    other = tmp_path / "other.csv"
    other.write_text(f"id,algorithm,value,category\nx,md5,{'0' * 32},A1\n")
    assert run("lists", "import", other, "--name", "ours").code == 0
    code, records = scan(tree)
    assert (code, records[-1]["unchanged"]) == (0, 14)


@pytest.mark.slow
def test_other_ways_of_hashing_have_pictures_read_again(
    scan: Scan, run: Run, tree: Path, state: Path, tmp_path: Path
) -> None:
    scan(tree)
    _, records = scan(tree, "--skip-variant", "turned")
    assert 0 < records[-1]["unchanged"] < 10
    expected = fresh(run, tree, state, tmp_path, "--skip-variant", "turned")[1]
    # A finding is not over because a scan asks less.
    standing = [Path(record["path"]).name for record in records if record["type"] == "standing"]
    assert standing == ["turned.png"]
    found = [record for record in records if record["type"] == "finding"]
    assert comparable(found) == comparable([record for record in expected if record["type"] == "finding"])


@pytest.mark.slow
def test_names_that_are_given_change_nothing_of_the_rest(scan: Scan, tree: Path, tmp_path: Path) -> None:
    scan(tree)
    names = tmp_path / "names"
    names.write_bytes(os.fsencode(tree / "text") + b"\0")
    assert scan("--files-from", names)[1][-1]["unchanged"] == 1
    assert scan(tree / "empty")[1][-1]["unchanged"] == 1
    assert scan(tree)[1][-1]["unchanged"] == 14


@pytest.mark.slow
def test_each_shard_knows_its_own(scan: Scan, tree: Path) -> None:
    for shard in ("1/2", "2/2"):
        scan(tree, "--shard", shard)
    known = [scan(tree, "--shard", shard)[1][-1] for shard in ("1/2", "2/2")]
    assert sum(summary["unchanged"] for summary in known) == 14
    assert sum(summary["bytes"] for summary in known) == 0
    assert scan(tree)[1][-1]["unchanged"] == 14


@pytest.mark.slow
def test_a_damaged_state_is_set_aside_and_all_is_read(scan: Scan, tree: Path, state: Path) -> None:
    _, first = scan(tree)
    (state / "scans" / "state.sqlite").write_bytes(b"no database" * 1000)
    _, second = scan(tree, expect="is kept as")
    assert (second[-1]["unchanged"], comparable(second)) == (0, comparable(first))
    assert scan(tree)[1][-1]["unchanged"] == 14
