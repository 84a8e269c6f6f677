"""Time the import of a large VICS file, beside parsers that only read it.

    python benchmarks/imports.py [--bytes SIZE] [--mix NAME]... [--runs N] [--work DIR] [--json FILE]

Run it with the Python that has hashscan. It generates a file of each mix:

- shared: what units exchange. Of ten media three are of category 1, one of 2, one of 3, four of 0 and one of
  4; all have MD5 and SHA1, and eight a PhotoDNA;
- worst: every medium is of category 1 and has all three, so that nothing is passed over and each medium is
  three entries.

Then it runs, each in a process of its own, in turn:

- `hashscan lists import`: from the file to a list in use with its index, synced;
- ijson alone: every medium is made and let go;
- json.loads of the whole file.

It prints media a second by wall clock, CPU microseconds a medium, and peak memory as the system counts it
(ru_maxrss, with mapped files). Medians of the runs.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import measure

CONTEXT = "http://github.com/ICMEC/ProjectVic/DataModels/2.0.xml/US/#Media"
MIXES = {"shared": ((1, 1, 1, 2, 3, 0, 0, 0, 0, 4), 8), "worst": ((1,), 10)}
"""Categories in turn, and how many media of ten have a PhotoDNA."""
PEERS = {
    "ijson alone": (
        "import ijson, sys\nprint(sum(1 for _ in ijson.items(open(sys.argv[1], 'rb'), 'value.item')))"
    ),
    "json.loads": "import json, sys\nprint(len(json.loads(open(sys.argv[1], 'rb').read())['value']))",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One process that was timed."""

    name: str
    mix: str
    media: int
    wall: float
    cpu: float
    """Both in seconds."""
    peak: int
    """Bytes."""


def media(mix: str, size: int) -> Iterator[str]:
    """Yield the pieces of a document of about `size` bytes: its beginning, one for each medium, its end."""
    categories, pictures = MIXES[mix]
    rng = random.Random(mix)
    written = 0
    number = 0
    yield f'{{"@odata.context":"{CONTEXT}","value":['
    while written < size:
        digests = rng.randbytes(180)
        md5, sha1 = digests[:16].hex().upper(), digests[16:36].hex().upper()
        photodna = base64.b64encode(digests[36:]).decode()
        medium = {
            "MediaID": number + 1,
            "Category": categories[number % len(categories)],
            "MediaSize": 20_000 + number % 4_000_000,
            "MD5": md5,
            "SHA1": sha1,
            **({"PhotoDNA": photodna} if number // len(categories) % 10 < pictures else {}),
            "VictimIdentified": "False",
            "OffenderIdentified": "False",
            "IsDistributed": "True",
            "Series": "",
            "Comments": "",
            "Tags": "",
            "MediaFiles": [
                {
                    "MD5": md5,
                    "FileName": f"IMG_{number:07}.jpg",
                    "FilePath": f"Users/x/Pictures/{number % 977}",
                }
            ],
        }
        text = f"{',' if number else ''}{json.dumps(medium, separators=(',', ':'))}"
        number += 1
        written += len(text)
        yield text
    yield "]}"


def generate(path: Path, mix: str, size: int) -> int:
    """Write a document and say how many media it has."""
    count = -2
    with path.open("w", encoding="ascii") as file:
        for text in media(mix, size):
            file.write(text)
            count += 1
    return count


def timed(name: str, mix: str, count: int, command: list[str]) -> Run:
    """Run one command in a process of its own.

    Raises:
        MeasureError: it failed.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=measure.environment({})
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    if process.returncode:
        raise measure.MeasureError(f"{name}: exit code {process.returncode}: {said[-2000:]}")
    return Run(name, mix, count, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def commands(file: Path, state: Path) -> dict[str, list[str]]:
    """Return the commands to run on a file, by name."""
    own = [sys.executable, "-m", "hashscan", "lists", "import", str(file), "--format", "vics"]
    return {
        "hashscan lists import": [*own, "--name", "x", "--state", str(state)],
        **{name: [sys.executable, "-c", code, str(file)] for name, code in PEERS.items()},
    }


def table(runs: list[Run]) -> str:
    """Return a table with a row for each command and mix: the medians of its runs."""
    lines = ["| mix | command | media/s | CPU µs a medium | peak MB |", "| --- | --- | ---: | ---: | ---: |"]
    for mix, name in dict.fromkeys((run.mix, run.name) for run in runs):
        same = [run for run in runs if (run.mix, run.name) == (mix, name)]
        rate = statistics.median(run.media / run.wall for run in same)
        cpu = statistics.median(run.cpu / run.media for run in same) * 1e6
        peak = statistics.median(run.peak for run in same) / 1e6
        lines.append(f"| {mix} | {name} | {rate:,.0f} | {cpu:.1f} | {peak:,.0f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bytes", type=int, default=1_000_000_000, help="of each file")
    parser.add_argument("--mix", action="append", choices=list(MIXES), help="repeatable; all by default")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--work", type=Path, help="where the files are written; else the system's folder")
    parser.add_argument("--json", type=Path, help="write all runs there")
    options = parser.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        for mix in options.mix or MIXES:
            file, state = Path(scratch, "vics.json"), Path(scratch, "state")
            count = generate(file, mix, options.bytes)
            print(f"{mix}: {count:,} media, {file.stat().st_size:,} bytes", file=sys.stderr)
            for _ in range(options.runs):
                for name, command in commands(file, state).items():
                    runs.append(timed(name, mix, count, command))
                shutil.rmtree(state)
    print(table(runs))
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
