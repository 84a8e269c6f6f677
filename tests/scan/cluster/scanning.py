"""Scans by command, here and on a cluster, and what their reports contain."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hashscan.lists.store import ListStore
from hashscan.model import Entry
from tests.pictures import encoded, scene
from tests.prefork import CLUSTER_PREFORK
from tests.scan.nodes import Program, records_of, until

LISTED = 7
"""Every so many pictures one is on the list."""


PICTURES = 60
"""Number of pictures among the drawn files; decoding takes longer than all else."""


def draw(folder: Path, number: int, distinct: int = 12) -> list[Entry]:
    """Write pictures and other files into two folders, and return entries for some of them."""
    contents = [encoded(scene(seed, 320, 240)) for seed in range(distinct)]
    entries = []
    for position in range(number):
        inside = folder / f"part-{position % 2}"
        inside.mkdir(parents=True, exist_ok=True)
        content = (
            contents[position % distinct] if position < PICTURES else b"no picture "
        ) + b"%d" % position
        (inside / f"{position:04}.jpg").write_bytes(content)
        if position % LISTED == 0:
            entries.append(Entry(f"e-{position}", "sha256", hashlib.sha256(content).digest(), "A1"))
    return entries


def state_with(folder: Path, entries: list[Entry]) -> Path:
    folder.mkdir(mode=0o700)
    ListStore(folder / "lists").import_entries("ours", entries, "test")
    return folder


HASHSCAN = [sys.executable, "-m", "hashscan"]


def command(
    state: Path, target: Path | None, report: Path, *options: str, program: Sequence[str] = HASHSCAN
) -> list[str]:
    """A scan of a target, or of what the options name."""
    targets = [] if target is None else [str(target)]
    return [*program, "scan", *targets, "--state", str(state), "--report", str(report), *options]


def run_scan(
    state: Path, target: Path | None, report: Path, *options: str, program: Sequence[str] = HASHSCAN
) -> tuple[int, str]:
    scan = command(state, target, report, *options, program=program)
    if CLUSTER_PREFORK.can_run(os.environ):
        code = program[2] if program[1] == "-c" else ""
        done = CLUSTER_PREFORK.run(scan[len(program) :], env=os.environ, code=code, timeout=200)
    else:
        done = subprocess.run(scan, capture_output=True, text=True, timeout=200, check=False)
    assert not re.search("Traceback|Task was", done.stderr), done.stderr
    return done.returncode, done.stderr


Story = dict[str, Any]


def story(report: Path) -> tuple[Story, dict[str, Story], Story]:
    """The scan's record, what was found by path, and the counts."""
    first, *middle, last = records_of(report)
    assert (first["type"], last["type"]) == ("scan", "summary")
    counts = {key: last[key] for key in ("files", "verdicts", "reasons", "bytes", "exit_code")}
    by_path = {str(record["path"]): record for record in middle}
    assert len(by_path) == len(middle)
    return first, by_path, counts


def killing(kill: Callable[[], None], scan: list[str], partial: Path) -> tuple[int, str]:
    """Run a scan, and do something to the cluster as soon as the first finding is written."""
    # Not forked: Dask reads how much it logs when it is imported, and a scan has it log less than a node.
    running = subprocess.Popen(scan, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until(lambda: partial.exists() and partial.read_text().count("\n") > 1)
    kill()
    _, said = running.communicate(timeout=200)
    assert not re.search("Traceback|Task was", said), said
    assert re.search("lost|gone|out of reach", said), f"the scan had ended before: {said}"
    return running.returncode, said


def stop(nodes: list[Program]) -> None:
    for node in nodes:
        node.signal(signal.SIGTERM)
    for node in nodes:
        assert node.wait() == 143, node.said


def patched(module: str, **values: float) -> list[str]:
    """Return the command of the program with other constants in a module of `hashscan.scan.cluster`."""
    code = (
        "import importlib, sys\n"
        "from hashscan.scan.cluster.dask import require_dask; require_dask()\n"
        f"module = importlib.import_module('hashscan.scan.cluster.{module}')\n"
        f"for name, value in {values!r}.items():\n"
        "    assert hasattr(module, name), name\n"
        "    setattr(module, name, value)\n"
        "from hashscan.cli.main import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    return [sys.executable, "-c", code]


IMPATIENT = patched("pool", CONNECT_SECONDS=1.0, ARRIVE_SECONDS=1.0)
AFTER_ALL_ANSWERS = patched("pool", ARRIVE_SECONDS=0.0, OTHER_WORKERS_SECONDS=120.0)
"""It begins, or gives up, when all workers that are registered have answered, and waits for no others."""
