"""Measure what it costs to recognise files, by kind, beside another version.

    python -m benchmarks.scan.recognition --base CHECKOUT [--tree /usr] [--photographs CORPUS]
                                     [--kinds KIND,...] [--files N] [--copies N] [--runs R]
                                     [--no-tree] [--work DIR]

The base is a checkout whose parts in C are built (`python setup.py build_ext --inplace`); both run with this
Python and its libraries. Files of each kind are copied from the tree, or made. A scan of them without a
state, by one worker, is timed in turn with that of the base, in processor time of all processes, less the
least that a scan of one small file of random bytes took, which starts the sandboxes: over a second, so that
it takes thousands of small files for a figure (`--copies`). Then the whole tree is
scanned once by each. What is undecoded by the one and not by the other is counted, and printed to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.lib import measure
from benchmarks.lib.build import announce_build
from benchmarks.lib.scans import machine

ROOT = Path(__file__).parents[2]
EXIT_CODES = {0, 1, 3, 4}
"""Those of a scan that came to its end."""

_IS_KIND: dict[str, Callable[[bytes], bool]] = {
    "ELF": lambda begin: begin.startswith(b"\x7fELF"),
    "compiled Python": lambda begin: begin[2:4] == b"\r\n" and begin[4:8] == bytes(4),
    "fonts": lambda begin: begin[:5] in {b"\0\1\0\0\0", b"OTTO\0", b"wOFF\0", b"wOF2\0", b"wOFFO", b"wOF2O"},
    "translations": lambda begin: begin.startswith(b"\xde\x12\x04\x95"),
    "texts": lambda begin: len(begin) == BEGIN and not set(begin) - set(range(32, 127)) - set(b"\t\n\r"),
}
BEGIN = 1024


def files_of(tree: Path) -> Iterator[Path]:
    """Yield the regular files of a tree, in an order that is the same in each run."""
    for folder, folders, names in os.walk(tree):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def lay_out(options: argparse.Namespace, scratch: Path) -> dict[str, Path]:
    """Copy files of each kind to a folder of its own; return the folders."""
    random.seed(1)
    found: dict[str, list[Path]] = {kind: [] for kind in options.kinds or _IS_KIND if kind in _IS_KIND}
    for path in files_of(options.tree):
        try:
            with path.open("rb") as file:
                begin = file.read(BEGIN)
        except OSError:
            continue
        for kind, paths in found.items():
            if _IS_KIND[kind](begin):
                paths.append(path)
    if options.photographs is not None:
        found["photographs"] = list(files_of(options.photographs))
    made: dict[str, Path] = {}
    for kind, paths in found.items():
        folder = made[kind] = scratch / kind
        folder.mkdir()
        for number, path in enumerate(random.sample(paths, min(options.files, len(paths)))):
            for copy in range(options.copies):
                shutil.copyfile(path, folder / f"{number}-{copy}{path.suffix}")
    if not options.kinds or "random" in options.kinds:
        made["random bytes, 100 kB"] = _lay_out_random(options.files, scratch / "random")
    return {kind: folder for kind, folder in made.items() if any(folder.iterdir())}


def _lay_out_random(files: int, folder: Path) -> Path:
    folder.mkdir()
    for number in range(files):
        (folder / str(number)).write_bytes(random.randbytes(100_000))
    return folder


def timed(checkout: Path, folder: Path, scratch: Path) -> tuple[float, set[str]]:
    """Return the seconds of processor time of a scan with all its processes, and the undecoded files.

    Raises:
        MeasureError: it failed.
    """
    report = scratch / "report.jsonl"
    command = [sys.executable, "-P", "-m", "hashscan", "scan", str(folder), "--list", "demo", "--no-state"]
    command += ["--workers", "1", "--foreground", "--report", str(report)]
    environment = {"PYTHONPATH": str(checkout), "XDG_STATE_HOME": str(scratch / "state")}
    sample = measure.run(str(checkout), command, scratch, environment, EXIT_CODES)
    with report.open() as lines:
        records = [json.loads(line) for line in lines]
    report.unlink()
    return sample.cpu, {f"{r['path']}: {r['reason']}" for r in records if r.get("verdict") == "undecoded"}


def compare(kind: str, folder: Path, versions: dict[str, Path], runs: int, scratch: Path) -> None:
    """Time scans of a folder by each version in turn, and print a row of the table."""
    empty = scratch / "empty"
    empty.mkdir(exist_ok=True)
    # So that both sandboxes are started, and their libraries loaded.
    (empty / "file").write_bytes(random.Random(1).randbytes(5000))
    files = sum(1 for _ in files_of(folder))
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    undecoded: dict[str, set[str]] = {}
    start_up: dict[str, list[float]] = {name: [] for name in versions}
    for _ in range(runs):
        for name, checkout in versions.items():
            start_up[name].append(timed(checkout, empty, scratch)[0])
            used, undecoded[name] = timed(checkout, folder, scratch)
            seconds[name].append(used)
    for name, each in seconds.items():
        # What else the machine does can only lengthen it.
        seconds[name] = [used - min(start_up[name]) for used in each]
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    row = [kind, f"{files}", *(f"{1000 * medians[name] / files:.3f}" for name in versions)]
    if len(versions) == 2:
        ratios = [now / base for now, base in zip(seconds["now"], seconds["base"], strict=True)]
        row.append(f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
        newly = sorted(undecoded["now"] - undecoded["base"])
        row.append(f"{len(newly)}")
        for line in newly:
            print(line, file=sys.stderr)
    print("| " + " | ".join(row) + " |", flush=True)


def main() -> int:
    """Lay out the files, measure, print."""
    parser = argparse.ArgumentParser(description="Measure what it costs to recognise files.")
    parser.add_argument(
        "--base", type=Path, metavar="CHECKOUT", help="another version, with its C parts built"
    )
    parser.add_argument("--tree", type=Path, default=Path("/usr"), help="where files are taken from")
    parser.add_argument("--photographs", type=Path, metavar="CORPUS", help="a folder of photographs")
    parser.add_argument(
        "--kinds",
        type=lambda text: text.split(","),
        metavar="KIND,...",
        help=f"random, {', '.join(_IS_KIND)}",
    )
    parser.add_argument("--files", type=int, default=3000, help="of each kind")
    parser.add_argument("--copies", type=int, default=1, help="of each file that is taken from the tree")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-tree", action="store_true", help="leave out the scan of the whole tree")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the files are put for the time being")
    options = parser.parse_args()
    versions = {"now": ROOT} if options.base is None else {"base": options.base.resolve(), "now": ROOT}
    measure.adopt_orphans()
    try:
        with tempfile.TemporaryDirectory(prefix="hashscan-bench-", dir=options.work) as folder:
            scratch = Path(folder)
            kinds = lay_out(options, scratch)
            print(", ".join(f"{key} {value}" for key, value in machine().items()))
            head = ["kind", "files", *(f"ms a file, {name}" for name in versions), "ratio", "newly undecoded"]
            print(f"| {' | '.join(head)} |")
            for kind, place in kinds.items():
                compare(kind, place, versions, options.runs, scratch)
            if not options.no_tree:
                compare(str(options.tree), options.tree, versions, 1, scratch)
    except measure.MeasureError as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
