"""Findings that are accepted, from a report to the scans that follow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run, runner

ACCEPT = ("--reason", "a logo that the list has by mistake", "--until", "2099-01-31")


@pytest.fixture(scope="module")
def report(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a scan that finds two files, one accused by two entries, one by one."""
    made = tmp_path_factory.mktemp("found")
    shutil.copytree(prepared / "state", made / "state", symlinks=True)
    run = runner(made / "state")
    ran = run("scan", prepared / "uploads", "--with-digests", "--report", made / "found.jsonl")
    assert ran.code == 1
    return made / "found.jsonl"


@pytest.fixture
def found(report: Path, tmp_path: Path, local_list: str) -> Path:
    """A copy of it."""
    return Path(shutil.copyfile(report, tmp_path / "found.jsonl"))


def test_what_is_accepted_does_not_fail_and_is_reported(
    run: Run, uploads: Path, found: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    ran = run("report", "accept", found, *ACCEPT, "--output", baseline, "--entry", "e-sha256")
    assert (ran.code, "1 accepted until 2099-02-01T00:00:00Z;" in ran.err) == (0, True)
    ran = run("report", "accept", found, *ACCEPT, "--output", baseline)
    assert "3 accepted until 2099-02-01T00:00:00Z, 1 of them anew" in ran.err
    for options in (("--fail-on", "review"), ("--known",)):
        scanned = run("scan", uploads, "--baseline", baseline, "--report", "-", *options)
        assert scanned.code == 0, scanned.err
        findings = [line for line in scanned.lines if line["type"] == "finding"]
        assert [line["verdict"] for line in findings] == ["match", "match"]
        assert {line["accepted"]["until"] for line in findings} == {"2099-02-01T00:00:00Z"}
        assert scanned.lines[-1]["accepted"] == {"match": 2}
        assert scanned.lines[-1]["verdicts"]["match"] == 2
        assert "nothing found, except accepted findings" in scanned.err
    # The same content is accepted anywhere, and other content nowhere.
    shutil.copyfile(uploads / "listed.jpg", uploads / "same.jpg")
    (uploads / "again.jpg").write_bytes((uploads / "listed.jpg").read_bytes() + b"\0")
    scanned = run("scan", uploads, "--baseline", baseline, "--report", "-")
    assert (scanned.code, scanned.lines[-1]["accepted"]) == (1, {"match": 3})


def test_shards_add_up(run: Run, uploads: Path, found: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    run("report", "accept", found, *ACCEPT, "--output", baseline)
    reports = [tmp_path / f"{index}.jsonl" for index in (1, 2)]
    for index, report in enumerate(reports, start=1):
        options = ("--shard", f"{index}/2", "--baseline", baseline, "--report", report)
        assert run("scan", uploads, *options).code == 0
    merged = run("report", "merge", *reports, "--output", "-")
    assert (merged.code, merged.lines[-1]["accepted"]) == (0, {"match": 2})
    # One that was killed has no summary.
    reports[0].write_text("\n".join(reports[0].read_text().splitlines()[:-1]) + "\n")
    merged = run("report", "merge", *reports, "--output", "-")
    assert (merged.code, merged.lines[-1]["accepted"]) == (3, {"match": 2})
    other = tmp_path / "other.jsonl"
    run("scan", uploads, "--shard", "2/2", "--report", other)
    refused = run("report", "merge", reports[0], other, "--output", "-")
    assert (refused.code, "accepted other findings than the second" in refused.err) == (2, True)


def test_what_the_breaker_holds_stays_accepted(run: Run, uploads: Path, found: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    run("report", "accept", found, *ACCEPT, "--output", baseline)
    scanned = run("scan", uploads, "--baseline", baseline, "--breaker-files", "1", "--report", "-")
    assert scanned.code == 0
    verdicts = [line["verdict"] for line in scanned.lines if "accepted" in line and line["type"] == "finding"]
    assert "held" in verdicts
    assert scanned.lines[-1]["accepted"] == {
        name: verdicts.count(name) for name in sorted(set(verdicts))[::-1]
    }


def test_paths_choose_what_is_accepted(run: Run, uploads: Path, found: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    run("report", "accept", found, *ACCEPT, "--output", baseline, "--path", "**/alike.jpg")
    (row,) = json.loads(baseline.read_text())["accepted"]
    assert row["entry"] == "e-pdq"


def test_what_can_not_be_accepted_is_reported(run: Run, uploads: Path, found: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    ran = run("report", "accept", found, *ACCEPT, "--output", baseline, "--entry", "no-such")
    assert (ran.code, "nothing to accept" in ran.err) == (2, True)
    ran = run("report", "accept", found, "--reason", "x", "--until", "2020-01-01", "--output", baseline)
    assert (ran.code, "in the past" in ran.err) == (2, True)
    ran = run("report", "accept", found, "--reason", "a\nb", "--until", "2099-01-01", "--output", baseline)
    assert (ran.code, "reason can't be used" in ran.err) == (2, True)
    assert not baseline.exists()
    baseline.write_text("{")
    for arguments in (
        ("report", "accept", found, *ACCEPT, "--output", baseline),
        ("scan", uploads, "--baseline", baseline),
    ):
        ran = run(*arguments)
        assert (ran.code, f"{baseline}, line 1" in ran.err) == (2, True)
    baseline.unlink()
    ran = run("scan", uploads, "--baseline", baseline)
    assert (ran.code, "can't read the baseline" in ran.err) == (2, True)
    moving = ("--quarantine", "--retain-min", "1d", "--destroy-by", "2d")
    ran = run("scan", uploads, "--baseline", baseline, *moving)
    assert (ran.code, "exclude each other" in ran.err) == (2, True)


def test_a_damaged_report_accepts_nothing(run: Run, found: Path, tmp_path: Path) -> None:
    lines = found.read_text().replace('"list":"ours"', '"list":"../ours"').splitlines()
    found.write_text("\n".join(lines) + "\n")
    ran = run("report", "accept", found, *ACCEPT, "--output", tmp_path / "baseline.json")
    assert (ran.code, "has a finding that can't be accepted" in ran.err) == (2, True)
