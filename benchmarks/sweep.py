"""Time a sweep side by side with the libraries of the field and with the least work its job allows.

    python benchmarks/sweep.py CORPUS --copies N [--peers-venv DIR] [--runs R] [--skip-peers]
                               [--entries N [--only-pdq]] [--json FILE]

Run it with the Python that has hashscan. It times, each as a command of its own, start-up included:

- hashscan with one and with two workers, against 100,000 random entries (md5, sha1, sha256 and pdq) unless
  told otherwise, with a fresh state each time; with one worker also without any variant of the pictures;
- python-threatexchange's PDQ and ImageHash's pHash over one copy of the corpus, and imgdd's pHash (in Rust)
  over all copies with two threads (peers.py says how they are installed); none of them computes exact
  digests or matches anything;
- sha256sum over all files;
- the floor: one process that reads each file once, computes md5, sha1 and sha256 and decodes with Pillow.

Every copy of the corpus has other bytes at its end, so nothing can be saved by recognising content. All files
are read once before the first run, so it is the work that is timed and not the disk. The runs are interleaved
(A B C, A B C ...); medians are printed, with the least and the most, and the ratios with their targets.
"""

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

import measure
import peers
import results
from corpus import BITS, CorpusError, FileSet, file_set, lay_out, random_list
from results import Ratio

ENTRIES = 100_000
ALGORITHMS = tuple(BITS)
NAMES = (
    *("hashscan-1", "hashscan-1-plain", "hashscan-2"),
    *("threatexchange", "imagehash", "imgdd", "sha256sum", "floor"),
)
PEERS = ("threatexchange", "imagehash", "imgdd")
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
TWO_THREADS = {"RAYON_NUM_THREADS": "2"}
LOOP = str(Path(__file__).with_name("loop.py"))
HASHSCAN = [sys.executable, "-m", "hashscan"]

RATIOS = (
    Ratio(
        "hashscan(2) / threatexchange, ms per file",
        *("hashscan-2", results.wall_per_file, "threatexchange", results.wall_per_file),
        most=1 / 12,
    ),
    Ratio(
        "  the same, the peer's start-up left out",
        *("hashscan-2", results.wall_per_file, "threatexchange", results.loop_per_file),
    ),
    Ratio(
        "hashscan(2) / imgdd(2), ms per file",
        *("hashscan-2", results.wall_per_file, "imgdd", results.wall_per_file),
        most=1,
    ),
    Ratio(
        "hashscan(1) CPU / imgdd CPU",
        *("hashscan-1", results.cpu, "imgdd", results.cpu),
    ),
    Ratio(
        "hashscan(2) wall / (floor wall / 2)",
        *("hashscan-2", results.wall, "floor", results.half_wall),
        most=1.3,
    ),
    Ratio("hashscan(1) CPU / floor CPU", *("hashscan-1", results.cpu, "floor", results.cpu), most=1.3),
    Ratio(
        "hashscan(1) CPU, with variants / without",
        *("hashscan-1", results.cpu, "hashscan-1-plain", results.cpu),
        most=1.15,
    ),
)
"""What is printed below the table, with what it is to be at most."""


@dataclass(slots=True)
class Contender:
    """One of the commands that are timed."""

    command: list[str]
    over: FileSet
    check: Callable[[measure.Sample], dict[str, Any]]
    """Called after each run; says what is worth noting.

    Raises:
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


def sha256sum(over: FileSet) -> Contender:
    """Return a contender that only computes digests; xargs starts several processes in turn if needed."""

    def check(sample: measure.Sample) -> dict[str, Any]:
        del sample
        return {}

    return Contender(["xargs", "-0", "-a", str(over.names), "sha256sum"], over, check)


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
                raise measure.MeasureError(f"the sweep did not check all {over.files} files: {last}")
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


def contenders(
    names: list[str], scratch: Path, work: Path, peers_python: str, options: argparse.Namespace
) -> dict[str, Contender]:
    """Everything to be timed, ready to run."""
    whole = file_set(work, scratch / "all-names")
    one = file_set(work / "copy-000001", scratch / "one-names")
    made: dict[str, Contender] = {}
    if any(name.startswith("hashscan") for name in names):
        sweep = Hashscan(scratch, options.entries, ("pdq",) if options.only_pdq else ALGORITHMS)
        made["hashscan-1"] = sweep.contender(1, whole)
        made["hashscan-1-plain"] = sweep.contender(1, whole, "--skip-variant", "all")
        made["hashscan-2"] = sweep.contender(2, whole)
    for way in ("threatexchange", "imagehash"):
        made[way] = loop(peers_python, way, one)
    made["imgdd"] = loop(peers_python, "imgdd", whole, TWO_THREADS)
    made["sha256sum"] = sha256sum(whole)
    made["floor"] = loop(sys.executable, "floor", whole)
    return {name: made[name] for name in names}


def run_all(field_: dict[str, Contender], scratch: Path, runs: int) -> dict[str, results.Result]:
    """Time everything, interleaved."""
    found = {name: results.Result(name, c.over.files, c.over.bytes) for name, c in field_.items()}
    for number in range(1, runs + 1):
        for name, contender in field_.items():
            contender.prepare()
            sample = measure.run(name, contender.command, scratch, contender.environment)
            found[name].add(sample, contender.check(sample))
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


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time a sweep beside its peers.")
    parser.add_argument("corpus", type=Path, help="folder of pictures")
    parser.add_argument("--copies", type=int, default=1, help="distinct copies of it to sweep")
    parser.add_argument("--runs", type=int, default=3, help="how often each command is timed")
    parser.add_argument("--peers-venv", type=Path, default=peers.default_folder(), metavar="DIR")
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--only", action="append", choices=NAMES, help="time this one; may be repeated")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where the copies are put for the time being"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there too")
    parser.add_argument("--entries", type=int, default=ENTRIES, help="how many the list has")
    parser.add_argument("--only-pdq", action="store_true", help="all of them PDQ hashes")
    options = parser.parse_args()
    if options.copies < 1 or options.runs < 1 or options.entries < 1:
        parser.error("--copies, --runs and --entries must be at least 1")
    return options


def main() -> int:
    """Lay out the copies, time everything, print the table."""
    options = arguments()
    names = [
        name
        for name in NAMES
        if name in (options.only or NAMES) and not (options.skip_peers and name in PEERS)
    ]
    corpus = options.corpus.resolve()
    try:
        measure.adopt_orphans()
        peers_python = peers.ensure(options.peers_venv) if set(PEERS) & set(names) else ""
        with tempfile.TemporaryDirectory(
            prefix="hashscan-bench-", dir=place_for(corpus, options.work)
        ) as folder:
            scratch, work = Path(folder), Path(folder, "copies")
            lay_out(corpus, work, options.copies)
            found = run_all(contenders(names, scratch, work, peers_python, options), scratch, options.runs)
    except (measure.MeasureError, peers.PeersError, CorpusError) as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    about = {**machine(), "copies": options.copies, "runs": options.runs, "entries": options.entries}
    if peers_python:
        about["peers"] = peers.versions(options.peers_venv)
    print(results.table(about, found, RATIOS))
    if options.json:
        options.json.write_text(json.dumps(results.as_json(about, found, RATIOS), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
