"""Measure how much a scan slows a program beside it, and what it leaves in the page cache.

    python -m benchmarks.scan.neighbour --work DIR

Run it with the Python that has hashscan. A reader (see reader.py) runs beside each contender in turn, and
alone just before, so that what else the machine does meanwhile weighs on both: scans at --limit-rate 20M and
without a limit, each in the background and in the foreground, and what people use instead, `find` with
`sha256sum` and `clamscan`, both under `nice -n 19 ionice -c 3`. The tree that they go through is not in
memory when they begin. A contender that comes to its end begins again as long as the reader reads. Scans at
the limit are timed by themselves, too. With `--only "hashscan --limit"` a run takes less than two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lib import measure
from benchmarks.lib.build import announce_build
from benchmarks.lib.scans import HASHSCAN, machine

READER = str(Path(__file__).with_name("reader.py"))
BEHIND = ["nice", "-n", "19", "ionice", "-c", "3"]
RATE = "20M"
RATE_BYTES = 20 << 20
WAYS = ("warm", "cold")


@dataclass(slots=True)
class Figures:
    """The figures measured beside one contender; a number a run."""

    speeds: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    """The reader's, in bytes a second."""
    alone: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    """The reader's just before, with nothing beside it."""
    left: list[int] = field(default_factory=list)
    """Bytes of the tree in the page cache afterwards."""
    rates: list[float] = field(default_factory=list)
    """Bytes a second that a scan with a limit reads by itself."""


def lay_out(folder: Path, files: int, size: int) -> list[Path]:
    """Files of random bytes."""
    folder.mkdir()
    made = []
    for number in range(files):
        path = folder / f"{number:03}"
        with path.open("wb") as file:
            for start in range(0, size, 1 << 20):
                file.write(os.urandom(min(1 << 20, size - start)))
            os.fsync(file.fileno())
        made.append(path)
    return made


