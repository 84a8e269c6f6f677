"""Derive what all document formats show: text and times of a record, counts and findings of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hashscan.model import KNOWN_GOOD_CATEGORY, Verdict
from hashscan.reports.records import Record
from hashscan.reports.report import Report
from hashscan.timefmt import parse_zoned

OPEN_EARLIER = "standing"
SILENT_CHANGE = "silent-change"
FOLDER = "folder"
MATCHING_TYPES = frozenset({"finding", OPEN_EARLIER})
"""Types of records with a match against a file."""

NOT_CHECKED = frozenset(
    {*(v.value for v in (Verdict.UNREADABLE, Verdict.UNDECODED, Verdict.SKIPPED)), FOLDER}
)
"""Types of records of files and folders that were not checked, or not completely."""

TYPES = MATCHING_TYPES | NOT_CHECKED | {SILENT_CHANGE}
"""Types of records about a file or folder that each document must contain."""

KILLED = "the scan was killed: files that it did not reach are not in this report"

_NOTHING: Mapping[str, Any] = {}


def verdict_of(record: Record) -> str:
    """Return the verdict of a record, for an earlier finding the one that still holds; empty if none."""
    return str(record.get("was" if record["type"] == OPEN_EARLIER else "verdict", ""))


def deciding_match(record: Record) -> Mapping[str, Any]:
    """Return the first match that is not known-good, else the first match; empty if there is none."""
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
    """Return the reason for which a record is in the report, as text."""
    kind = record["type"]
    if kind == OPEN_EARLIER:
        last = record.get("last", "at an unknown time")
        return f"{record.get('because', '')}; an earlier finding that is still open, last found {last}"
    if kind == SILENT_CHANGE:
        return "its content has changed although the change check said unchanged"
    if "because" in record:
        accepted = record.get("accepted")
        remark = "" if accepted is None else f"; accepted until {accepted['until']}: {accepted['reason']}"
        return f"{record['because']}{remark}"
    reason = str(record.get("reason", ""))
    return f"{reason}: {record['detail']}" if "detail" in record else reason


def shortcomings(report: Report) -> list[str]:
    """Return messages that say why the report is incomplete; empty if it is complete."""
    summary = report.summary
    return [KILLED] if summary is None else [one["message"] for one in summary.get("incomplete", ())]


def remark_on_tests(report: Report) -> str:
    """Return a remark on findings by test entries; empty if there are none."""
    summary = report.summary or _NOTHING
    tests = summary.get("test_findings", 0)
    if summary.get("only_test_entries", False):
        return "the lists have only test entries; this says nothing about real material"
    return f"findings by test entries only: {tests}; these say nothing about real material" if tests else ""


def utc(text: str) -> str:
    """Return a time of a record as RFC 3339 in UTC with a `Z`; empty if it is invalid or has no zone."""
    found = parse_zoned(text)
    return "" if found is None else found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_NAMES = 10_000
"""Maximum number of distinct customers, lists or categories; a report with more is malicious."""

OTHERS = "(others)"

_WORST_FIRST = (Verdict.MATCH.value, Verdict.HELD.value, Verdict.REVIEW.value)


@dataclass(slots=True)
class Overview:
    """The counts of a report, and its first findings."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Files by verdict; with clean ones, if the scan ran to its end."""
    standing: int = 0
    """Number of earlier findings that this scan did not reach."""
    found: Counter[str] = field(default_factory=Counter)
    """Findings by verdict, with earlier ones that are still open."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Files and folders not checked completely, by record type and reason."""
    categories: Counter[str] = field(default_factory=Counter)
    """Findings by category, with earlier ones that are still open."""
    customers: Counter[str] = field(default_factory=Counter)
    """Such findings by customer; the empty name counts those whose customer is not known."""
    lists: Counter[str] = field(default_factory=Counter)
    """Such findings by the list of the deciding match."""
    findings: list[Record] = field(default_factory=list)
    """The first findings, the worst verdict first."""

    @property
    def total(self) -> int:
        """Number of findings."""
        return self.found.total()


def overview(report: Report, most: int) -> Overview:
    """Count the records of a report in one pass, and collect at most `most` findings.

    Raises:
        UsageError, OutputError: the report can't be read.
    """
    totals = Overview()
    kept: dict[str, list[Record]] = {}
    for record in report.records():
        kind = record["type"]
        if kind not in TYPES:
            continue
        verdict = verdict_of(record)
        if kind == OPEN_EARLIER:
            totals.standing += 1
        elif verdict:
            totals.verdicts[verdict] += 1
        if kind not in MATCHING_TYPES:
            totals.reasons[kind, record.get("reason", "")] += 1
            continue
        totals.found[verdict] += 1
        match = deciding_match(record)
        _count(totals.categories, match.get("category", ""))
        _count(totals.lists, match.get("list", ""))
        _count(totals.customers, report.customer(record))
        if len(worst := kept.setdefault(verdict, [])) < most:
            worst.append(record)
    if report.summary is not None:
        clean = report.summary.get("verdicts", {}).get(Verdict.CLEAN.value, 0)
        totals.verdicts[Verdict.CLEAN.value] = clean
    order = [*_WORST_FIRST, *sorted(kept.keys() - set(_WORST_FIRST))]
    totals.findings = [record for verdict in order for record in kept.get(verdict, ())][:most]
    return totals


def first_names(names: Counter[str], most: int, show: Callable[[str], str] = str) -> list[tuple[str, int]]:
    """Return the most frequent names with their numbers, and the sum of the others as a last one.

    An empty name is not known; `show` formats the others.
    """
    first = names.most_common(most)
    found = [(show(name) if name else "(not known)", number) for name, number in first]
    if others := len(names) - len(first):
        found.append((f"{others} more", names.total() - sum(number for _, number in first)))
    return found


def _count(names: Counter[str], name: str) -> None:
    names[name if name in names or len(names) < _NAMES else OTHERS] += 1
