"""What was held back for its last word is written also where a scan ends in disorder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

WRITE = """
import sys
from pathlib import Path
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.reporting.report_paths import ReportPaths
from hashscan.scan.reporting.report_writer import ReportWriter
from hashscan.settings.matching import BreakerLimits
from tests.matching.test_circuit_breaker import MATCH, finding
places = ReportPaths((None, Path(sys.argv[1])))
with ReportWriter(places, Observer(), BreakerLimits()) as writing:
    writing.emit({"type": "sweep"})
    writing.emit(finding(MATCH))
    writing.emit(finding(verdict="review"))
    raise KeyboardInterrupt
"""


def test_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "report"
    done = subprocess.run(
        [sys.executable, "-c", WRITE, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "KeyboardInterrupt" in done.stderr
    screen, file = (
        [json.loads(line) for line in text.splitlines()]
        for text in (done.stdout, Path(f"{path}.partial").read_text())
    )
    assert [line.get("verdict") for line in file] == [None, "match", "review"]
    assert [line.get("verdict") for line in screen] == [None, "review", "match"]


SETTLE = (
    WRITE.replace(
        "places = Places((None, Path(sys.argv[1])))",
        "places = Places((Path(sys.argv[1]), None))",
    )
    .replace(
        "    raise KeyboardInterrupt",
        "    Path(sys.argv[1]).parent.rename(Path(sys.argv[1]).parent.with_name('gone'))\n"
        "    writing.settle(Summary(), lambda findings: findings)",
    )
    .replace("import sys\n", "import sys\nfrom hashscan.reports.summary import Summary\n")
)


def test_a_file_that_fails_takes_nothing_from_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "report"
    path.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SETTLE, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "can't write the report" in done.stderr
    assert [json.loads(line).get("verdict") for line in done.stdout.splitlines()] == [None, "review", "match"]
