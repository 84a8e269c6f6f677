"""Measure a scan of archives, beside clamscan with the same hashes, and beside bsdtar with a loop of digests.

    python -m benchmarks.archives.speed [--archives N] [--members N] [--size BYTES] [--sets NAME ...]
                                      [--runs N] [--work DIR]

The archives are drawn by code: ZIP, tar.gz and tar.xz in turn, each with as many members as asked for. There
are two sets: texts of 10 kB alone (--size), and texts with a picture of 320x240 pixels as every fourth
member. A list has the sha256 of one member in a tenth of the archives. Each way has one process at a time:

- hashscan with one worker opens the archives, decodes the pictures and matches PDQ, too: of all variants,
  and of the second set once of the plain pictures only.
- clamscan has the same digests as signatures (.hsb), with limits that skip nothing here.
- bsdtar unpacks one archive after another to its standard output (-xOf), and one process digests it by md5,
  sha1 and sha256. For pictures it does less than hashscan, which decodes them.

Times are those of all processes, user and system, and the ways take turns. A program that is not installed
is left out. The start-up of hashscan, by scans of one archive with a short text, so that all that opens
archives is loaded, is printed besides; the ratio to bsdtar is
the median of those of each round, with and without it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import shutil
import statistics
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.lib import measure
from benchmarks.lib.build import announce_build

HASHSCAN = [sys.executable, "-m", "hashscan"]
CLAMSCAN = [
    "clamscan",
    "--infected",
    "--recursive",
    "--max-filesize=2000M",
    "--max-scansize=2000M",
]
CLAMSCAN += ["--max-files=1000000", "--max-recursion=100"]
START_UP, BSDTAR = "hashscan, start-up", "bsdtar -xOf, digests"
SETS = ("texts", "mixed")
LOOP = """
import hashlib, subprocess, sys
for path in sys.argv[1:]:
    running = [hashlib.new(name) for name in ("md5", "sha1", "sha256")]
    with subprocess.Popen(["bsdtar", "-xOf", path], stdout=subprocess.PIPE) as unpacking:
        while piece := unpacking.stdout.read(1 << 18):
            for one in running:
                one.update(piece)
    assert unpacking.returncode == 0, path
"""


def picture(number: int, width: int = 320, height: int = 240) -> bytes:
    """Return a drawn JPEG, another one for each number."""
    chance = random.Random(number)
    image = Image.new("RGB", (width, height), tuple(chance.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y, size = chance.randrange(width), chance.randrange(height), chance.randrange(5, height // 3)
        draw.ellipse((x, y, x + size, y + size), tuple(chance.randrange(256) for _ in range(3)))
    made = io.BytesIO()
    image.save(made, "JPEG", quality=85)
    return made.getvalue()


_WORDS = [str(number) for number in random.Random(2).choices(range(10_000), k=20_000)]


def text(number: int, size: int) -> bytes:
    """Return a text of about this size in bytes, another one for each number."""
    chance, made = random.Random(number), [str(number)]
    for _ in range(max(1, size // 10_000)):
        start = chance.randrange(len(_WORDS) - 2000)
        made += _WORDS[start : start + 2000]
    return " ".join(made).encode()


def members(archive: int, count: int, size: int, *, pictures: bool) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of an archive's members."""
    for number in range(count):
        each = archive * count + number
        if number % 4 or not pictures:
            yield f"dir{number % 7}/{number}.txt", text(each, size)
        else:
            yield f"dir{number % 7}/{number}.jpg", picture(each)


def write(path: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write one archive."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in contents:
                made.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return
    with tarfile.open(path, f"w:{path.suffix[1:]}") as packed:  # type: ignore[call-overload]
        for name, content in contents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))


def make(folder: Path, archives: int, count: int, size: int, *, pictures: bool) -> list[bytes]:
    """Write all archives, and return the listed members."""
    folder.mkdir()
    for number in range(archives):
        suffix = (".zip", ".tar.gz", ".tar.xz")[number % 3]
        write(folder / f"{number}{suffix}", members(number, count, size, pictures=pictures))
    return [next(members(number, count, size, pictures=pictures))[1] for number in range(0, archives, 10)]


