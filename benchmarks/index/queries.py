"""Time hashscan's index beside others, and check that all find the same.

    python -m benchmarks.index.queries [--entries N]... [--threshold BITS]... [--batch N] [--peers-venv DIR]
                                  [--part NAME]... [--skip MAKE]... [--plot FILE] [--json FILE]

Run it with the Python that has hashscan. It prints, for each number of entries:

- near: milliseconds a query against PDQ hashes, for the loop in C and in numpy, faiss IndexBinaryFlat, faiss
  IndexBinaryMultiHash and python-threatexchange's PDQ index, each in a process of its own with one thread.
  They are asked in turn, with digests that are near an entry and ones that aren't; then each one's answers to
  some of the digests are compared with those of a brute force. Entries are uniform random hashes, or
  clustered: 10,000 copies of one, a quarter with few bits set, near-duplicates;
- exact: microseconds a digest for sha256 and md5;
- workers: how long opening takes, and what eight processes hold in memory beyond one with no list;
- growth: what a query costs as its threshold grows from 16 to 64 bits, as a table and, with --plot, drawn;
- check: the whole process of `hashscan check DIGEST`.

Compile time and memory are told where something is compiled. Medians are printed, with the least and the
most of all batches.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index import ours
from benchmarks.index import tables as results
from benchmarks.index.asker import MAKES, Ours
from benchmarks.index.children import Child, run_watched
from benchmarks.index.digests import DigestSet, clustered, uniform, within
from benchmarks.lib import measure, peers
from benchmarks.lib.build import announce_build
from benchmarks.lib.scans import HASHSCAN, machine
from hashscan.lists.storage.degenerate import are_degenerate

PARTS = ("near", "exact", "workers", "growth", "check")
KINDS = ("uniform", "clustered")
GROWTH = range(16, 65, 3)
WORKERS = 8
QUERIES = 4096
PDQ_BYTES = 32
Row = dict[str, Any]


class Bench:
    """The state that the parts share: options, a folder to work in, and the resulting rows."""

    def __init__(self, options: argparse.Namespace, scratch: Path, peers_python: str) -> None:
        self.options = options
        self.scratch = scratch
        self.rows: list[Row] = []
        self._peers_python = peers_python
        self.own = ["hashscan C", "hashscan numpy"]
        rivals = [name for name, make in MAKES.items() if not issubclass(make, Ours)] if peers_python else []
        self.makes = [name for name in (*self.own, *rivals) if name not in options.skip]

    def child(self, make: str, source: Path) -> Child:
        """Start a process that holds an index."""
        python = sys.executable if issubclass(MAKES[make], Ours) else self._peers_python
        return Child(python, make, source, self.scratch)

    def source(self, make: str) -> Path:
        """Return the file or folder from which a make reads its entries."""
        return self.state if issubclass(MAKES[make], Ours) else self.scratch / "entries.npy"

    @property
    def state(self) -> Path:
        """hashscan's state folder."""
        return self.scratch / "state"

    def add(self, part: str, **row: Any) -> None:
        """Keep a result, and say that there is one."""
        self.rows.append({"part": part, **row})
        print(results.line(self.rows[-1]), file=sys.stderr)

    def keep(self, algorithm: str, held: DigestSet, kind: str) -> None:
        """Store the entries in a fresh state, compile them, and lay the queries beside."""
        shutil.rmtree(self.state, ignore_errors=True)
        ours.keep(self.state, algorithm, held.entries)
        watched = run_watched([sys.executable, ours.__file__, str(self.state)], self.scratch)
        self.add("compile", entries=len(held.entries), algorithm=algorithm, kind=kind, **watched)
        for name, values in held.queries.items():
            np.save(self.queries(name), values)

    def queries(self, name: str) -> Path:
        """Return the path of the file with the digests to query."""
        return self.scratch / f"queries-{name}.npy"

    def timed(self, child: Child, name: str, threshold: int, rounds: int = 1) -> list[Row]:
        """Time the queries of one process for one kind of digests; return one row per round."""
        request = {"values": str(self.queries(name)), "threshold": threshold, "batch": self.options.batch}
        return [child.ask({**request, "seconds": self.options.seconds}) for _ in range(rounds)]


