"""What a report says at a glance: how many of what, and the first findings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hashscan.model import Verdict
from hashscan.reports.fields import ACCUSING, STANDING, TYPES, deciding_match, verdict_of
from hashscan.reports.record_lines import Record
from hashscan.reports.report import Report

_NAMES = 10_000
"""Of customers, lists and categories that are told apart; a report with more of them is a trick."""

OTHERS = "(others)"

_WORST_FIRST = (Verdict.MATCH.value, Verdict.HELD.value, Verdict.REVIEW.value)


@dataclass(slots=True)
class Overview:
    """The counts of a report, of what its records say, and some of its findings."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Files by verdict; clean ones as well, where the sweep came to its end."""
    standing: int = 0
    """Earlier findings that this sweep did not come by."""
    accused: Counter[str] = field(default_factory=Counter)
    """Findings by verdict, earlier ones that stand as well."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What was not checked in full by the record's type and reason."""
    categories: Counter[str] = field(default_factory=Counter)
    """Findings, earlier ones that stand as well, by category."""
    customers: Counter[str] = field(default_factory=Counter)
    """The same by customer; under an empty name those of which it is not known."""
    lists: Counter[str] = field(default_factory=Counter)
    """The same by the list that weighs most."""
    findings: list[Record] = field(default_factory=list)
    """The first of them, the worst verdict first."""

    @property
    def total(self) -> int:
        """How many findings there are."""
        return self.accused.total()


def overview(report: Report, most: int) -> Overview:
    """Go through a report once.

    Args:
        report: whole or as a killed sweep left it.
        most: how many findings to keep.

    Raises:
        UsageError, OutputError: it can't be read.
    """
    told = Overview()
    kept: dict[str, list[Record]] = {}
    for record in report.records():
        kind = record["type"]
        if kind not in TYPES:
            continue
        verdict = verdict_of(record)
        if kind == STANDING:
            told.standing += 1
        elif verdict:
            told.verdicts[verdict] += 1
        if kind not in ACCUSING:
            told.reasons[kind, record.get("reason", "")] += 1
            continue
        told.accused[verdict] += 1
        match = deciding_match(record)
        _count(told.categories, match.get("category", ""))
        _count(told.lists, match.get("list", ""))
        _count(told.customers, report.customer(record))
        if len(worst := kept.setdefault(verdict, [])) < most:
            worst.append(record)
    if report.summary is not None:
        clean = report.summary.get("verdicts", {}).get(Verdict.CLEAN.value, 0)
        told.verdicts[Verdict.CLEAN.value] = clean
    order = [*_WORST_FIRST, *sorted(kept.keys() - set(_WORST_FIRST))]
    told.findings = [record for verdict in order for record in kept.get(verdict, ())][:most]
    return told


def _count(names: Counter[str], name: str) -> None:
    names[name if name in names or len(names) < _NAMES else OTHERS] += 1
