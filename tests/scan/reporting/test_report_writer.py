"""Deferred matches get their final records in the order of the scan, also where a scan ends in disorder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import OutputError
from hashscan.reports.records import Record
from hashscan.scan.reporting.report_writer import DeferredFindings
from hashscan.settings.matching import BreakerLimits
from tests.matching.test_circuit_breaker import MATCH, finding


def taken(deferred: DeferredFindings, number: int, **more: Any) -> None:
    for place in range(number):
        assert deferred.add(finding(MATCH, path=f"/{place}", uid=place, **more))


def test_only_what_accuses_waits() -> None:
    with closing(DeferredFindings(BreakerLimits())) as deferred:
        for record in (
            {"type": "scan"}, {"type": "summary"}, {"type": "unreadable", "verdict": "unreadable"},
            finding(verdict="held"), finding(verdict="review"), {"type": "standing", "was": "match"},
        ):  # fmt: skip
            assert not deferred.add(record)
        taken(deferred, 3)
        deferred.finalize()
        assert [record["path"] for record in deferred.records()] == ["/0", "/1", "/2"]
        assert (deferred.changed, deferred.held, deferred.fields()) == (False, 0, {})


def test_what_hits_too_much_is_held_and_never_acted_on() -> None:
    asked: list[str] = []

    def act(records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            asked.append(record["verdict"])
            yield {**record, "acted": record["verdict"] == "match"}

    with closing(DeferredFindings(BreakerLimits(owners=2))) as deferred:
        taken(deferred, 3)
        other = {**MATCH, "entry": "other"}
        deferred.add(finding(MATCH, other, path="/x", uid=0))
        deferred.finalize(act)
        last = {record["path"]: (record["verdict"], record["acted"]) for record in deferred.records()}
        held = ("held", False)
        assert last == {"/0": held, "/1": held, "/2": held, "/x": ("match", True)}
        assert (deferred.changed, deferred.held) == (True, 3)
        assert deferred.fields()["breaker"]["held"] == 3
        assert "3 files are held" in deferred.breaker_messages()[-1]


def test_when_acting_fails_all_that_was_found_is_still_there() -> None:
    def act(records: Iterable[Record]) -> Iterator[Record]:
        for number, record in enumerate(records):
            if number == 2:
                raise OutputError("the quarantine failed: no space")
            yield record

    with closing(DeferredFindings(BreakerLimits())) as deferred:
        taken(deferred, 5)
        with pytest.raises(OutputError):
            deferred.finalize(act)
        assert [record["path"] for record in deferred.records()] == [f"/{n}" for n in range(5)]


def test_more_than_memory_takes() -> None:
    with closing(DeferredFindings(BreakerLimits(owners=2))) as deferred:
        taken(deferred, 3000, detail="x" * 1000)
        deferred.finalize()
        assert [record["path"] for record in deferred.records()] == [f"/{n}" for n in range(3000)]
        assert deferred.held == 3000
        # They can be asked for again, as every report asks.
        assert sum(1 for _ in deferred.records()) == 3000


def test_very_many_entries_are_not_all_named() -> None:
    with closing(DeferredFindings(BreakerLimits(owners=1))) as deferred:
        for number in range(200):
            for uid in (1, 2):
                deferred.add(finding({**MATCH, "entry": f"e{number}"}, uid=uid))
        deferred.finalize()
        fields = deferred.fields()["breaker"]
        assert (fields["entries"], len(fields["first"])) == (200, 100)
        said = deferred.breaker_messages()
        assert len(said) == 12
        assert "and 190 entries more" in said[10]


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
    writing.emit({"type": "scan"})
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


WRITE_FINAL = (
    WRITE.replace(
        "places = Places((None, Path(sys.argv[1])))",
        "places = Places((Path(sys.argv[1]), None))",
    )
    .replace(
        "    raise KeyboardInterrupt",
        "    Path(sys.argv[1]).parent.rename(Path(sys.argv[1]).parent.with_name('gone'))\n"
        "    writing.write_final(Summary(), lambda findings: findings)",
    )
    .replace("import sys\n", "import sys\nfrom hashscan.reports.summary import Summary\n")
)


def test_a_file_that_fails_takes_nothing_from_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "report"
    path.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WRITE_FINAL, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "can't write the report" in done.stderr
    assert [json.loads(line).get("verdict") for line in done.stdout.splitlines()] == [None, "review", "match"]