def near(bench: Bench, entries: int, kind: str, held: DigestSet) -> None:
    """All makes, asked in turn; then their answers."""
    options = bench.options
    np.save(bench.scratch / "entries.npy", held.entries)
    with ExitStack() as stack:
        children = []
        for make in bench.makes:
            children.append(stack.enter_context(bench.child(make, bench.source(make))).ready())
            if "build" in children[-1].notes:
                notes = {"seconds": children[-1].notes["build"], "peak resident": children[-1].notes["peak"]}
                bench.add("compile", entries=entries, algorithm="pdq", kind=kind, make=make, **notes)
        for threshold in options.threshold:
            asked = [child for child in children if child.notes.get("threshold", threshold) == threshold]
            for name, values in held.queries.items():
                turns: dict[str, list[Row]] = {child.make: [] for child in asked}
                for _ in range(options.rounds):
                    for child in asked:
                        turns[child.make] += bench.timed(child, name, threshold)
                # Entries near which hundreds of unrelated pictures are don't match; peers have no such rule.
                matching = ~are_degenerate("pdq", held.entries)
                right = {
                    pair
                    for pair in brute_force(held, values[: options.sample], threshold)
                    if matching[pair[1]]
                }
                for child in asked:
                    request = {"values": str(bench.queries(name)), "first": options.sample}
                    pairs = child.ask({**request, "threshold": threshold})["pairs"]
                    pairs = [tuple(pair) for pair in pairs if matching[pair[1]]]
                    bench.add(
                        "near",
                        entries=entries,
                        kind=kind,
                        queries=name,
                        threshold=threshold,
                        make=child.make,
                        **results.spread(turns[child.make], 1e3),
                        hits=len(right) / min(options.sample, len(values)),
                        exact=len(pairs) == len(right) and set(pairs) == right,
                    )


def brute_force(held: DigestSet, values: np.ndarray, threshold: int) -> set[tuple[int, int]]:
    """All pairs of query row and entry that are within the threshold."""
    return {
        (query, row)
        for query, value in enumerate(values)
        for row in within(held.entries, value, threshold).tolist()
    }


def exact(bench: Bench, entries: int) -> None:
    """Exact digests, both kinds and both outcomes."""
    for algorithm, size in (("sha256", 32), ("md5", 16)):
        held = uniform(entries, size, QUERIES, 0)
        bench.keep(algorithm, held, "uniform")
        with ExitStack() as stack:
            children = [stack.enter_context(bench.child(make, bench.state)).ready() for make in bench.own]
            for child in children:
                for name, values in held.queries.items():
                    turns = bench.timed(child, name, 0, bench.options.rounds)
                    request = {"values": str(bench.queries(name)), "first": len(values), "threshold": 0}
                    pairs = np.array(child.ask(request)["pairs"], dtype=np.int64).reshape(-1, 2)
                    bench.add(
                        "exact",
                        entries=entries,
                        algorithm=algorithm,
                        queries=name,
                        make=child.make,
                        **results.spread(turns, 1e6),
                        exact=len(np.unique(pairs[:, 0])) == (len(values) if name == "hit" else 0)
                        and np.array_equal(held.entries[pairs[:, 1]], values[pairs[:, 0]]),
                    )


def workers(bench: Bench, entries: int) -> None:
    """Measure several processes that have opened and queried the index and run at the same time."""
    empty = bench.scratch / "empty"
    for make in bench.own:
        with ExitStack() as stack:
            alone = stack.enter_context(bench.child(make, empty)).ready()
            many = [stack.enter_context(bench.child(make, bench.state)).ready() for _ in range(WORKERS)]
            for child in (alone, *many):
                for name in ("hit", "miss"):
                    bench.timed(child, name, max(bench.options.threshold))
            private = [child.private_bytes() for child in many]
            bench.add(
                "workers",
                entries=entries,
                make=make,
                empty=alone.private_bytes(),
                more=[size - alone.private_bytes() for size in private],
                open=[child.notes["open"] for child in many],
            )


def growth(bench: Bench, entries: int) -> None:
    """Unrelated digests asked for at one threshold after another."""
    for make in bench.own:
        with bench.child(make, bench.state) as child:
            child.ready()
            for threshold in GROWTH:
                turns = bench.timed(child, "miss", threshold)
                row = {"entries": entries, "make": make, "threshold": threshold}
                bench.add("growth", **row, **results.spread(turns, 1e3), plan=turns[-1]["plan"])
            plans = child.ask({"plans": list(range(PDQ_BYTES * 8 + 1))})["plans"]
            scans = plans.index("scan") if "scan" in plans else None
            bench.add("takeover", entries=entries, make=make, threshold=scans)


