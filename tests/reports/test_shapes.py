from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.report import Report
from tests.reports.documents import CONTEXT, SWEEP, finding, summary, unreadable, written

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
STANDING = {"type": "standing", "schema": 1, "path": "/srv/a", "was": "match", "because": "b", "first": "x",
            "last": "y"}  # fmt: skip


def test_what_sweeps_write_is_taken(tmp_path: Path) -> None:
    records = [finding(b"/srv/\xff"), unreadable(b"/srv/b"), STANDING]
    path = written(tmp_path / "r.jsonl", records)
    report = Report(path)
    assert [record["type"] for record in report.records()] == [
        "sweep", "finding", "unreadable", "standing", "summary",
    ]  # fmt: skip
    assert report.summary is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"path": 7},
        {"path": None},
        {"path_b64": "%%"},
        {"verdict": "guilty"},
        {"verdict": None},
        {"matches": {}},
        {"matches": [7]},
        {"matches": [{"distance": "far"}]},
        {"matches": [{"category": ["A1"]}]},
        {"size": "large"},
        {"mtime_ns": True},
        {"customer": 7},
        {"digests": {"md5": 7}},
        {"picture": {"format": "JPEG"}},
        {"quarantine": "moved"},
    ],
    ids=str,
)
def test_a_finding_in_another_shape_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    records = [finding(b"/srv/a"), {**finding(b"/srv/b"), **changes}]
    path = written(tmp_path / "r.jsonl", records, whole=False)
    with pytest.raises(UsageError, match=r"line 3: this record can't be understood"):
        list(Report(path).records())


def test_a_finding_without_a_path_is_refused(tmp_path: Path) -> None:
    record = finding(b"/srv/a")
    del record["path"]
    with pytest.raises(UsageError, match="no path"):
        list(Report(written(tmp_path / "r.jsonl", [record])).records())


def test_a_standing_finding_needs_the_verdict_it_had(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="verdict"):
        list(Report(written(tmp_path / "r.jsonl", [{**STANDING, "was": "gone"}])).records())


@pytest.mark.parametrize(
    "changes",
    [{"verdicts": {"match": "many"}}, {"incomplete": [7]}, {"exit_code": "1"}, {"reasons": {"skipped": 7}}],
    ids=str,
)
def test_a_summary_in_another_shape_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = (SWEEP, summary([], **changes))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UsageError, match="can't be understood"):
        _ = Report(path).summary


@given(
    st.dictionaries(
        st.sampled_from(sorted({*finding(b"/a"), "detail", "digests", "customer", "quarantine", "picture"})),
        JSON_VALUES,
        max_size=3,
    ),
    st.dictionaries(st.sampled_from(sorted({*summary([]), "reasons"})), JSON_VALUES, max_size=2),
)
def test_whatever_is_taken_can_be_told_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], ending: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("shapes") / "r.jsonl"
    lines = (SWEEP, finding(b"/srv/a") | changes, summary([]) | ending)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in REPORT_FORMATS:
        try:
            REPORT_FORMATS[name]().write(Report(path, CONTEXT), io.BytesIO())
        except UsageError:
            continue
