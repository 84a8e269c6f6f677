"""Time scans of a bucket beside plain downloads of the same objects.

    python -m benchmarks.buckets.objects [--objects N] [--size BYTES] [--far N] [--latency S]
                                        [--runs R] [--json FILE]

Run it with the Python that has hashscan with its extra `s3`, in the source tree: the bucket is served on
loopback by tests/object_server.py. It times, each as a command of its own, start-up included:

- hashscan with two workers and 32 downloads each, over 20,000 objects of 30 kB, against 100,000 random
  entries; and what memory all its processes take together at most (proportional set size);
- obstore alone over the same objects with 64 downloads at a time, and a loop that computes md5, sha1 and
  sha256 of each;
- both over 2,000 such objects with 50 ms before every answer, obstore one at a time.

The runs are interleaved; medians are printed, with the least and the most, and the ratios with their targets.
The server works on the same processors: its CPU time is what is told as others'.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.lib import measure, results
from benchmarks.lib.build import announce_build
from benchmarks.lib.corpus import FileSet
from benchmarks.lib.memory import Watch
from benchmarks.lib.results import Ratio
from benchmarks.lib.scans import ENTRIES, Contender, Hashscan, machine, run_all

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "tests" / "object_server.py"
LOOP = str(Path(__file__).with_name("object_loop.py"))
WORKERS, IN_FLIGHT = 2, 32
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark"}
MEMORY_TARGET = 500e6

RATIOS = (
    Ratio(
        "hashscan wall / obstore and a loop wall",
        *("hashscan-2", results.wall, "obstore-64", results.wall),
        most=1 / 0.8,
    ),
    Ratio(
        "  the same, start-ups left out",
        *("hashscan-2", results.loop_per_file, "obstore-64", results.loop_per_file),
        most=1 / 0.8,
    ),
    Ratio(
        "hashscan CPU / obstore and a loop CPU",
        *("hashscan-2", results.cpu, "obstore-64", results.cpu),
    ),
    Ratio(
        "far away: hashscan wall / obstore one at a time wall",
        *("hashscan-2 far", results.wall, "obstore-1 far", results.wall),
        most=1 / 20,
    ),
)


@contextmanager
def served(latency: float, *contents: str) -> Iterator[str]:
    """Start the server with a bucket, and yield its URL.

    Args:
        latency: seconds before every answer.
        contents: what is in it, as the server's own options say.

    To be started before orphans are adopted: as the child of a process that ends it is nobody's here, or
    every command would be found to have left it behind.
    """
    command = [sys.executable, str(SERVER), *contents, "--latency", str(latency), "--until-eof"]
    start = ["sh", "-c", 'exec 3<&0; "$@" <&3 3<&- &', "sh", *command]
    with subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.wait()
        yield process.stdout.readline().strip()
        process.stdin.close()


def hashscan(scanner: Hashscan, url: str, over: FileSet, watch: Watch) -> Contender:
    """Return a contender for a scan of the bucket; its start-up is timed with a single object just before."""
    start_up = 0.0

    def command(target: str) -> list[str]:
        arguments = scanner.contender(WORKERS, over).command
        arguments[arguments.index(str(over.folder))] = target
        return [*arguments, "--endpoint", url, "--concurrency", str(IN_FLIGHT)]

    def prepare() -> None:
        nonlocal start_up
        scanner.prepare()
        single = command("s3://bucket/customers/000000")
        start_up = measure.run("one object", single, scanner.report.parent, CREDENTIALS).wall
        scanner.prepare()
        watch.most = 0

    def check(sample: measure.Sample) -> dict[str, Any]:
        del sample
        last = json.loads(scanner.report.read_text().splitlines()[-1])
        if last.get("verdicts", {}).get("clean") != over.files:
            raise measure.MeasureError(f"the scan did not check all {over.files} objects: {last}")
        return {
            "start-up": start_up,
            "memory": watch.most,
            "sandbox": last.get("sandbox", {}).get("level"),
        }

    return Contender(command("s3://bucket"), over, check, CREDENTIALS, prepare)


def obstore(url: str, at_a_time: int, over: FileSet) -> Contender:
    """Return a contender that only downloads and computes digests."""

    def check(sample: measure.Sample) -> dict[str, Any]:
        said = json.loads(sample.output)
        if said["files"] != over.files:
            raise measure.MeasureError(f"obstore downloaded {said['files']} of {over.files} objects")
        return {"start-up": sample.wall - said["seconds"]}

    return Contender([sys.executable, LOOP, url, str(at_a_time)], over, check)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time scans of a bucket.")
    parser.add_argument("--objects", type=int, default=20_000, help="how many objects there are nearby")
    parser.add_argument("--size", type=int, default=30_000, metavar="BYTES", help="how large each is")
    parser.add_argument("--far", type=int, default=2_000, help="how many there are far away; 0 leaves it out")
    parser.add_argument("--latency", type=float, default=0.05, metavar="S", help="how far, in seconds")
    parser.add_argument("--runs", type=int, default=3, help="how often the nearby ones are timed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there too")
    options = parser.parse_args()
    if options.objects < 1 or options.far < 0 or options.runs < 1:
        parser.error("--objects and --runs must be at least 1, --far at least 0")
    return options


def main() -> int:
    """Serve, time everything, print the table."""
    options = arguments()
    try:
        with (
            served(0.0, f"--objects=customers/:{options.objects}:{options.size}") as near_url,
            served(options.latency, f"--objects=customers/:{options.far}:{options.size}") as far_url,
            tempfile.TemporaryDirectory(prefix="hashscan-bench-") as folder,
        ):
            measure.adopt_orphans()
            scratch = Path(folder)
            scanner, watch = Hashscan(scratch), Watch()

            def over(files: int) -> FileSet:
                return FileSet(scratch / "bucket", scratch / "none", files, files * options.size)

            near, far = over(options.objects), over(options.far)
            field = {
                "hashscan-2": hashscan(scanner, near_url, near, watch),
                "obstore-64": obstore(near_url, WORKERS * IN_FLIGHT, near),
            }
            found = run_all(field, scratch, options.runs)
            if options.far:
                field = {
                    "hashscan-2 far": hashscan(scanner, far_url, far, watch),
                    "obstore-1 far": obstore(far_url, 1, far),
                }
                # The second takes its time and hardly varies.
                found |= run_all(field, scratch, 1)
    except measure.MeasureError as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    about = {**machine(), "runs": options.runs, "entries": ENTRIES}
    print(results.table(about, found, RATIOS))
    most = max(note["memory"] for note in found["hashscan-2"].notes)
    met = "met" if most <= MEMORY_TARGET else "missed"
    print(f"memory of all processes, MB: {most / 1e6:.0f}  target {MEMORY_TARGET / 1e6:.0f}: {met}")
    if options.json:
        report = {**results.as_json(about, found, RATIOS), "memory": most}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    announce_build()
    sys.exit(main())
