"""Measure scans of archives that have not changed, and of a list that has gained entries for their members.

    python -m benchmarks.archives.unchanged [--archives N] [--members N] [--workers N] [--work DIR]

The archives are drawn by code, ZIP and tar.gz in turn, a hundred in a folder: two of a hundred members are
pictures of 160x120 pixels, the others short texts that differ. They are scanned with a list that matches
nothing, and again with `--reread 0%`. Then the list gains a sha256 or md5 of a text in some archives, and the
PDQ of a picture in others, and `scan --known` must find exactly these. Printed are processor and elapsed
time, the most memory of all processes together, and the size of the state for each member. One more scan runs
under strace, which counts the files that it opens beneath the folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.archives.speed import picture, write
from benchmarks.lib import measure
from benchmarks.lib.build import announce_build
from benchmarks.lib.memory import Watch
from benchmarks.lib.scans import HASHSCAN, machine
from benchmarks.scan.unchanged import YOUNG_SECONDS, opened_files

PICTURE_EVERY = 50
SIZE = 160, 120
EVERY = 97
"""One archive of so many has a member that the list gains."""


def members(archive: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of an archive's members."""
    for number in range(archive * count, (archive + 1) * count):
        if number % PICTURE_EVERY == 0:
            yield f"pictures/{number}.jpg", picture(number, *SIZE)
        else:
            yield f"texts/{number}.txt", text(number)


def text(number: int) -> bytes:
    """Return a short text, another one for each number."""
    return f"member {number}: {random.Random(number).randbytes(60).hex()}\n".encode()


def make(folder: Path, archives: int, count: int) -> None:
    """Write all archives."""
    for number in range(archives):
        place = folder / f"{number // 100:04}"
        place.mkdir(exist_ok=True)
        write(place / f"{number}{('.zip', '.tar.gz')[number % 2]}", members(number, count))


def gained(scratch: Path, archives: int, count: int) -> Iterator[tuple[int, str]]:
    """Yield the number of each archive with a listed member, and the entry's line."""
    drawn = scratch / "drawn"
    drawn.mkdir()
    for turn, archive in enumerate(range(5, archives, EVERY)):
        first = archive * count
        if turn % 3 == 2:
            (drawn / f"{archive}.jpg").write_bytes(picture(first - first % -PICTURE_EVERY, *SIZE))
            continue
        name = ("sha256", "md5")[turn % 3]
        yield archive, f"{archive}-{name},{name},{hashlib.new(name, text(first + 1)).hexdigest()},A1"
    if not any(drawn.iterdir()):
        return
    hashed = scratch / "drawn.csv"
    command = [*HASHSCAN, "publish", "hash", str(drawn), "--category", "A1"]
    command += ["--algorithm", "pdq", "--augment", "none"]
    measure.run("publish hash", [*command, "--output", str(hashed)], scratch, {})
    values = hashed.read_text().splitlines()[1:]
    for path, line in zip(sorted(drawn.iterdir()), values, strict=True):
        yield int(path.stem), line


def import_list(state: Path, scratch: Path, lines: list[str]) -> None:
    """Import a list of these entries and one that matches nothing."""
    table = scratch / "list.csv"
    nothing = f"none,sha256,{'00' * 32},A1"
    table.write_text("\n".join(("id,algorithm,value,category", nothing, *lines)) + "\n")
    command = [*HASHSCAN, "lists", "import", str(table), "--name", "b", "--state", str(state)]
    measure.run("import", command, scratch, {})


def matched(report: Path) -> set[int]:
    """Return the numbers of the archives with a match of a member."""
    with report.open("rb") as lines:
        # For review is a match that no second decoder has confirmed yet.
        found = [line for line in map(json.loads, lines) if line.get("verdict") in {"match", "review"}]
    return {int(Path(line["path"]).name.partition(".")[0]) for line in found if line["matches"][0]["member"]}


def timed(name: str, command: list[str], scratch: Path, report: Path, expected: int = 0) -> dict[str, object]:
    """Run a scan, print what it took, and return the summary of its report."""
    report.unlink(missing_ok=True)
    watch = Watch()
    sample = measure.run(name, [*command, "--report", str(report)], scratch, {}, expected)
    summary: dict[str, object] = json.loads(report.read_text().splitlines()[-1])
    print(
        f"{name:12} {sample.wall:8.1f} s, {sample.cpu:8.1f} s of processor time, "
        f"{watch.most / 1e6:.0f} MB, of {summary['files']} files {summary['unchanged']} unchanged",
        flush=True,
    )
    return summary


def run(options: argparse.Namespace, scratch: Path) -> None:
    """Time everything and print it.

    Raises:
        MeasureError: a command fails, or does not find what it should.
    """
    folder, state, report = scratch / "tree", scratch / "state", scratch / "report.jsonl"
    folder.mkdir()
    make(folder, options.archives, options.members)
    import_list(state, scratch, [])
    command = [*HASHSCAN, "scan", "--foreground", "--state", str(state), "--list", "b"]
    scan = [*command, str(folder), "--workers", str(options.workers), "--reread", "0%"]
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print(f"{options.archives} archives of {options.members} members")
    time.sleep(YOUNG_SECONDS)
    timed("first scan", scan, scratch, report)
    size = sum(path.stat().st_size for path in (state / "scans").rglob("*") if path.is_file())
    print(f"state {size / 1e6:.1f} MB, {size / options.archives / options.members:.0f} bytes for each member")
    summary = timed("second scan", scan, scratch, report)
    if summary["unchanged"] != options.archives:
        raise measure.MeasureError(f"{summary['unchanged']} of {options.archives} are unchanged")
    if shutil.which("strace"):
        print(f"files opened by a further scan: {opened_files(scan, folder, scratch)}")
    wanted = dict(gained(scratch, options.archives, options.members))
    import_list(state, scratch, list(wanted.values()))
    timed("scan --known", [*command, "--known", "--fail-on", "review"], scratch, report, 1)
    found = matched(report)
    print(f"{len(found & wanted.keys())} of {len(wanted)} found, {len(found - wanted.keys())} others")
    if found != wanted.keys():
        raise measure.MeasureError("other archives were found")


def main() -> int:
    """Make the archives, time everything, remove them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archives", type=int, default=10_000)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    try:
        measure.adopt_orphans()
        with tempfile.TemporaryDirectory(prefix="hashscan-bench-", dir=options.work) as scratch:
            run(options, Path(scratch).resolve())
    except measure.MeasureError as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
