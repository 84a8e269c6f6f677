"""Count scans, cases, notices and quarantine events, by period and in total."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from hashscan.cases.statistics.events import CaseFact, Custody, Facts, FindingVerdict, Outcome
from hashscan.cases.statistics.periods import Calendar, Period


@dataclass(slots=True)
class Removal:
    """The results of cases with a deadline, by the period in which they began."""

    times: list[int] = field(default_factory=list)
    """Seconds from the start of a case to the removal of its file, one for each that was removed."""
    within: int = 0
    """Number removed by the deadline."""
    otherwise: int = 0
    """Number closed although the file was not removed."""
    open: int = 0
    overdue: int = 0
    """Number of open cases whose deadline has passed."""

    @property
    def removed(self) -> int:
        """Number of removed files, in time or not."""
        return len(self.times)

    @property
    def cases(self) -> int:
        """Number of cases."""
        return self.removed + self.otherwise + self.open

    @property
    def share(self) -> float | None:
        """Share of cases removed in time, among removed and overdue ones; None if there are none."""
        decided = self.removed + self.overdue
        return self.within / decided if decided else None

    @property
    def median(self) -> float | None:
        """Median of the times, in seconds."""
        return float(median(self.times)) if self.times else None

    @property
    def ninth_tenth(self) -> float | None:
        """90th percentile of the times, in seconds (nearest rank)."""
        return percentile(self.times, 90) if self.times else None


@dataclass(slots=True)
class Figures:
    """All counts of a period."""

    scans: Counter[Outcome] = field(default_factory=Counter)
    files: int = 0
    bytes: int = 0
    findings: Counter[FindingVerdict] = field(default_factory=Counter)
    """New findings, each counted once, in the period in which its case began."""
    lists: Counter[str] = field(default_factory=Counter)
    """Matches by list; a match of two lists counts for both."""
    categories: Counter[str] = field(default_factory=Counter)
    """Matches by category; a match of two categories counts for both."""
    notices: int = 0
    custody: Counter[Custody] = field(default_factory=Counter)
    removal: Removal = field(default_factory=Removal)


@dataclass(frozen=True, slots=True)
class Statistics:
    """The counts of each period, and their totals."""

    periods: Sequence[tuple[Period, Figures]]
    totals: Figures
    now: int
    """Time of the count, in seconds since 1970."""

    @property
    def lists(self) -> Sequence[str]:
        """The sorted names of all lists with a match."""
        return sorted(self.totals.lists)

    @property
    def categories(self) -> Sequence[str]:
        """The sorted categories with a match."""
        return sorted(self.totals.categories)


def count(facts: Facts, periods: Sequence[Period], now: int) -> Statistics:
    """Count all facts that are in one of the periods.

    Args:
        facts: the facts, in any order.
        periods: at least one, each beginning at the end of the one before.
        now: in seconds since 1970; it decides which open cases are overdue.
    """
    calendar = Calendar(periods)
    each, totals = [Figures() for _ in periods], Figures()

    def at(moment: int) -> Sequence[Figures]:
        place = calendar.index(moment)
        return () if place is None else (each[place], totals)

    for scan in facts.scans:
        for figures in at(scan.begun):
            figures.scans[scan.outcome] += 1
            figures.files += scan.files
            figures.bytes += scan.bytes
    for case in facts.cases:
        for figures in at(case.begun):
            _count_case(figures, case, now)
    for custody in facts.custody:
        for figures in at(custody.at):
            figures.custody[custody.what] += 1
    for received in facts.notices:
        for figures in at(received):
            figures.notices += 1
    return Statistics(list(zip(periods, each, strict=True)), totals, now)


def _count_case(figures: Figures, case: CaseFact, now: int) -> None:
    if case.found is not None:
        figures.findings[case.found] += 1
    if case.found is FindingVerdict.MATCH:
        figures.lists.update(case.lists)
        figures.categories.update(case.categories)
    if case.deadline is None:
        return
    removal = figures.removal
    if case.removed is not None:
        # If the system clock was set back, the time must not be negative.
        removal.times.append(max(0, case.removed - case.begun))
        removal.within += case.removed <= case.deadline
    elif case.closed is not None:
        removal.otherwise += 1
    else:
        removal.open += 1
        removal.overdue += now > case.deadline


def percentile(values: Sequence[int], share: int) -> float:
    """Return the value that `share` percent of the values don't exceed, by the nearest rank.

    Args:
        values: at least one, in any order.
        share: percentage, from 1 to 100.
    """
    ordered = sorted(values)
    return float(ordered[math.ceil(len(ordered) * share / 100) - 1])