def cool(files: list[Path]) -> None:
    """Take files out of the page cache."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_memory(files: list[Path]) -> int:
    """Bytes of files in the page cache."""
    command = ["fincore", "--bytes", "--noheadings", "--output", "res", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(map(int, done.stdout.split()))


@contextlib.contextmanager
def beside(command: list[str], scratch: Path) -> Iterator[None]:
    """Have a command run, over and over, in a session of its own."""
    # A shell, so that there is nothing of this process in the way of the reader.
    loop = 'while "$@"; do :; done'
    with (scratch / "beside.stderr").open("ab") as errors:
        process = subprocess.Popen(
            ["sh", "-c", loop, "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=measure.environment({}),
            start_new_session=True,
        )
    try:
        yield
    finally:
        # The group is the session: shell, command, and workers as their parent ends.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def speed(way: str, seconds: float, files: list[Path]) -> float:
    """Return the reader's speed in bytes a second."""
    command = [sys.executable, READER, way, str(seconds), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    return float(said["bytes"] / said["seconds"])


def scan_command(tree: Path, scratch: Path, *more: str) -> list[str]:
    """Return the command of a scan as cron would start it, but without a state, so that it reads all."""
    return [
        *(*HASHSCAN, "scan", str(tree), "--list", "demo", "--no-state"),
        *("--report", str(scratch / "report.jsonl"), *more),
    ]


def contenders(tree: Path, scratch: Path) -> dict[str, list[str]]:
    """Return the commands that run beside the reader, by name."""
    limited = ("--limit-rate", RATE)
    made: dict[str, list[str]] = {
        f"hashscan --limit-rate {RATE}": scan_command(tree, scratch, *limited),
        f"hashscan --limit-rate {RATE} --foreground": scan_command(tree, scratch, *limited, "--foreground"),
        "hashscan": scan_command(tree, scratch),
        "hashscan --foreground": scan_command(tree, scratch, "--foreground"),
        "find sha256sum, nice, idle": [
            *(*BEHIND, "find", str(tree), "-type", "f", "-exec", "sha256sum", "{}", "+"),
        ],
    }
    clamscan, signatures = shutil.which("clamscan"), scratch / "none.hdb"
    if clamscan:
        # Its own signatures would take it long to load; one of nothing is enough to have everything read.
        signatures.write_text(f"{'0' * 32}:1:none\n")
        large = ["--max-filesize=2000M", "--max-scansize=2000M"]
        made["clamscan, nice, idle"] = [
            *BEHIND,
            clamscan,
            "-r",
            f"--database={signatures}",
            *large,
            str(tree),
        ]
    return made


def rate_of(command: list[str], files: list[Path], scratch: Path) -> float:
    """Bytes a second of a whole scan by itself, its start-up included.

    Raises:
        MeasureError: it failed.
    """
    cool(files)
    measure.run("limited", command, scratch, {})
    summary = json.loads((scratch / "report.jsonl").read_text().splitlines()[-1])
    return float(summary["bytes"] / summary["seconds"])


def table(found: dict[str, Figures], tree_bytes: int) -> str:
    """Return the table to print."""
    about = ", ".join(f"{key} {value}" for key, value in machine().items())
    header = f"{'beside the reader':40}"
    for way in WAYS:
        header += f"{way + ', alone':>16}{'beside':>16}{'share':>7}"
    lines = [about, "", f"{header}{'left in cache':>16}"]
    for name, figures in found.items():
        line = f"{name:40}"
        for way in WAYS:
            alone, with_it = figures.alone[way], figures.speeds[way]
            share = statistics.median(b / a for a, b in zip(alone, with_it, strict=True))
            line += (
                f"{statistics.median(alone) / 1e6:11.0f} MB/s{statistics.median(with_it) / 1e6:11.0f} MB/s"
            )
            line += f"{share:7.2f}"
        if figures.left:
            line += f"{statistics.median(figures.left) / tree_bytes:16.0%}"
        lines.append(line)
    lines += ["", "shares wanted at the limit: at least 0.90; each is the median of those of the runs"]
    for name, figures in found.items():
        if figures.rates:
            median = statistics.median(figures.rates)
            lines.append(
                f"{name}, by itself: {median / 1e6:.2f} MB/s of {RATE_BYTES / 1e6:.2f}, "
                f"ratio {median / RATE_BYTES:.3f} (wanted: 0.9 to 1.1)"
            )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure what a scan costs those beside it.")
    parser.add_argument("--files", type=int, default=25, help="in the tree that is scanned")
    parser.add_argument("--size", type=int, default=16 << 20, help="bytes of each")
    parser.add_argument("--seconds", type=float, default=5.0, help="that the reader reads, each time")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", action="append", metavar="NAME", help="contenders whose names begin so")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the files are put for the time being")
    options = parser.parse_args()
    if min(options.files, options.size, options.seconds, options.runs) <= 0:
        parser.error("--files, --size, --seconds and --runs must be more than 0")
    return options


def main() -> int:
    """Lay out the files, measure, print."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="hashscan-bench-", dir=options.work) as folder:
        scratch = Path(folder)
        tree = scratch / "tree"
        files = lay_out(tree, options.files, options.size)
        own = lay_out(scratch / "own", 4, 32 << 20)
        chosen = {
            name: command
            for name, command in contenders(tree, scratch).items()
            if not options.only or name.startswith(tuple(options.only))
        }
        found = {name: Figures() for name in chosen}
        try:
            for number in range(options.runs):
                for name, command in chosen.items():
                    figures = found[name]
                    for way in WAYS:
                        cool(files)
                        figures.alone[way].append(speed(way, options.seconds, own))
                        with beside(command, scratch):
                            # The reader's time begins when the contender is at work.
                            time.sleep(min(2.0, options.seconds / 2))
                            figures.speeds[way].append(speed(way, options.seconds, own))
                    if "--limit-rate" in command:
                        figures.rates.append(rate_of(command, files, scratch))
                    else:
                        cool(files)
                        measure.run(name, command, scratch, {})
                        figures.left.append(in_memory(files))
                    print(f"run {number + 1} of {options.runs}: {name}", file=sys.stderr)
        except (measure.MeasureError, subprocess.CalledProcessError) as trouble:
            print(f"error: {trouble}", file=sys.stderr)
            return 1
        print(table(found, options.files * options.size))
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
