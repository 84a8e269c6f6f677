"""A state that can't be used as it is, by the real command."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hashscan.state.store.stored_contents import DTYPES
from tests.cli.commands.test_state import Records, comparable
from tests.cli.conftest import Ran, Run, environment
from tests.small_fuse import SmallFile, small_filesystem
from tests.sources.children import needs_root

Scan = Callable[[], tuple[Ran, Records]]


@pytest.fixture
def scan(run: Run, local_list: str, uploads: Path, tmp_path: Path) -> Scan:
    time.sleep(2.1)

    def scan() -> tuple[Ran, Records]:
        report = tmp_path / "report.jsonl"
        report.unlink(missing_ok=True)
        ran = run("scan", uploads, "--list", local_list, "--report", report)
        lines = report.read_text().splitlines() if report.exists() else []
        return ran, [json.loads(line) for line in lines]

    return scan


def set_aside(state: Path) -> list[Path]:
    return list(state.glob("scans.damaged-*"))


def test_what_another_version_has_written_is_left_alone(scan: Scan, state: Path) -> None:
    assert scan()[0].code == 1
    database_file = state / "scans" / "state.sqlite"
    with closing(sqlite3.connect(database_file)) as database:
        database.execute("PRAGMA user_version = 99")
    before = {path.name: path.read_bytes() for path in (state / "scans").iterdir()}
    ran, records = scan()
    assert (ran.code, records) == (12, [])
    assert "another version" in ran.err
    assert {path.name: path.read_bytes() for path in (state / "scans").iterdir()} == before
    assert not set_aside(state)


def short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def spoilt(path: Path) -> None:
    path.write_bytes(bytes(byte ^ 0x55 for byte in path.read_bytes()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "damage"), [*((name, spoilt) for name in DTYPES), ("about", short), ("further", short)]
)
def test_a_damaged_column_is_reported_and_set_aside_and_all_is_read(
    scan: Scan, run: Run, state: Path, column: str, damage: Callable[[Path], None]
) -> None:
    _, first = scan()
    file = state / "scans" / column
    assert file.stat().st_size
    damage(file)
    bad = file.read_bytes()
    checked = run("state", "check")
    assert checked.code == 12, checked.err
    ran, records = scan()
    if ran.code == 12:
        # It was noticed only while it was in use.
        assert "is damaged" in ran.err
        assert "Scan again" in ran.err
        ran, records = scan()
    assert "is kept as" in ran.err
    (aside,) = set_aside(state)
    assert (aside / column).read_bytes() == bad
    assert (ran.code, records[-1]["unchanged"], comparable(records)) == (1, 0, comparable(first))


def test_a_damaged_folder_is_reported_and_set_aside_and_all_is_read(scan: Scan, state: Path) -> None:
    _, first = scan()
    with closing(sqlite3.connect(state / "scans" / "state.sqlite")) as database:
        database.execute("UPDATE folders SET listing=x'ffffffff00'")
        database.commit()
    ran, _ = scan()
    assert ran.code == 12
    assert "is damaged" in ran.err
    ran, records = scan()
    assert "is kept as" in ran.err
    assert len(set_aside(state)) == 1
    assert (ran.code, records[-1]["unchanged"], comparable(records)) == (1, 0, comparable(first))


@needs_root
def test_on_a_network_filesystem_no_state_is_kept(run: Run, uploads: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    with small_filesystem(far, "sshfs", {b"scans.lock": SmallFile(b"", 7)}):
        ran = run("scan", uploads, "--list", "demo", "--state", far, "--report", tmp_path / "r.jsonl")
    assert ran.code == 12
    assert "network filesystem (fuse.sshfs)" in ran.err
    assert "disk of this machine" in ran.err
    assert not (tmp_path / "r.jsonl").exists()


@needs_root
@pytest.mark.slow
def test_numbers_that_no_signed_ones_hold_are_kept(scan: Scan, uploads: Path) -> None:
    """No file on a FUSE counts as unchanged, and its numbers are put down all the same."""
    listed = (uploads / "listed.jpg").read_bytes()
    odd = uploads / "odd"
    odd.mkdir()
    files = {
        b"a": SmallFile(listed, (1 << 63) + 5, 13_569_465_600),
        b"b\xff": SmallFile(b"words", (1 << 64) - 2, 253_402_300_799),
        # The lowest 63 bits are those of the first.
        b"c": SmallFile(b"other", 5),
    }
    with small_filesystem(odd, "small", files):
        assert (odd / "a").stat().st_ino == (1 << 63) + 5
        ran, first = scan()
        assert (ran.code, first[-1]["files"]) == (1, 6)
        ran, second = scan()
        assert (ran.code, second[-1]["unchanged"]) == (1, 3)
        assert comparable(second) == comparable(first)
    files[b"c"] = SmallFile(listed[:5], 5)
    files[b"a"] = SmallFile(b"x" * len(listed), (1 << 63) + 6, 13_569_465_600)
    with small_filesystem(odd, "small", files):
        ran, third = scan()
        assert (ran.code, third[-1]["unchanged"]) == (1, 3)
        assert (first[-1]["verdicts"]["match"], third[-1]["verdicts"]["match"]) == (3, 2)
        # Of `c` nothing but the content is another, so that only reading it tells.
        assert third[-1]["verdicts"]["undecoded"] == first[-1]["verdicts"]["undecoded"] + 1


@needs_root
@pytest.mark.slow
def test_a_disk_that_is_full_is_reported_and_a_later_scan_goes_on(run: Run, tmp_path: Path) -> None:
    state, tree = tmp_path / "small", tmp_path / "tree"
    state.mkdir()
    for folder in range(20):
        (tree / str(folder)).mkdir(parents=True)
        for number in range(500):
            (tree / str(folder) / f"{number:0100}").write_bytes(b"%d %d" % (folder, number))
    time.sleep(2.1)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", state], check=True)
    try:
        command = "scan", tree, "--list", "demo", "--state", state, "--report", tmp_path / "r.jsonl"
        ran = run(*command)
        assert ran.code == 12
        assert "can't write the state of scans" in ran.err
        subprocess.run(["mount", "-o", "remount,size=64m", state], check=True)
        ran = run(*command)
        assert ran.code == 0, ran.err
        assert "can't be used" not in ran.err
        summary = json.loads((tmp_path / "r.jsonl").read_text().splitlines()[-1])
        assert summary["files"] == 10_000
        assert 0 < summary["unchanged"] < 10_000
    finally:
        subprocess.run(["umount", "-l", state], check=True)


YEAR = 365 * 86400


@pytest.mark.slow
def test_a_clock_that_jumps_hides_nothing(
    scan: Scan, state: Path, local_list: str, uploads: Path, tmp_path: Path
) -> None:
    def at(offset: int) -> tuple[int, Records]:
        program = (
            "import sys, time; now, now_ns = time.time, time.time_ns\n"
            f"time.time, time.time_ns = lambda: now() + {offset}, lambda: now_ns() + {offset} * 10**9\n"
            "from hashscan.__main__ import main; sys.exit(main())"
        )
        report = tmp_path / "jump.jsonl"
        done = subprocess.run(
            [sys.executable, "-c", program, "scan", uploads, "--list", local_list, "--report", report],
            env=environment(state),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, [json.loads(line) for line in report.read_text().splitlines()]

    def counts(records: Records) -> tuple[int, int]:
        return records[-1]["files"], records[-1]["unchanged"]

    ran, first = scan()
    code, back = at(-YEAR)
    assert (code, counts(back), comparable(back)) == (ran.code, (3, 3), comparable(first))
    (uploads / "new.jpg").write_bytes((uploads / "listed.jpg").read_bytes())
    for _ in range(2):
        # What was changed in the future isn't believed to stay as it is, nor what lies beside it.
        code, back = at(-YEAR)
        assert (code, counts(back)[0]) == (1, 4)
        assert counts(back)[1] <= 3
        assert len(back) == len(first) + 1
    time.sleep(2.1)
    scan()
    assert counts(scan()[1]) == (4, 4)
    code, ahead = at(YEAR)
    assert (code, counts(ahead)) == (1, (4, 4))
