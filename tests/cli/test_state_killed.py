"""A scan that is killed again and again, at whatever moment, and goes on each time."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

from hashscan.scan.pipeline import BATCHES_PER_WORKER
from hashscan.sources.base import ListingOptions
from hashscan.state.store.listings import from_bytes
from tests.cli.commands.test_state import Records, comparable, fresh
from tests.cli.conftest import COMMAND, Run, environment
from tests.cli.opened import Opened, opened
from tests.pictures import encoded, scene
from tests.prefork import PREFORK

FILES, KILLS, WORKERS = 12_000, 18, 2
IN_FLIGHT = WORKERS * BATCHES_PER_WORKER * ListingOptions().batch_files
"""Files of the batches that may be outstanding."""


@pytest.fixture
def tree(run: Run, tmp_path: Path) -> Path:
    """Folders of fifty files and a large one, a listed file among each hundred, and listed pictures."""
    top = tmp_path / "tree"
    listed, picture = b"known", encoded(scene(5).resize((160, 120)))
    for number in range(FILES):
        folder = top / ("large" if 5000 <= number < 7000 else f"{number // 50:03}")
        if number % 50 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        content = listed if number % 100 == 0 else picture if number % 500 == 1 else b"%d" % number
        (folder / f"{number:05}").write_bytes(content)
    entries = tmp_path / "known.csv"
    digests = [hashlib.sha256(content).hexdigest() for content in (listed, picture)]
    rows = "".join(f"e{number},sha256,{digest},A1\n" for number, digest in enumerate(digests))
    entries.write_text("id,algorithm,value,category\n" + rows)
    assert run("lists", "import", entries, "--name", "ours").code == 0
    time.sleep(2.1)
    return top


def stored_files(state: Path, scratch: Path) -> set[str]:
    """Return the stored files, from a copy, so that the next scan finds the state as the killed one left
    it."""
    database_file = state / "scans" / "state.sqlite"
    for ending in ("", "-wal"):
        source, copy = Path(f"{database_file}{ending}"), scratch / f"copy{ending}"
        copy.unlink(missing_ok=True)
        if source.exists():
            shutil.copy(source, copy)
    found = set()
    with closing(sqlite3.connect(scratch / "copy")) as database:
        if not database.execute("PRAGMA user_version").fetchone()[0]:
            return set()
        for query in (
            "SELECT path, listing FROM folders",
            "SELECT path, pieces.listing FROM pieces JOIN folders ON folders.id=folder",
        ):
            for folder, blob in database.execute(query):
                listing = from_bytes(blob)
                if len(listing):
                    found |= {os.fsdecode(folder + b"/" + name) for name in listing.names.split(b"/")}
    return found


def left_of(session: int) -> set[int]:
    """Processes of a session that still run."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if fields[0] != "Z" and int(fields[3]) == session:
                found.add(int(entry.name))
    return found


def moments(chance: random.Random) -> list[tuple[int, float]]:
    """Return the moments of kills: the number of files opened in all scans, and the seconds after that."""
    while_reading = sorted(chance.randrange(1, FILES) for _ in range(KILLS - 8))
    # The later ones have next to nothing to read, and all to look up.
    at_the_end = [(FILES, chance.uniform(0, 0.3)), *((0, chance.uniform(0.5, 2.5)) for _ in range(3))]
    at_the_start = [(0, chance.uniform(0, 0.8)) for _ in range(4)]
    chosen = [(count, 0.0) for count in while_reading]
    for moment in at_the_start:
        chosen.insert(chance.randrange(len(chosen)), moment)
    return chosen + at_the_end


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_read_again(
    run: Run, tree: Path, state: Path, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    report = tmp_path / "report.jsonl"
    known: set[str] = set()
    before: set[str] = set()
    killed = most = twice = 0
    with opened(tree) as count, (tmp_path / "stderr").open("w+b") as errors:
        for files, later in moments(chance):
            process = start(state, tree, report, errors)
            enough = reached(count, before, files)
            wait_until(enough, process)
            time.sleep(later)
            kill = os.kill if chance.random() < 0.5 else os.killpg
            if process.poll() is None:
                # The parent alone, whose workers must end by themselves, or all of them at once.
                kill(process.pid, signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            wait_until_gone(process.pid)
            now = set(count.take())
            assert not now & known, "what was kept is not read again"
            twice += len(now & before)
            before |= now
            known_now = stored_files(state, tmp_path)
            assert known <= known_now <= before
            known = known_now
            most = max(most, len(before - known))
            assert len(before - known) <= IN_FLIGHT
        code, records = finish(run, tree, report)
        now = set(count.take())
        assert not now & known
        assert len(before | now) == FILES
        errors.seek(0)
        said = errors.read().decode()
    print(f"{killed} killed; at most {most} files in flight; {twice + len(now & before)} read twice")  # noqa: T201
    assert killed >= KILLS - 5, said
    assert "can't be used" not in said
    clean_code, clean = fresh(run, tree, state, tmp_path)
    assert (code, comparable(records)) == (clean_code, comparable(clean))
    assert findings_of(records) == findings_of(clean)
    parts = [lines_of(path) for path in tmp_path.glob("report.jsonl.partial*")]
    # How many had begun to write when they were killed is a matter of chance.
    assert len(parts) >= 3
    assert set().union(*map(findings_of, parts)) <= findings_of(clean)


def reached(count: Opened, before: set[str], files: int) -> Callable[[], bool]:
    return lambda: files == 0 or len(before | count.look().keys()) >= files


def start(state: Path, tree: Path, report: Path, errors: BinaryIO) -> subprocess.Popen[bytes]:
    return PREFORK.popen(
        [*COMMAND, "scan", str(tree), "--report", str(report), "--workers", str(WORKERS)],
        env=environment(state),
        stderr=errors,
        start_new_session=True,
    )


def wait_until_gone(session: int) -> None:
    deadline = time.monotonic() + 30
    while left := left_of(session):
        assert time.monotonic() < deadline, f"{left} outlive the scan"
        time.sleep(0.01)


def finish(run: Run, tree: Path, report: Path) -> tuple[int, Records]:
    ran = run("scan", tree, "--report", report, "--workers", WORKERS)
    return ran.code, [json.loads(line) for line in report.read_text().splitlines()]


def lines_of(part: Path) -> Records:
    """A report that may end in the middle of a line."""
    return [json.loads(line) for line in part.read_bytes().split(b"\n")[:-1]]


def findings_of(records: Records) -> set[tuple[str, str]]:
    return {(record["path"], record["verdict"]) for record in records if record["type"] == "finding"}
