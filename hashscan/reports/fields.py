"""What a record says of one file, in the words of every document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hashscan.model import KNOWN_GOOD_CATEGORY, Verdict
from hashscan.reports.record_lines import Record
from hashscan.reports.report import Report

STANDING = "standing"
CHANGED = "silent-change"
FOLDER = "folder"
ACCUSING = frozenset({"finding", STANDING})
"""Types of records that speak against a file."""

NOT_CHECKED = frozenset(
    {*(v.value for v in (Verdict.UNREADABLE, Verdict.UNDECODED, Verdict.SKIPPED)), FOLDER}
)
"""Types of records of what was not checked, or not in full."""

TYPES = ACCUSING | NOT_CHECKED | {CHANGED}
"""Types of records that are about a file or folder and that a document has to tell."""

KILLED = "the sweep was killed: what it did not come by is not in this report"

_NOTHING: Mapping[str, Any] = {}
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def verdict_of(record: Record) -> str:
    """The verdict; of an earlier finding the one that stands, and empty for what has none."""
    return str(record.get("was" if record["type"] == STANDING else "verdict", ""))


def deciding_match(record: Record) -> Mapping[str, Any]:
    """The match that weighs most; empty for what has none."""
    matches = record.get("matches")
    if not matches:
        return _NOTHING
    for match in matches:
        if match.get("category") != KNOWN_GOOD_CATEGORY:
            found: Mapping[str, Any] = match
            return found
    first: Mapping[str, Any] = matches[0]
    return first


def reason_of(record: Record) -> str:
    """Why it is in the report, in words."""
    kind = record["type"]
    if kind == STANDING:
        last = record.get("last", "at an unknown time")
        return f"{record.get('because', '')}; an earlier finding that stands, last found {last}"
    if kind == CHANGED:
        return "its content is another than it was, though it seemed unchanged"
    if "because" in record:
        accepted = record.get("accepted")
        words = "" if accepted is None else f"; accepted until {accepted['until']}: {accepted['reason']}"
        return f"{record['because']}{words}"
    reason = str(record.get("reason", ""))
    return f"{reason}: {record['detail']}" if "detail" in record else reason


def shortcomings(report: Report) -> list[str]:
    """Why the report does not tell of everything, in words; empty where it does."""
    summary = report.summary
    return [KILLED] if summary is None else list(summary.get("incomplete", ()))


def remark_on_tests(report: Report) -> str:
    """What must be known of findings by entries that are there for tests; empty where there are none."""
    summary = report.summary or _NOTHING
    tests = summary.get("test_findings", 0)
    if summary.get("only_test_entries", False):
        return "the lists have only test entries; this says nothing about real material"
    return f"findings by test entries only: {tests}; these say nothing about real material" if tests else ""


def moment(nanoseconds: int) -> str:
    """A time of a file as RFC 3339 in whole seconds; one that no calendar has, in seconds since 1970."""
    try:
        found = _BEGINNING + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return f"{nanoseconds // 1_000_000_000} s"
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(text: str) -> str:
    """A moment that a record has, as RFC 3339 in UTC with a `Z`; empty where it is none."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            return ""
        return found.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return ""
