"""Time the comparison of a new version's entries with known files, in a pull.

    python -m benchmarks.state.confirming [--contents N] [--entries N] [--new N] [--repeats N]

Run it with the Python that has hashscan. The state is made by the state's own code (see `known_state`):
random digests, a still picture of one PDQ each. A signed list of ENTRIES random PDQs is pulled; then NEW more
are released, half of them PDQ and half sha256, some of which are of known pictures. That version is pulled
from a folder by a process of its own, with and without the comparison in turn, each time into the same lists
as before. Prints median, least and most of the wall time and of the processor's, and the median difference.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.lib.build import announce_build
from benchmarks.lib.scans import HASHSCAN
from benchmarks.state.known_state import begin, fill
from hashscan.lists.publishing.publisher import Publisher
from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
from hashscan.model import Entry
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir

NAME = "national"


def entries(count: int, begin_with: str, known: np.ndarray | None, algorithm: str) -> list[Entry]:
    """Random ones; the first of them of known contents, if there are any."""
    values = np.random.default_rng(len(begin_with)).integers(0, 256, (count, 32), np.uint8)
    if known is not None:
        values[: len(known)] = known
    return [Entry(f"{begin_with}{n}", algorithm, bytes(value), "A1") for n, value in enumerate(values)]


def timed(state: Path, *options: str) -> tuple[float, float]:
    """Seconds of wall and processor that a pull takes."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [*HASHSCAN, "lists", "pull", NAME, "--state", str(state), *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds, after = time.perf_counter() - began, os.times()
    if done.returncode:
        sys.exit(done.stderr)
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, spent


def main() -> None:
    parser = argparse.ArgumentParser(description="Time pulls that compare new entries with known files.")
    parser.add_argument("--contents", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        base = Path(made)
        state, lists = base / "state", base / "lists"
        state.mkdir()
        begin(state)
        fill(state, options.contents, 1000)
        owner = Publisher.init(base / "work", base / "published", base / "keys", NAME)
        owner.add(entries(options.entries, "e", None, "pdq"), "entries")
        owner.release()
        store = ListStore(state / "lists")
        client.add(store, NAME, str(base / "published"), owner.root())
        client.pull(store, NAME)
        shutil.copytree(state / "lists", lists, symlinks=True)
        # Fewer than would have to be confirmed.
        planted = min(options.new // 10, 90)
        half = options.new // 2
        for algorithm, of_known in (("pdq", planted // 2), ("sha256", planted - planted // 2)):
            with StateReader(StateDir(state)) as reader:
                known = reader.columns[algorithm].read(7, of_known).view(np.uint8).reshape(-1, 32)
            owner.add(entries(half, f"new-{algorithm}-", known, algorithm), "entries")
        owner.release()
        asked = {"compared": (), "not compared": ("--confirm-share", "100")}
        found: dict[str, list[tuple[float, float]]] = {words: [] for words in asked}
        for _ in range(options.repeats):
            for words, more in asked.items():
                shutil.rmtree(state / "lists")
                shutil.copytree(lists, state / "lists", symlinks=True)
                found[words].append(timed(state, *more))
    print(f"{options.contents} pictures known, {options.new} new entries in a list of {options.entries}")
    for words, times in found.items():
        for which, seconds in zip(("wall", "processor"), zip(*times, strict=True), strict=True):
            middle = statistics.median(seconds)
            print(f"{words:13} {which:9} {middle:6.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    pairs = list(zip(*found.values(), strict=True))
    wall, spent = (statistics.median(a[place] - b[place] for a, b in pairs) for place in (0, 1))
    print(f"the comparison: {wall:.2f} s, of the processor {spent:.2f} s")


if __name__ == "__main__":
    announce_build()
    main()
