"""Documents show findings that a baseline accepts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring

from hashscan.errors import UsageError
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.report import Report
from tests.reports.documents import finding, summary, written

ACCEPTED = {"accepted": {"reason": "a logo, see T-12", "until": "2027-02-01T00:00:00Z"}}
WORDS = "accepted until 2027-02-01T00:00:00Z: a logo, see T-12"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """One finding that is accepted, and one that isn't."""
    records = [finding(b"/srv/known", **ACCEPTED), finding(b"/srv/new")]
    end = summary(records, accepted={"match": 1})
    return written(tmp_path / "r.jsonl", [*records, end], whole=False)


def document(report: Path, form: str) -> str:
    stream = io.BytesIO()
    REPORT_FORMATS[form]().write(Report(report), stream)
    return stream.getvalue().decode()


def test_ci_systems_don_t_fail_over_it(report: Path) -> None:
    cases = {case.get("name"): case for case in fromstring(document(report, "junit")).iter("testcase")}
    assert [child.tag for child in cases["/srv/known"]] == ["skipped"]
    assert [child.tag for child in cases["/srv/new"]] == ["failure"]
    assert WORDS in document(report, "junit")


def test_code_scanning_shows_it_as_suppressed(report: Path) -> None:
    known, new = json.loads(document(report, "sarif"))["runs"][0]["results"]
    assert known["suppressions"][0]["status"] == "accepted"
    assert WORDS in known["suppressions"][0]["justification"]
    assert "suppressions" not in new


def test_people_see_what_is_accepted(report: Path) -> None:
    reported = document(report, "markdown")
    assert "match (accepted)" in reported
    assert "The baseline accepts 1 finding" in reported
    assert WORDS.removeprefix("accepted ") in document(report, "csv")


def test_it_is_not_reported_in_another_shape(tmp_path: Path) -> None:
    for wrong in (
        {"accepted": {"reason": 1, "until": "x"}},
        {"accepted": {"reason": "x"}},
        {"accepted": True},
    ):
        path = written(tmp_path / "w.jsonl", [finding(b"/srv/a", **wrong)])
        with pytest.raises(UsageError):
            document(path, "csv")
