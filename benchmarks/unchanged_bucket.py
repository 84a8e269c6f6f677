"""Time sweeps of a bucket in which nothing has changed since it was swept first.

    python benchmarks/unchanged_bucket.py [--objects N] [--size BYTES] [--again N] [--work DIR]

Run it with the Python that has hashscan with its extra `s3`, in the source tree: the bucket is served on
loopback by tests/object_server.py, which counts what it is asked. It prints of each sweep how long it took,
what CPU time, how many objects were listed and downloaded, and what memory all its processes took together
at most; and what the state takes on the disk. The server works on the same processors.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

import measure
from objects import CREDENTIALS, Watch, served
from sweep import HASHSCAN, machine


def counted(url: str) -> dict[str, int]:
    """Return the number of requests that the server has received so far, by kind."""
    with urllib.request.urlopen(f"{url}/statistics") as answer:
        found: dict[str, int] = json.load(answer)
        return found


def disk_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time sweeps of a bucket in which nothing has changed.")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=2000, help="bytes of each")
    parser.add_argument("--again", type=int, default=3, help="sweeps after the first")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the state is put for the time being")
    options = parser.parse_args()
    if min(options.objects, options.size, options.again) <= 0:
        parser.error("--objects, --size and --again must be more than 0")
    return options


def main() -> int:
    """Sweep, print; exits 1 where something was downloaded again."""
    options = arguments()
    about = ", ".join(f"{key} {value}" for key, value in machine().items())
    print(f"{about}\n\n{options.objects:,} objects of {options.size:,} bytes\n")
    columns = ("sweep", "seconds", "CPU s", "lists", "GETs", "unchanged", "memory, MB")
    print(f"{columns[0]:>8}" + "".join(f"{name:>12}" for name in columns[1:]), flush=True)
    downloaded = 0
    with (
        tempfile.TemporaryDirectory(prefix="hashscan-bench-", dir=options.work) as folder,
        served(0.0, "--objects", f"a/:{options.objects}:{options.size}") as url,
    ):
        measure.adopt_orphans()
        state, report, watch = Path(folder) / "state", Path(folder) / "report.jsonl", Watch()
        command = [
            *(*HASHSCAN, "scan", "s3://bucket", "--endpoint", url, "--list", "demo", "--foreground"),
            *("--state", os.fspath(state), "--report", os.fspath(report), "--reread", "0%"),
        ]
        before = counted(url)
        for number in range(1, options.again + 2):
            watch.most = 0
            try:
                sample = measure.run("hashscan", command, Path(folder), CREDENTIALS)
            except measure.MeasureError as trouble:
                print(f"error: {trouble}", file=sys.stderr)
                return 1
            now = counted(url)
            gets = now["reads"] - before.get("reads", 0)
            unchanged = json.loads(report.read_text().splitlines()[-1])["unchanged"]
            downloaded += gets if number > 1 else 0
            print(
                f"{number:8}{sample.wall:12.1f}{sample.cpu:12.1f}{now['lists'] - before.get('lists', 0):12,}"
                f"{gets:12,}{unchanged:12,}{watch.most / 1e6:12.0f}",
                flush=True,
            )
            before = now
        print(f"\nthe state takes {disk_bytes(state / 'sweep') / options.objects:.0f} bytes an object")
    return 1 if downloaded else 0


if __name__ == "__main__":
    sys.exit(main())
