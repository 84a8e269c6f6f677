"""Time `hashscan lookup` as a whole process, in a state that knows millions of pictures.

    python -m benchmarks.state.lookup [--contents N] [--folder FILES] [--repeats N] [--keep DIR]

Run it with the Python that has hashscan. The state is made by the state's own code, block by block: random
digests, a still picture of one PDQ each, FILES of them in each folder. Lookups are by sha256, by sha1 (which
has no index), by PDQ within 31 bits (a query 20 bits from a known one) and of what isn't known; each answer
is compared with what was put in. Beside them, in the same run: `sqlite3` asking a table of the same sha256
by its index, in a process of its own, and `grep` through a text file of them, as from `sha256sum`; and the
same Python doing nothing. Prints median, least and most of the wall time, and bytes a file.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.lib.build import announce_build
from benchmarks.lib.scans import HASHSCAN
from benchmarks.state.known_state import begin, fill, name_of
from hashscan.state.store.reading import StateReader
from hashscan.state.store.stored_contents import prefix_of
from hashscan.state_dir import StateDir

PEER = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"


def timed(command: Sequence[str], expect: Callable[[str], bool], repeats: int) -> list[float]:
    """Seconds that a whole process takes, each time."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found.append(time.perf_counter() - began)
        if not expect(done.stdout):
            sys.exit(f"{' '.join(command[:6])}: unexpected answer {done.stdout[:500]}{done.stderr[:500]}")
    return found


def _digests_of(state: Path, row: int) -> dict[str, bytes]:
    with StateReader(StateDir(state)) as reader:
        return {name: bytes(reader.columns[name].read(row, 1)[0]) for name in ("sha256", "sha1", "pdq")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time hashscan lookup.")
    parser.add_argument("--contents", type=int, default=10_000_000)
    parser.add_argument("--folder", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="make the state here, and leave it")
    options = parser.parse_args()
    with ExitStack() as stack:
        base = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        begin(base)
        each = fill(base, options.contents, options.folder)
        chosen = _digests_of(base, options.contents // 2)
        seconds = time.perf_counter() - began
        print(f"{options.contents} pictures, {each:.0f} bytes a file, made in {seconds:.0f} s")
        near = bytearray(chosen["pdq"])
        for place in range(20):
            near[place] ^= 1 << place % 8
        peers = _peers(base, options.contents)
        name = name_of(options.contents // 2).decode()
        lookup = [*HASHSCAN, "lookup", "--state", str(base)]
        text = chosen["sha256"].hex()
        prefix = prefix_of(chosen["sha256"])
        asked = {
            "nothing: python -c pass": ([sys.executable, "-c", "pass"], lambda out: out == ""),
            "lookup sha256": ([*lookup, f"sha256:{text}"], lambda out: name in out),
            "lookup sha1": ([*lookup, f"sha1:{chosen['sha1'].hex()}"], lambda out: name in out),
            "lookup pdq within 31": (
                [*lookup, f"pdq:{near.hex()}"],
                lambda out: name in out and "pdq 20" in out,
            ),
            "lookup unknown, sha256 and pdq": ([*lookup, "5a" * 32], lambda out: out == ""),
            "sqlite3, by its index": (
                [sys.executable, "-c", PEER, str(peers[0]), f"SELECT row FROM t WHERE prefix={prefix}"],
                lambda out: str(options.contents // 2) in out,
            ),
            "grep -F": (["grep", "-F", text, str(peers[1])], lambda out: name in out),
        }
        for words, (command, expect) in asked.items():
            times = timed(command, expect, options.repeats)
            print(f"{words:32} {statistics.median(times):6.3f} s  ({min(times):.3f} to {max(times):.3f})")


def _peers(base: Path, count: int) -> tuple[Path, Path]:
    """Write a database and a text file with the same SHA-256 digests, and return their paths."""
    import sqlite3

    values = np.fromfile(base / "scans" / "sha256", np.uint8).reshape(-1, 32)
    prefixes = values[:, :8].copy().view(">i8").ravel().astype(np.int64)
    order = np.argsort(prefixes)
    database = sqlite3.connect(base / "peer.sqlite")
    database.execute("CREATE TABLE t (prefix INTEGER, row INTEGER, PRIMARY KEY (prefix, row)) WITHOUT ROWID")
    database.executemany(
        "INSERT INTO t VALUES (?, ?)", zip(prefixes[order].tolist(), order.tolist(), strict=True)
    )
    database.commit()
    database.close()
    with (base / "sums").open("w") as file:
        for row in range(count):
            file.write(f"{values[row].tobytes().hex()}  {name_of(row).decode()}\n")
    return base / "peer.sqlite", base / "sums"


if __name__ == "__main__":
    announce_build()
    main()
