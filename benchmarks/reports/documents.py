"""Time `hashscan report convert` to every format, as whole processes, with the memory they take.

    python -m benchmarks.reports.documents [--findings N] [--repeats N] [--only FORMAT]... [--work DIR]

Run it with the Python that has hashscan. The record is made by the project's own code: N findings of a
thousand customers, three matches each, with digests. In each round every format is made once, then its peers
over the same file: a loop of json and csv in Python that checks and escapes nothing; `jq -r @csv`, where
installed; and json alone, which is the floor. Prints for each the median, least and most processor time, the
findings a second by the median, and the most memory a run took; the kernel says no less of it than this
script takes itself, some 30 MB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lib.build import announce_build
from benchmarks.lib.scans import HASHSCAN
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.records import line_of

_LOOP = """
import csv, json, sys
rows = csv.writer(sys.stdout)
for line in open(sys.argv[1], "rb"):
    r = json.loads(line)
    if r["type"] == "finding":
        m = r["matches"][0]
        rows.writerow([r["verdict"], r["path"], r["because"], r["action"], r["size"], m["list"], m["entry"]])
"""
_FLOOR = """
import json, sys
for line in open(sys.argv[1], "rb"):
    json.loads(line)
"""
_JQ = (
    'select(.type == "finding") | [.verdict, .path, .because, .action, .size, .matches[0].list, '
    ".matches[0].entry] | @csv"
)
_SETTINGS = """
[reporter]
organisation = "Example Hosting"
email = "abuse@example.org"
domain = "example.org"
name = "Abuse desk"
"""


@dataclass
class Runs:
    """Time and memory of the rounds of one command."""

    seconds: list[float] = field(default_factory=list)
    """User and system time of one process each."""
    peak: int = 0
    """Bytes."""

    def line(self, name: str, findings: int) -> str:
        """For a table."""
        median = statistics.median(self.seconds)
        spread = f"{min(self.seconds):.1f} to {max(self.seconds):.1f}"
        rate = findings / median
        return f"{name:24} {median:7.1f} s ({spread:>14}) {rate:10,.0f} a second {self.peak / 1e6:8.0f} MB"


def make_record(path: Path, findings: int) -> None:
    """Write a report as one scan would have left it."""
    algorithms = (("sha256", 0), ("md5", 0), ("pdq", 31))
    with path.open("wb") as stream:
        stream.write(line_of({
            "type": "scan", "schema": 1, "uuid": "6a0f0cfe-0000-4000-8000-000000000000", "version": "0.1.0",
            "host": "web1", "targets": [{"path": "/var/www"}], "lists": [], "excepted": [],
            "algorithms": ["md5", "pdq", "sha256"], "thresholds": {"pdq": 31}, "variants": [],
            "selection": {}, "sandbox": {"mode": "auto"}, "fail_on": "match", "strict": False,
            "breaker": {"owners": 20, "files": 10_000}, "started": "2026-11-26T01:00:00+00:00",
        }))  # fmt: skip
        for number in range(findings):
            category = ("A1", "A2", "B1", "B2")[number % 4]
            stream.write(line_of({
                "type": "finding", "schema": 1,
                "path": f"/var/www/customer{number % 1000}/uploads/2026/photo {number}.jpg",
                "verdict": "match", "size": 1_000 + number, "mtime_ns": 1_790_000_000_000_000_000 + number,
                "ctime_ns": 1_790_000_000_000_000_000 + number, "uid": 1000 + number % 1000, "links": 1,
                "device": 64, "inode": number, "matches": [
                    {"list": "national", "entry": f"n-{number}-{name}", "algorithm": name,
                     "variant": "as stored", "distance": 0, "threshold": threshold, "category": category}
                    for name, threshold in algorithms
                ],
                "because": f"sha256 equal: entry n-{number}-sha256 ({category}) of list national and 2 more",
                "action": "report", "picture": {"format": "JPEG", "width": 1024, "height": 768},
                "digests": {"md5": f"{number:032x}", "sha1": f"{number:040x}", "sha256": f"{number:064x}",
                            "pdq": f"{number:064x}"},
                "customer": f"customer{number % 1000}",
            }))  # fmt: skip
        verdicts = dict.fromkeys(("held", "review", "unreadable", "undecoded", "skipped"), 0)
        stream.write(line_of({
            "type": "summary", "schema": 1, "files": findings + 9, "verdicts": {
                "match": findings, **verdicts, "clean": 9,
            }, "reasons": {}, "folders_not_entered": {}, "empty_targets": 0, "incomplete": [],
            "passed": {"folders": 1, "links": 0, "specials": 0, "excluded_folders": 0}, "test_findings": 0,
            "low_quality_pictures": 0, "bytes": 10**12, "unchanged": 0, "only_test_entries": False,
            "seconds": 3600.0, "ended": "2026-11-26T02:00:00+00:00", "exit_code": 1,
        }))  # fmt: skip


def run(command: list[str], runs: Runs, output: Path) -> None:
    """Run a command once, with its standard output in a file."""
    with output.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {' '.join(command[:8])}")
    runs.seconds.append(usage.ru_utime + usage.ru_stime)
    runs.peak = max(runs.peak, usage.ru_maxrss * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time hashscan report convert.")
    parser.add_argument("--findings", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(REPORT_FORMATS))
    parser.add_argument("--work", type=Path, help="where to put the record and the documents")
    options = parser.parse_args()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.work)))
        record, settings, output = work / "record.jsonl", work / "settings.toml", work / "stdout"
        make_record(record, options.findings)
        settings.write_text(_SETTINGS)
        base = [*HASHSCAN, "--config", str(settings), "report", "convert", str(record)]
        commands = {
            name: [*base, "--format", name, "--output", str(work / f"out{REPORT_FORMATS[name].suffix}")]
            for name in options.only or REPORT_FORMATS
        }
        commands["loop: json, csv"] = [sys.executable, "-c", _LOOP, str(record)]
        if jq := shutil.which("jq"):
            commands["jq -r @csv"] = [jq, "-r", _JQ, str(record)]
        commands["json.loads alone"] = [sys.executable, "-c", _FLOOR, str(record)]
        taken = {name: Runs() for name in commands}
        for _ in range(options.repeats):
            for name, command in commands.items():
                run(command, taken[name], output)
        size = record.stat().st_size / 1e6
        print(f"{options.findings} findings, {size:.0f} MB; load {os.getloadavg()[0]:.1f}")
        for name, runs in taken.items():
            print(runs.line(name, options.findings))


if __name__ == "__main__":
    announce_build()
    main()
