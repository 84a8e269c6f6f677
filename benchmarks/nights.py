"""Count the nights that a sweep with a time budget needs for a tree and for a bucket.

    python benchmarks/nights.py [--files N] [--files-per-second N] [--budget SECONDS] [--work DIR]

Run it with the Python that has hashscan with its extra `s3`, in the source tree: the bucket is served on
loopback by tests/object_server.py, with a latency that makes it as slow as the tree is made by --limit-files.
Unless told otherwise either takes a minute to read, and a night ends after ten seconds. It prints of each
night how long it was, what was read in it and what was known before, and its exit code.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import measure
from objects import CREDENTIALS, served
from sweep import HASHSCAN, machine

WORKERS, IN_FLIGHT = 2, 4
GOES_ON = 3
FOLDER_FILES = 50


class Night(NamedTuple):
    """One sweep."""

    seconds: float
    read: int
    known: int
    exit_code: int


def lay_out(folder: Path, files: int) -> None:
    """Small files, all of other content."""
    for number in range(files):
        beneath = folder / f"{number // FOLDER_FILES:05}"
        if number % FOLDER_FILES == 0:
            beneath.mkdir(parents=True)
        (beneath / f"{number % FOLDER_FILES:02}").write_bytes(b"%d" % number)
    # What has just been made isn't believed to stay as it is.
    time.sleep(2.1)


def nights(scratch: Path, budget: float, most: int, target: str, *more: str) -> list[Night]:
    """Sweep until a sweep comes to its end.

    Raises:
        MeasureError: one failed, or there were too many.
    """
    state, report = scratch / "state", scratch / "report.jsonl"
    command = [
        *(*HASHSCAN, "scan", target, "--list", "demo", "--state", str(state), "--report", str(report)),
        *("--foreground", "--workers", str(WORKERS), "--time-budget", f"{budget:g}s", *more),
        *("--reread", "0%"),
    ]
    found: list[Night] = []
    while len(found) < most:
        begun = time.monotonic()
        done = subprocess.run(
            command,
            env=measure.environment(CREDENTIALS),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begun
        if done.returncode not in {0, GOES_ON}:
            raise measure.MeasureError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
        summary = json.loads(report.read_text().splitlines()[-1])
        known = summary["unchanged"]
        found.append(Night(seconds, summary["files"] - known, known, done.returncode))
        if done.returncode == 0:
            return found
    raise measure.MeasureError(f"{most} nights were not enough: {found}")


def table(name: str, found: Sequence[Night]) -> str:
    """Return the table to print for one target."""
    lines = [
        f"{name}: {len(found)} nights",
        f"{'night':>8}{'seconds':>10}{'read':>10}{'known':>10}{'exit':>6}",
    ]
    for number, night in enumerate(found, 1):
        lines.append(f"{number:8}{night.seconds:10.1f}{night.read:10,}{night.known:10,}{night.exit_code:6}")
    lines.append(f"{'all':>8}{'':10}{sum(night.read for night in found):10,}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Count the nights that a tree and a bucket take.")
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--files-per-second", type=float, default=100.0)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the files are put for the time being")
    options = parser.parse_args()
    if min(options.files, options.files_per_second, options.budget) <= 0:
        parser.error("--files, --files-per-second and --budget must be more than 0")
    return options


def main() -> int:
    """Sweep both, print."""
    options = arguments()
    rate = options.files_per_second
    most = 3 * math.ceil(options.files / rate / options.budget) + 3
    # As many as may be asked for at a time wait for as long as makes it the wanted rate.
    latency = WORKERS * IN_FLIGHT / rate
    about = ", ".join(f"{key} {value}" for key, value in machine().items())
    print(f"{about}\n\n{options.files:,} files at {rate:g} a second, nights of {options.budget:g} s\n")
    try:
        with tempfile.TemporaryDirectory(prefix="hashscan-bench-", dir=options.work) as folder:
            tree = Path(folder) / "tree"
            lay_out(tree, options.files)
            found = nights(Path(folder), options.budget, most, os.fspath(tree), "--limit-files", f"{rate:g}")
            print(table("tree", found) + "\n", flush=True)
        with (
            tempfile.TemporaryDirectory(prefix="hashscan-bench-", dir=options.work) as folder,
            served(latency, "--objects", f"a/:{options.files}:1000") as url,
        ):
            where = ("--endpoint", url, "--in-flight", str(IN_FLIGHT))
            print(table("bucket", nights(Path(folder), options.budget, most, "s3://bucket", *where)))
    except measure.MeasureError as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
