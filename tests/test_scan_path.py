"""The path of a file that ARCHITECTURE.md describes is the one that a scan takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "examples" / "uploads" / "alice" / "holiday" / "lighthouse.jpg"
MODULES_MAX = 25

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
[SECTION] = re.findall(r"^## The path of a file\n\n(.+?)^## ", ARCHITECTURE, re.MULTILINE | re.DOTALL)
STEPS: dict[str, str] = dict(re.findall(r"^\d+\. `([\w/]+\.py)` (.+)$", SECTION, re.MULTILINE))


def test_the_path_is_short_and_names_each_module_once() -> None:
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", SECTION, re.MULTILINE)]
    assert numbers == list(range(1, len(STEPS) + 1))
    assert len(STEPS) <= MODULES_MAX
    assert all((ROOT / "hashscan" / path).is_file() for path in STEPS)


def test_a_scan_calls_every_module_of_the_path(tmp_path: Path) -> None:
    calls, target, report = tmp_path / "calls", tmp_path / "target", tmp_path / "report.jsonl"
    calls.mkdir()
    target.mkdir()
    (target / "picture.jpg").write_bytes(PICTURE.read_bytes())
    start = "from tests.traced_scan import main; main()"
    options = ["--list", "demo", "--state", tmp_path / "state", "--report", report, "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", start, calls, "scan", target, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "match" in [json.loads(line).get("verdict") for line in report.read_text().splitlines()]
    called = {line for file in calls.iterdir() for line in file.read_text().splitlines()}
    # Decoders can't open a file to store what they call.
    expected = {path for path, step in STEPS.items() if not step.startswith("in the sandbox")}
    assert len(expected) >= len(STEPS) - 2
    assert not expected - called
