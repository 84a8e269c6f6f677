"""Time a scan of photographs beside other libraries and the minimum work.

    python -m benchmarks.scan.photographs CORPUS --copies N [--peers-venv DIR] [--runs R] [--skip-peers]
                               [--entries N [--only-pdq]] [--json FILE]

Run it with the Python that has hashscan. It times, each as a command of its own, start-up included:

- hashscan with one and with two workers, against 100,000 random entries (md5, sha1, sha256 and pdq) unless
  told otherwise, with a fresh state each time; with one worker also without restored pictures and sections,
  and without any variant of the pictures;
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
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.lib import measure, peers, results
from benchmarks.lib.build import announce_build
from benchmarks.lib.corpus import CorpusError, FileSet, file_set, lay_out
from benchmarks.lib.results import Ratio
from benchmarks.lib.scans import ALGORITHMS, ENTRIES, Contender, Hashscan, loop, machine, place_for, run_all

NAMES = (
    *("hashscan-1", "hashscan-1-unrestored", "hashscan-1-plain", "hashscan-2"),
    *("threatexchange", "imagehash", "imgdd", "sha256sum", "floor"),
)
PEERS = ("threatexchange", "imagehash", "imgdd")
UNRESTORED = ("--skip-variant", "restored", "--skip-variant", "sections")
TWO_THREADS = {"RAYON_NUM_THREADS": "2"}

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
        "hashscan(1) CPU, with restored pictures and sections / without",
        *("hashscan-1", results.cpu, "hashscan-1-unrestored", results.cpu),
        most=1.5,
    ),
    Ratio(
        "hashscan(1) CPU, with variants / without",
        *("hashscan-1", results.cpu, "hashscan-1-plain", results.cpu),
        most=1.15,
    ),
)
"""The ratios printed below the table, with their limits."""


def sha256sum(over: FileSet) -> Contender:
    """Return a contender that only computes digests; xargs starts several processes in turn if needed."""

    def check(sample: measure.Sample) -> dict[str, Any]:
        del sample
        return {}

    return Contender(["xargs", "-0", "-a", str(over.names), "sha256sum"], over, check)


def contenders(
    names: list[str], scratch: Path, work: Path, peers_python: str, options: argparse.Namespace
) -> dict[str, Contender]:
    """Everything to be timed, ready to run."""
    whole = file_set(work, scratch / "all-names")
    one = file_set(work / "copy-000001", scratch / "one-names")
    made: dict[str, Contender] = {}
    if any(name.startswith("hashscan") for name in names):
        scanner = Hashscan(scratch, options.entries, ("pdq",) if options.only_pdq else ALGORITHMS)
        made["hashscan-1"] = scanner.contender(1, whole)
        made["hashscan-1-unrestored"] = scanner.contender(1, whole, *UNRESTORED)
        made["hashscan-1-plain"] = scanner.contender(1, whole, "--skip-variant", "all")
        made["hashscan-2"] = scanner.contender(2, whole)
    for way in ("threatexchange", "imagehash"):
        made[way] = loop(peers_python, way, one)
    made["imgdd"] = loop(peers_python, "imgdd", whole, TWO_THREADS)
    made["sha256sum"] = sha256sum(whole)
    made["floor"] = loop(sys.executable, "floor", whole)
    return {name: made[name] for name in names}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time a scan beside its peers.")
    parser.add_argument("corpus", type=Path, help="folder of pictures")
    parser.add_argument("--copies", type=int, default=1, help="distinct copies of it to scan")
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
    announce_build()
    sys.exit(main())