def check(bench: Bench, entries: int) -> None:
    """Time the command `hashscan check` from start to end."""
    for name, code in (("hit", 1), ("miss", 0)):
        values = np.load(bench.queries(name))
        seconds = []
        for value in values[: max(3, bench.options.rounds)]:
            command = [*HASHSCAN, "check", f"pdq:{value.tobytes().hex()}", "--list", ours.LIST]
            command += ["--state", str(bench.state)]
            seconds.append(measure.run("check", command, bench.scratch, {}, expected=code).wall)
        least, most = min(seconds), max(seconds)
        spread = {"median": statistics.median(seconds), "least": least, "most": most}
        bench.add("check", entries=entries, queries=name, **spread)


def run_all(bench: Bench) -> None:
    """Every part that is wanted, for every number of entries."""
    options = bench.options
    on_uniform: dict[str, Callable[[Bench, int], None]] = {
        "workers": workers,
        "growth": growth,
        "check": check,
    }
    for entries in options.entries:
        held = uniform(entries, PDQ_BYTES, QUERIES, min(options.threshold))
        asked = "near" in options.part and "uniform" in options.kind
        if asked or set(on_uniform) & set(options.part):
            bench.keep("pdq", held, "uniform")
        for part, function in on_uniform.items():
            if part in options.part:
                function(bench, entries)
        if asked:
            near(bench, entries, "uniform", held)
        if "near" in options.part and "clustered" in options.kind:
            held = clustered(entries, PDQ_BYTES, QUERIES)
            bench.keep("pdq", held, "clustered")
            near(bench, entries, "clustered", held)
        del held
        if "exact" in options.part:
            exact(bench, entries)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time the index beside its peers.")
    parser.add_argument("--entries", type=int, action="append", help="size of the list; may be repeated")
    parser.add_argument("--threshold", type=int, action="append", help="in bits; may be repeated")
    parser.add_argument("--batch", type=int, default=64, help="digests asked for at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each make gets its turn")
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="how long a turn lasts, one batch at least"
    )
    parser.add_argument("--sample", type=int, default=8, help="digests of each kind to check by brute force")
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="of entries, for near; may be repeated"
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be repeated")
    parser.add_argument("--skip", action="append", choices=MAKES, default=[], help="leave out a make")
    parser.add_argument("--peers-venv", type=Path, default=peers.default_folder(), metavar="DIR")
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the lists are put for the time being")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the growth there (.svg or .png)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every result there too")
    options = parser.parse_args()
    options.entries = options.entries or [1_000_000]
    options.threshold = options.threshold or [31, 21]
    options.part = options.part or list(PARTS)
    options.kind = options.kind or list(KINDS)
    if min(options.entries) < 1 or min(options.batch, options.rounds, options.sample) < 1:
        parser.error("--entries, --batch, --rounds and --sample must be at least 1")
    if options.batch > QUERIES:
        parser.error(f"--batch must be at most {QUERIES}")
    return options


def main() -> int:
    """Run the parts, print the tables."""
    options = arguments()
    drawn = options.plot is not None and "growth" in options.part
    try:
        measure.adopt_orphans()
        needed = drawn or ("near" in options.part and not options.skip_peers)
        python = peers.ensure(options.peers_venv) if needed else ""
        with tempfile.TemporaryDirectory(prefix="hashscan-bench-", dir=options.work) as folder:
            bench = Bench(options, Path(folder), "" if options.skip_peers else python)
            run_all(bench)
            about = {**machine(), "batch": options.batch, "rounds": options.rounds}
            if python:
                about["peers"] = peers.versions(options.peers_venv)
            document = json.dumps({"about": about, "results": bench.rows}, indent=2) + "\n"
            if drawn:
                kept = Path(folder, "results.json")
                kept.write_text(document)
                plot = Path(__file__).with_name("plot.py")
                subprocess.run([python, plot, kept, options.plot], check=True)
    except (measure.MeasureError, peers.PeersError) as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    print(results.table(about, bench.rows))
    if options.json:
        options.json.write_text(document)
    return 0 if all(row.get("exact", True) for row in bench.rows) else 1


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
