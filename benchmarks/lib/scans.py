"""Make the commands that are timed in turn: scans by hashscan, and loops in one process."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.lib import measure, results
from benchmarks.lib.corpus import BITS, FileSet, random_list

ENTRIES = 100_000
ALGORITHMS = tuple(BITS)
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
LOOP = str(Path(__file__).with_name("file_loop.py"))
HASHSCAN = [sys.executable, "-P", "-m", "hashscan"]
"""The installed version; without -P, the source tree in the current folder would come first."""


@dataclass(slots=True)
class Contender:
    """One of the commands that are timed."""

    command: list[str]
    over: FileSet
    check: Callable[[measure.Sample], dict[str, Any]]
    """Called after each run; says what is worth noting.

    Raises:
        DisturbedError: the run is to be repeated.
        MeasureError: the run did not do its work.
    """
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    """Called before each run, outside the timing."""


def loop(python: str, way: str, over: FileSet, environment: dict[str, str] = ONE_THREAD) -> Contender:
    """Return a contender that is a plain loop in one process."""

    def check(sample: measure.Sample) -> dict[str, Any]:
        said = json.loads(sample.output)
        if said["files"] != over.files:
            raise measure.MeasureError(f"{way} handled {said['files']} of {over.files} files")
        return {"start-up": sample.wall - said["seconds"], "undecoded": said["undecoded"]}

    return Contender([python, LOOP, way, str(over.names)], over, check, environment)


class Hashscan:
    """A list imported into a state folder, of which every run gets a fresh copy."""

    def __init__(
        self,
        scratch: Path,
        entries: int = ENTRIES,
        algorithms: Sequence[str] = ALGORITHMS,
        program: Sequence[str] = HASHSCAN,
    ) -> None:
        self.program = program
        self.kept = scratch / "state-kept"
        self.state = scratch / "state"
        self.report = scratch / "report.jsonl"
        listed = scratch / "bench.csv"
        with listed.open("w", encoding="ascii") as file:
            file.writelines(random_list(entries, algorithms))
        command = [*program, "lists", "import", str(listed), "--name", "bench", "--state", str(self.kept)]
        self.imported = measure.run("lists import", command, scratch, {})

    def prepare(self) -> None:
        """Put a state in place that has the list and knows no file."""
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self.kept, self.state, symlinks=True)
        self.report.unlink(missing_ok=True)

    def contender(self, workers: int, over: FileSet, *more: str) -> Contender:
        """Return a contender for a scan with a number of workers and further options."""

        def check(sample: measure.Sample) -> dict[str, Any]:
            del sample
            last = json.loads(self.report.read_text().splitlines()[-1])
            verdicts = last.get("verdicts", {})
            left_out = verdicts.get("skipped", 0) + verdicts.get("unreadable", 0)
            if (
                last.get("type") != "summary"
                or last["files"] != over.files
                or sum(verdicts.values()) != over.files
                or left_out
            ):
                raise measure.MeasureError(f"the scan did not check all {over.files} files: {last}")
            return {"undecoded": verdicts["undecoded"], "sandbox": last.get("sandbox", {}).get("level")}

        command = [
            # Without a terminal it would step back behind whatever else runs.
            *(*self.program, "scan", "--foreground", str(over.folder), "--list", "bench"),
            *("--workers", str(workers)),
            *("--state", str(self.state), "--report", str(self.report), *more),
            # The peers don't step back either.
            "--foreground",
        ]
        return Contender(command, over, check, prepare=self.prepare)


def run_once(
    name: str, contender: Contender, scratch: Path, repeats: int = 5
) -> tuple[measure.Sample, dict[str, Any]]:
    """Time a command once, and again if the run was disturbed; return what is worth noting with it."""
    contender.prepare()
    sample = measure.run(name, contender.command, scratch, contender.environment)
    try:
        return sample, contender.check(sample)
    except measure.DisturbedError as disturbed:
        if not repeats:
            raise
        print(f"once more: {disturbed}", file=sys.stderr)
        return run_once(name, contender, scratch, repeats - 1)


def run_all(field_: dict[str, Contender], scratch: Path, runs: int) -> dict[str, results.Result]:
    """Time everything, interleaved."""
    found = {name: results.Result(name, c.over.files, c.over.bytes) for name, c in field_.items()}
    for number in range(1, runs + 1):
        for name, contender in field_.items():
            sample, notes = run_once(name, contender, scratch)
            found[name].add(sample, notes)
            print(f"run {number} of {runs}: {name} {sample.wall:.2f} s", file=sys.stderr)
    return found


def machine() -> dict[str, Any]:
    """Return a description of the machine and software of the measurement."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def parse_small_files(
    parser: argparse.ArgumentParser, *, texts: int, pictures: int, runs: int
) -> argparse.Namespace:
    """Add the options of sets of small files to a parser, and parse the command line.

    Args:
        parser: has all other options.
        texts: default number of files of 2 kB.
        pictures: default number of JPEGs of 480x320.
        runs: default number of runs.
    """
    parser.add_argument("--texts", type=int, default=texts, help="number of files of 2 kB")
    parser.add_argument("--pictures", type=int, default=pictures, help="number of JPEGs of 480x320")
    parser.add_argument("--runs", type=int, default=runs, help="number of counted runs of each command")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for files while it runs")
    options = parser.parse_args()
    if options.runs < 1 or min(number for number in vars(options).values() if isinstance(number, int)) < 0:
        parser.error("--runs must be at least 1, the others at least 0")
    return options


def place_for(corpus: Path, wanted: Path | None) -> Path:
    """Return the working folder: on the corpus's disk, unless another is given or none is writable there."""
    if wanted:
        return wanted
    here = corpus.stat().st_dev
    for folder in (Path(tempfile.gettempdir()), Path("/var/tmp"), corpus.parent):
        if folder.is_dir() and folder.stat().st_dev == here and os.access(folder, os.W_OK):
            return folder
    print("no writable folder found on the corpus's disk; working elsewhere (see --work)", file=sys.stderr)
    return Path(tempfile.gettempdir())
