"""Scans by the real command: its report, its words, and what the list of processes shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.prefork import PREFORK

UPLOADS = Path(__file__).parents[3] / "examples" / "uploads"

_CLEARED = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "HASHSCAN_", "SSL_CERT_")


@dataclass
class Scanned:
    """The outcome of a scan."""

    code: int
    messages: str
    report: str
    seen: str
    """All command lines of the scan's processes, as they stood in /proc while it ran."""
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def summary(self) -> dict[str, Any]:
        return self.records[-1]

    def by_path(self, start: str) -> dict[str, dict[str, Any]]:
        """Return the record of each file or object that is not clean, by the part of its path after
        `start`."""
        return {
            record["path"].removeprefix(start): {
                name: record.get(name)
                for name in ("verdict", "reason", "detail", "because", "matches", "picture", "size")
            }
            for record in self.records
            if "path" in record
        }

    def everything(self) -> str:
        return self.messages + self.report + self.seen


def scan(
    *targets: str | bytes,
    environment: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
    watched: bool = False,
) -> Scanned:
    """Run `hashscan scan` with the demonstration list; where it isn't watched, by a forked process."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_CLEARED) or name in {"HASHSCAN_BACKGROUND", "HASHSCAN_REREAD"}
    }
    environ = kept | dict(environment or {})
    arguments = [
        "scan",
        "--no-state",
        "--report",
        "-",
        "--list",
        "demo",
        *options,
        *map(os.fsdecode, targets),
    ]
    if not watched:
        done = PREFORK.run([*arguments, "--workers", "1"], env=environ)
        return Scanned(done.returncode, done.stderr, done.stdout, "", _records(done.stdout))
    process = subprocess.Popen(
        [sys.executable, "-m", "hashscan", *arguments, "--workers", "2"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = ""
    while True:
        try:
            report, messages = process.communicate(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            seen += _command_lines(process.pid)
    return Scanned(process.returncode, messages, report, seen, _records(report))


def _records(report: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.splitlines()]


def _command_lines(pid: int) -> str:
    lines = []
    for child in Path("/proc").glob("[0-9]*"):
        try:
            group = int((child / "stat").read_text().rpartition(")")[2].split()[2])
            if child.name == str(pid) or group == os.getpgrp():
                lines.append((child / "cmdline").read_text(errors="replace"))
        except (OSError, ValueError, IndexError):
            continue
    return "\n".join(lines)


def uploads() -> dict[str, bytes]:
    """The sample uploads by path."""
    return {
        str(path.relative_to(UPLOADS)): path.read_bytes()
        for path in sorted(UPLOADS.rglob("*"))
        if path.is_file()
    }
