"""Time scans of unchanged files beside programs that only list them.

    python -m benchmarks.scan.unchanged [--files N] [--folders M] [--runs R] [--work DIR]

Run it with the Python that has hashscan. It lays out small text files, scans them once, and waits until none
is so young that it would have to be read again. Then it times in turn, each as a command of its own:

- `find -printf '%i %s %T@ %C@\n'`: it looks at every file and remembers nothing;
- a second scan, with all that it starts and writes;
- GNU tar with `--listed-incremental` and its snapshot of the first time: what a nightly backup does to learn
  that nothing has changed. Its snapshot has folders and not files, so it sees no change that leaves a file's
  mtime and ctime older than the snapshot.

Medians are printed with the least and the most, of wall and CPU time, and the ratios to find. Two further
scans are not timed: of one the memory is noted that all its processes take together, shared pages counted
once; the other runs under strace, which counts the regular files it opens beneath the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.lib import measure
from benchmarks.lib.build import announce_build
from benchmarks.lib.memory import Watch
from benchmarks.lib.scans import HASHSCAN, Hashscan, machine

TARGET = 2.5
MEMORY_TARGET = 300_000_000
YOUNG_SECONDS = 2.5
"""Files that were changed so shortly before are read again."""

_OPENED = re.compile(r"\bopen(?:at2?)?\(.* = \d+<(/.*)>$")


def lay_out(folder: Path, files: int, folders: int) -> None:
    """Make the tree: folders of equally many files, a hundred folders in each folder above them."""
    for number in range(folders):
        place = folder / f"{number // 100:03}" / f"{number % 100:02}"
        place.mkdir(parents=True)
        for index in range(number, files, folders):
            (place / f"note-{index:07}.txt").write_bytes(b"note %d\n" % index)


def opened_files(command: list[str], folder: Path, scratch: Path) -> int:
    """Return the number of regular files beneath a folder that a command opens.

    Raises:
        MeasureError: it fails, or strace does.
    """
    trace = scratch / "trace"
    strace = ["strace", "-f", "-y", "-e", "trace=open,openat,openat2", "-o", str(trace)]
    measure.run("strace", [*strace, *command], scratch, {})
    count = 0
    with trace.open(errors="surrogateescape") as lines:
        for line in lines:
            found = _OPENED.search(line.rstrip("\n"))
            if found and found[1].startswith(f"{folder}/") and Path(found[1]).is_file():
                count += 1
    return count


def check(report: Path, files: int) -> None:
    """Make sure that a scan listed all files and read none.

    Raises:
        MeasureError: it didn't.
    """
    last = json.loads(report.read_text().splitlines()[-1])
    if last.get("type") != "summary" or last["unchanged"] != files or last["files"] != files:
        raise measure.MeasureError(f"the scan did not find {files} unchanged files: {last}")


def spread(numbers: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(numbers):.2f} ({min(numbers):.2f}-{max(numbers):.2f})"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time scans over unchanged files.")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folders", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5, help="how often each command is timed")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the files are put for the time being")
    options = parser.parse_args()
    if options.files < 1 or options.folders < 1 or options.runs < 1:
        parser.error("--files, --folders and --runs must be at least 1")
    return options


def run(options: argparse.Namespace, scratch: Path) -> None:
    """Time everything and print it.

    Raises:
        MeasureError: a command fails, or doesn't do what is timed.
    """
    tree, snapshot = scratch / "tree", scratch / "snapshot"
    lay_out(tree, options.files, options.folders)
    scanner = Hashscan(scratch)
    scanner.prepare()
    scan = [*HASHSCAN, "scan", str(tree), "--list", "bench", "--foreground", "--state", str(scanner.state)]
    scan += ["--report", str(scanner.report), "--reread", "0%"]
    tar = ["tar", "--create", "--file", "/dev/null", "--directory", str(tree)]
    time.sleep(YOUNG_SECONDS)
    first = measure.run("first scan", scan, scratch, {})
    measure.run("first tar", [*tar, "--listed-incremental", str(snapshot), "."], scratch, {})
    time.sleep(YOUNG_SECONDS)
    used = scratch / "snapshot-used"
    commands = {
        "find": ["find", str(tree), "-printf", r"%i %s %T@ %C@\n"],
        "second scan": scan,
        "tar": [*tar, "--listed-incremental", str(used), "."],
    }
    samples: dict[str, list[measure.Sample]] = {name: [] for name in commands}
    for number in range(options.runs):
        for name, command in commands.items():
            scanner.report.unlink(missing_ok=True)
            shutil.copyfile(snapshot, used)
            samples[name].append(measure.run(name, command, scratch, {}))
            if name == "second scan":
                check(scanner.report, options.files)
            print(f"run {number + 1}: {name} {samples[name][-1].wall:.2f} s", file=sys.stderr)
    scanner.report.unlink(missing_ok=True)
    watch = Watch()
    measure.run("memory", scan, scratch, {})
    scanner.report.unlink(missing_ok=True)
    opened = opened_files(scan, tree, scratch) if shutil.which("strace") else None
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    version = subprocess.run(["tar", "--version"], capture_output=True, text=True, check=True)
    print(f"{options.files} files in {options.folders} folders; {version.stdout.splitlines()[0]}")
    print(f"first scan: {first.wall:.2f} s, CPU {first.cpu:.2f} s")
    for name, found in samples.items():
        walls, cpus = [sample.wall for sample in found], [sample.cpu for sample in found]
        ratios = [a.wall / b.wall for a, b in zip(found, samples["find"], strict=True)]
        of_cpu = [a.cpu / b.cpu for a, b in zip(found, samples["find"], strict=True)]
        print(
            f"{name:12}  wall s {spread(walls)}, CPU s {spread(cpus)}; "
            f"to find: wall {spread(ratios)}, CPU {spread(of_cpu)}"
        )
    print(f"target: the scan's wall time at most {TARGET} of find's")
    print(f"memory of all processes, MB: {watch.most / 1e6:.0f}  target {MEMORY_TARGET / 1e6:.0f}")
    print(f"files opened: {'strace is not there' if opened is None else opened}  target 0")


def main() -> int:
    """Make the tree, time everything, take the tree away."""
    options = arguments()
    try:
        measure.adopt_orphans()
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="hashscan-bench-", dir=options.work)
            )
            run(options, Path(folder).resolve())
    except measure.MeasureError as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
