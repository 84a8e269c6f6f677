"""Time a scan that asks a matching service beside one with the same list on this machine.

    python -m benchmarks.scan.matching_service --runs 3

Pictures are drawn in the folder for temporary files; `--work` names another. The service runs in a process of
its own on this machine, speaks hashscan's interface, and takes a given time for each request, in which it
sleeps. Both scans begin without a state, in turn. Printed are the median times, and the median of the ratios
with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from benchmarks.lib.build import announce_build
from hashscan.matching_service_api import CheckAnswer, CheckMatch, CheckRequest, Info

PICTURES, WIDTH, HEIGHT = 10_000, 320, 240
PER_FOLDER = 500
LISTED = 100
"""Every hundredth picture is on the list, by its sha256."""
DIGESTS = 4
"""Digests of a picture that a service is asked about: sha256, sha1, md5 and PDQ."""
KEY = "benchmark"


def draw(folder: Path, number: int) -> Iterator[str]:
    """Draw pictures, and yield the sha256 of those that are listed."""
    rng = np.random.default_rng(1)
    for place in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8), "RGB")
        stream = io.BytesIO()
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=85)
        path = folder / f"{place // PER_FOLDER:03}" / f"{place:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())
        if place % LISTED == 0:
            yield hashlib.sha256(stream.getvalue()).hexdigest()


def serve(entries: Path, seconds: float, digests_max: int) -> None:
    """Run the service until standard input ends; print its port first."""
    listed = {row["value"]: row["id"] for row in csv.DictReader(entries.read_text().splitlines())}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *_: object) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            self._send(Info("1", ["sha256", "sha1", "md5", "pdq"], digests_max))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            digests = msgspec.json.decode(body, type=CheckRequest).digests
            found = [
                CheckMatch(place, listed[digest.value], "A1")
                for place, digest in enumerate(digests)
                if digest.value in listed
            ]
            self._send(CheckAnswer("1", found))

        def _send(self, answer: msgspec.Struct) -> None:
            time.sleep(seconds)
            data = msgspec.json.encode(answer)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextmanager
def running(entries: Path, seconds: float, digests_max: int) -> Iterator[str]:
    """Yield the address of a service."""
    command = [sys.executable, "-m", "benchmarks.scan.matching_service", "--serve", str(entries)]
    options = ["--seconds", str(seconds), "--digests", str(digests_max)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/"
        finally:
            process.kill()


def hashscan(state: Path, *arguments: object) -> None:
    """Run a command; its exit code is 0 or 1.

    Raises:
        SystemExit: it is another one.
    """
    environment = {**os.environ, "HASHSCAN_STATE": str(state), "HASHSCAN_BACKGROUND": "no"}
    done = subprocess.run(
        [sys.executable, "-m", "hashscan", *map(str, arguments)],
        env=environment,
        capture_output=True,
        check=False,
    )
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stderr.decode(errors="replace"))


def timed_scan(work: Path, tree: Path, add: Sequence[object], options: Sequence[str]) -> tuple[float, int]:
    """Scan with a new state folder, and return the time in seconds and the number of findings."""
    state, report = work / "state", work / "report.jsonl"
    shutil.rmtree(state, ignore_errors=True)
    hashscan(state, "lists", *add)
    began = time.monotonic()
    hashscan(state, "scan", tree, "--report", report, *options)
    seconds = time.monotonic() - began
    verdicts = json.loads(report.read_text().splitlines()[-1])["verdicts"]
    return seconds, verdicts["match"] + verdicts["review"]


def compare(work: Path, arguments: argparse.Namespace) -> None:
    """Scan in turn with the list here and with the service, and print the times."""
    tree, entries, key = work / "tree", work / "entries.csv", work / "key"
    digests = list(draw(tree, arguments.pictures))
    rows = "".join(f"e{number},sha256,{digest},A1\n" for number, digest in enumerate(digests))
    entries.write_text("id,algorithm,value,category\n" + rows)
    key.write_text(KEY)
    key.chmod(0o600)
    options = ["--skip-variant", "all"] if arguments.plain else []
    times: dict[str, list[float]] = {"local": [], "service": []}
    with running(entries, arguments.seconds, arguments.digests) as url:
        ways = {
            "local": ["import", entries, "--name", "list"],
            "service": ["add", "list", "--service", url, "--key-file", key],
        }
        for run in range(arguments.runs + 1):
            for name, add in ways.items():
                seconds, found = timed_scan(work, tree, add, options)
                if found != len(digests):
                    raise SystemExit(f"{name}: {found} findings of {len(digests)}")
                # The first turn fills the page cache.
                if run:
                    times[name].append(seconds)
    for name, values in times.items():
        print(f"{name:8} {statistics.median(values):8.2f} s")
    ratios = [there / here for here, there in zip(times["local"], times["service"], strict=True)]
    print(f"ratio    {statistics.median(ratios):8.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """Run the benchmark, or the service for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--seconds", type=float, default=0.05, help="time of each request")
    parser.add_argument("--digests", type=int, default=50 * DIGESTS, help="digests in a request")
    parser.add_argument("--plain", action="store_true", help="hash the pictures in no variants")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.seconds, arguments.digests)
        return
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        compare(Path(work), arguments)


if __name__ == "__main__":
    announce_build()
    main()