def scan_command(folder: Path, work: Path, state: Path) -> list[str]:
    """Return the command of a scan that reads every file."""
    scan = [*HASHSCAN, "scan", str(folder), "--foreground", "--workers", "1", "--state", str(state)]
    return [*scan, "--reread", "100%", "--report", str(work / "report.jsonl")]


def import_digests(listed: list[bytes], work: Path, state: Path) -> None:
    """Import a list of the sha256 of contents."""
    table = work / "list.csv"
    rows = (f"e{n},sha256,{hashlib.sha256(content).hexdigest()},A1" for n, content in enumerate(listed))
    table.write_text("\n".join(("id,algorithm,value,category", *rows)) + "\n")
    command = [*HASHSCAN, "lists", "import", str(table), "--name", "b", "--state", str(state)]
    measure.run("import", command, work, {})


def contenders(work: Path, folder: Path, listed: list[bytes]) -> Iterator[tuple[str, list[str], int]]:
    """Yield the name, the command and the expected exit code of each way."""
    state = work / f"state-{folder.name}"
    import_digests(listed, work, state)
    yield "hashscan", scan_command(folder, work, state), 1
    if folder.name == "mixed":
        plain = [*scan_command(folder, work, state), "--skip-variant", "all"]
        yield "hashscan, plain pictures only", plain, 1
    small = work / "small"
    small.mkdir(exist_ok=True)
    write(small / "archive.zip", [("text", b"text")])
    yield START_UP, scan_command(small, work, state), 0
    if shutil.which("clamscan"):
        signatures = work / f"{folder.name}.hsb"
        write_signatures(signatures, listed)
        yield "clamscan", [*CLAMSCAN, f"--database={signatures}", str(folder)], 1
    if shutil.which("bsdtar"):
        paths = sorted(str(path) for path in folder.iterdir())
        yield BSDTAR, [sys.executable, "-c", LOOP, *paths], 0


def write_signatures(path: Path, listed: list[bytes]) -> None:
    """Write the digests of contents as signatures of ClamAV."""
    lines = (f"{hashlib.sha256(one).hexdigest()}:{len(one)}:e{n}" for n, one in enumerate(listed))
    path.write_text("\n".join(lines) + "\n")


def found(report: Path) -> int:
    """Return the number of archives with a match."""
    with report.open("rb") as lines:
        return sum(json.loads(line).get("verdict") == "match" for line in lines)


def ratio_text(times: dict[str, list[float]], *, without_start: bool) -> str:
    """Return the ratio of the processor time of hashscan to that of bsdtar with digests."""
    ratios = [
        (ours - (start if without_start else 0.0)) / theirs
        for ours, start, theirs in zip(times["hashscan"], times[START_UP], times[BSDTAR], strict=True)
    ]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def run(work: Path, name: str, options: argparse.Namespace) -> None:
    """Time one set of archives, and print a table.

    Raises:
        MeasureError: a command fails.
    """
    folder = work / name
    archives, count = options.archives, options.members
    listed = make(folder, archives, count, options.size, pictures=name == "mixed")
    ways = list(contenders(work, folder, listed))
    times: dict[str, list[float]] = {way: [] for way, _, _ in ways}
    matched = 0
    for _ in range(options.runs):
        for way, command, expected in ways:
            times[way].append(measure.run(way, command, work, {}, expected).cpu)
            if way == "hashscan":
                matched = found(work / "report.jsonl")
    print(f"{name}: {archives} archives of {count} members, {matched} of {len(listed)} listed ones found")
    for way, seconds in times.items():
        spread = f"({min(seconds):.2f}-{max(seconds):.2f})"
        print(f"{way:32} {statistics.median(seconds):8.2f} s of processor time {spread}")
    if BSDTAR in times:
        whole, work_alone = (ratio_text(times, without_start=without) for without in (False, True))
        print(f"hashscan to bsdtar: {whole}, without start-up {work_alone}", flush=True)


def main() -> None:
    """Print a table of processor times for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archives", type=int, default=300)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--size", type=int, default=10_000, help="bytes of a text")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    measure.adopt_orphans()
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        for name in options.sets:
            run(Path(scratch), name, options)


if __name__ == "__main__":
    announce_build()
    main()
