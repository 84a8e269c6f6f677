"""Count the records of a report by verdict, category, list and customer, and collect the first findings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hashscan.model import Verdict
from hashscan.reports.fields import MATCHING_TYPES, OPEN_EARLIER, TYPES, deciding_match, verdict_of
from hashscan.reports.record_lines import Record
from hashscan.reports.report import Report

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
    accused: Counter[str] = field(default_factory=Counter)
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
        return self.accused.total()


def overview(report: Report, most: int) -> Overview:
    """Count the records of a report in one pass.

    Args:
        report: the report, complete or partial.
        most: maximum number of findings to collect.

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
        totals.accused[verdict] += 1
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


def _count(names: Counter[str], name: str) -> None:
    names[name if name in names or len(names) < _NAMES else OTHERS] += 1
