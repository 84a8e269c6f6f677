"""Measure what files that are made to keep a decoder busy cost a scan: `tests/hostile_files.py`.

    python -m benchmarks.scan.hostile [--work DIR] [--owners [--number N] [--rounds N]] [NAME...]

Prints for each file its verdict and reason, the processor seconds of all decoders together, the limit for a
file of its kind and size, the processor seconds of the scan's other processes beyond those for a harmless
document, and the most memory that one process had resident. With `--owners`
(as root): how long a scan with one worker needs for 1,000 listed JPEGs, and for the same beside twenty
hostile files of another owner with two workers and with one, until the last of the 1,000 has its verdict; in
turns, with the ratios of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.lib.build import announce_build
from benchmarks.lib.memory import descendants
from hashscan.hashing.container_kinds import seconds_to_open
from hashscan.hashing.containers import UNRECOGNISED
from hashscan.hashing.formats import sniff
from hashscan.hashing.media.picture_opening import DEFAULT_MAX_PIXELS
from hashscan.lists.store import ListStore
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Entry, MemberLimits
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.pipeline import ScanPipeline
from hashscan.scan.workers.pool import ProcessPool
from hashscan.settings.matching import DecodingLimits
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.hostile_files import FILES, one_page
from tests.pictures import encoded, scene

TICKS = os.sysconf("SC_CLK_TCK")


def limit_of(content: bytes) -> float:
    """Return the processor time in seconds that a file may take."""
    kind = sniff(content) or UNRECOGNISED
    if kind.pillow is not None:
        return 3 * DecodingLimits().seconds
    return seconds_to_open(kind, len(content), MemberLimits())


def _is_zygote(process: int) -> bool:
    return b"hashscan.sandbox.zygote" in Path(f"/proc/{process}/cmdline").read_bytes()


class Processes:
    """The processor time and the most memory of all processes beneath this one."""

    def __init__(self) -> None:
        self.decoders: dict[int, float] = {}
        self.others: dict[int, float] = {}
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            for process in descendants(os.getpid()):
                try:
                    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                    status = Path(f"/proc/{process}/status").read_text()
                    # A decoder is forked from the process that has loaded its libraries; one that has ended
                    # has no command line any more.
                    is_decoder = process in self.decoders or (
                        _is_zygote(process) and _is_zygote(int(fields[1]))
                    )
                except OSError:
                    continue
                seconds = self.decoders if is_decoder else self.others
                seconds[process] = (int(fields[11]) + int(fields[12])) / TICKS
                line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0")
                self.peak = max(self.peak, int(line.split()[1]) << 10)

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()


def scan(target: Path, state: Path, *options: str) -> list[dict[str, object]]:
    """Return the records of a scan."""
    command = [sys.executable, "-m", "hashscan", "scan", str(target), "--state", str(state), "--foreground"]
    command += ["-q", "--report", "-", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def with_list(state: Path, *entries: Entry) -> None:
    """Store the list that scans match with."""
    shutil.rmtree(state, ignore_errors=True)
    ListStore(state / "lists").import_entries("ours", entries, datetime.now(UTC).isoformat())


def measured(work: Path, name: str, content: bytes) -> tuple[float, float, int, str]:
    """Scan a file; return the seconds of decoders and of others, the most memory of one, and the verdict."""
    target = work / "files" / name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)
    with_list(work / "state", Entry("none", "md5", bytes(16), "A1"))
    processes = Processes()
    records = scan(target, work / "state", "--workers", "1", "--mail")
    processes.end()
    target.unlink()
    found = next((record for record in records if record.get("verdict")), {"verdict": "clean"})
    used = sum(processes.decoders.values()), sum(processes.others.values())
    return *used, processes.peak, f"{found['verdict']}, {found.get('reason')}"


def table(work: Path, names: Sequence[str]) -> None:
    """Print a line for each file."""
    _, base, _, _ = measured(work, "harmless.pdf", one_page(b"", b""))
    head = f"{'seconds':>8} {'limit':>6} {'share':>6} {'others':>6} {'MB':>5}"
    print(f"{'file':18} {'bytes':>10} {head}  verdict, reason")
    for name in names:
        content = FILES[name]()
        used, others, peak, found = measured(work, name, content)
        limit = limit_of(content)
        shares = f"{used:8.1f} {limit:6.1f} {used / limit:6.2f} {others - base:6.1f}"
        figures = f"{len(content):10} {shares} {peak / 1e6:5.0f}"
        print(f"{name:18} {figures}  {found}", flush=True)


def listed_files(folder: Path, number: int) -> list[Entry]:
    """Write JPEGs, and return an entry for each."""
    from hashlib import sha256

    folder.mkdir()
    entries = []
    for at in range(number):
        content = encoded(scene(at % 20), "JPEG") + b"%d" % at
        (folder / f"{at:04}.jpg").write_bytes(content)
        entries.append(Entry(f"e{at}", "sha256", sha256(content).digest(), "A1"))
    return entries


def seconds_to_verdicts(target: Path, state: Path, number: int, workers: int) -> float:
    """Return the seconds from the start of the workers until so many files have matched.

    A scan writes its findings to the report when it knows how many there are.
    """
    options = ListingOptions(exclude=Patterns.compile((), None))
    listings = FilesystemSource([os.fsencode(target)], options).listings()
    found = 0
    with ListStore(state / "lists").open(["ours"], datetime.now(UTC)) as opened:
        setup = WorkerSetup(
            lists=opened.handles,
            sandbox=SandboxOptions("auto"),
            algorithms=("md5", "sha1", "sha256", "pdq"),
            max_pixels=DEFAULT_MAX_PIXELS,
            containers=MemberLimits(),
        )
        begun = time.monotonic()
        with ProcessPool(setup, workers) as pool:
            for record in ScanPipeline(listings, pool):
                found += record.get("verdict") == "match"
                if found == number:
                    return time.monotonic() - begun
    raise AssertionError(f"{found} of {number} were found")


def owners(work: Path, number: int, rounds: int) -> None:
    """Print how long the files of one owner wait beside twenty hostile ones of another, in turns."""
    files = work / "owners"
    files.mkdir()
    entries = listed_files(files / "b", number)
    for name in list(FILES)[:20]:
        # A folder is a batch at least.
        path = files / "a" / name / name
        path.parent.mkdir(parents=True)
        path.write_bytes(FILES[name]())
        os.chown(path, 4001, 4001)
    ways = (
        ("alone, one worker", files / "b", 1),
        ("beside, two workers", files, 2),
        ("beside, one worker", files, 1),
    )
    taken: dict[str, list[float]] = {name: [] for name, *_ in ways}
    for _ in range(rounds):
        for name, target, workers in ways:
            with_list(work / "state", *entries)
            taken[name].append(seconds_to_verdicts(target, work / "state", number, workers))
            print(f"{name}: {taken[name][-1]:.1f} s", flush=True)
    alone = median(taken["alone, one worker"])
    for name in list(taken)[1:]:
        print(f"{name}: ratio of the medians {median(taken[name]) / alone:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, help="an empty folder for the files")
    parser.add_argument("--owners", action="store_true", help="measure how long another owner waits")
    parser.add_argument("--number", type=int, default=1000, help="JPEGs of the other owner")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turns")
    parser.add_argument("names", nargs="*", metavar="NAME", help="files; all if none is named")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        if options.owners:
            owners(Path(work), options.number, options.rounds)
        else:
            table(Path(work), options.names or list(FILES))


if __name__ == "__main__":
    announce_build()
    main()
