"""Measure a scan of archives, beside clamscan with the same hashes, and beside bsdtar with a loop of digests.

    python -m benchmarks.archives.speed [--archives N] [--members N] [--runs N] [--work DIR]

The archives are drawn by code: ZIP, tar.gz and tar.xz in turn, each with as many members as asked for: three
of four are text, the fourth is a picture of 320x240 pixels. A list has the sha256 of one picture in a tenth
of the archives. Each way has one process at a time:

- hashscan with one worker opens the archives, decodes the pictures and matches PDQ, too: of all variants,
  and once of the plain pictures only.
- clamscan has the same digests as signatures (.hsb), with limits that skip nothing here.
- bsdtar unpacks one archive after another to its standard output (-xOf), and one process digests it by md5,
  sha1 and sha256.

Times are those of all processes, user and system. A program that is not installed is left out.
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

HASHSCAN = [sys.executable, "-m", "hashscan"]
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


def members(archive: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of an archive's members."""
    for number in range(count):
        chance = random.Random(archive * count + number)
        if number % 4:
            words = " ".join(str(chance.randrange(10_000)) for _ in range(2000))
            yield f"dir{number % 7}/{number}.txt", words.encode()
        else:
            yield f"dir{number % 7}/{number}.jpg", picture(archive * count + number)


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


def make(folder: Path, archives: int, count: int) -> list[bytes]:
    """Write all archives, and return the listed pictures."""
    for number in range(archives):
        suffix = (".zip", ".tar.gz", ".tar.xz")[number % 3]
        write(folder / f"{number}{suffix}", members(number, count))
    return [picture(number * count) for number in range(0, archives, 10)]


def contenders(work: Path, folder: Path, listed: list[bytes]) -> Iterator[tuple[str, list[str], int]]:
    """Yield the name, the command and the expected exit code of each way."""
    table, state = work / "list.csv", work / "state"
    rows = (f"e{n},sha256,{hashlib.sha256(content).hexdigest()},A1" for n, content in enumerate(listed))
    table.write_text("\n".join(("id,algorithm,value,category", *rows)) + "\n")
    measure.run(
        "import", [*HASHSCAN, "lists", "import", str(table), "--name", "b", "--state", str(state)], work, {}
    )
    scan = [*HASHSCAN, "scan", str(folder), "--foreground", "--workers", "1", "--state", str(state)]
    scan += ["--reread", "100%", "--report", str(work / "report.jsonl")]
    yield "hashscan", scan, 1
    yield "hashscan, plain pictures only", [*scan, "--skip-variant", "all"], 1
    if shutil.which("clamscan"):
        signatures = work / "listed.hsb"
        lines = (f"{hashlib.sha256(one).hexdigest()}:{len(one)}:e{n}" for n, one in enumerate(listed))
        signatures.write_text("\n".join(lines) + "\n")
        limits = ["--max-filesize=2000M", "--max-scansize=2000M", "--max-files=1000000"]
        command = ["clamscan", "--quiet", "--infected", "--recursive", f"--database={signatures}", *limits]
        yield "clamscan", [*command, str(folder)], 1
    if shutil.which("bsdtar"):
        paths = sorted(str(path) for path in folder.iterdir())
        yield "bsdtar -xOf, digests", [sys.executable, "-c", LOOP, *paths], 0


def found(report: Path) -> int:
    """Return the number of archives with a match."""
    with report.open("rb") as lines:
        return sum(json.loads(line).get("verdict") == "match" for line in lines)


def main() -> None:
    """Print a table of processor times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--archives", type=int, default=300)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    measure.adopt_orphans()
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        work, folder = Path(scratch), Path(scratch) / "archives"
        folder.mkdir()
        listed = make(folder, options.archives, options.members)
        ways = list(contenders(work, folder, listed))
        times: dict[str, list[float]] = {name: [] for name, _, _ in ways}
        for _ in range(options.runs):
            for name, command, expected in ways:
                times[name].append(measure.run(name, command, work, {}, expected).cpu)
        print(f"{found(work / 'report.jsonl')} of {len(listed)} archives with a listed picture found")
        for name, seconds in times.items():
            print(f"{name:32} {statistics.median(seconds):8.2f} s of processor time")


if __name__ == "__main__":
    main()
