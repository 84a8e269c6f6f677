"""Count scans, cases, notices, quarantine events and times to removal, by period and in total."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from statistics import median

from hashscan.cases.queries import Case
from hashscan.cases.statistics.periods import Calendar, Period


class Outcome(StrEnum):
    """The way in which a scan ended."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    """It ended by an error or a signal, or was killed before it recorded its end."""


@dataclass(frozen=True, slots=True)
class ScanFact:
    """A scan. Times are in seconds since 1970 here and below."""

    begun: int
    outcome: Outcome
    files: int
    bytes: int
    """Bytes read from files."""


class FindingVerdict(StrEnum):
    """The verdict of the last scan that found the file of a case."""

    MATCH = "match"
    HELD = "held"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class CaseFact:
    """A case."""

    begun: int
    """Time of the finding or notice, or of the change from held or review to match."""
    found: FindingVerdict | None
    """None if there is only a notice."""
    lists: frozenset[str]
    """Names of the lists with a matching entry."""
    categories: frozenset[str]
    """Categories of these entries."""
    deadline: int | None
    """Deadline for the removal; None if there is none."""
    removed: int | None
    """Time at which the file was found to be gone or was moved into quarantine."""
    closed: int | None
    """Time at which the case was closed although the file had not been removed."""


class Custody(StrEnum):
    """An action on a file in quarantine."""

    QUARANTINED = "quarantined"
    RESTORED = "restored"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class CustodyFact:
    """An event of the quarantine (custody) log."""

    at: int
    what: Custody


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts; each iterable can be read once."""

    scans: Iterable[ScanFact]
    cases: Iterable[CaseFact]
    custody: Iterable[CustodyFact]
    notices: Iterable[int]
    """Times of receipt of all notices, including those about a file that has a case already."""


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


@dataclass(frozen=True, slots=True)
class RemovalMonth:
    """The cases whose files were removed in one month (UTC)."""

    name: str
    """YYYY-MM."""
    removed: int
    in_time: int
    """Number removed by their deadline; cases without a deadline are not counted."""
    late: int
    median: float
    """Median of the hours from the start of a case to the removal of its file."""
    ninetieth: float
    """90th percentile of these hours."""


def removal_by_month(cases: Iterable[Case]) -> Iterator[RemovalMonth]:
    """Yield the figures of each month.

    Args:
        cases: removed cases, ordered by the time of removal.
    """
    for name, group in groupby(cases, key=_month_of_removal):
        hours: list[float] = []
        in_time = late = 0
        for case in group:
            assert case.hours is not None
            assert case.removed is not None
            hours.append(case.hours)
            if case.due is not None:
                in_time += case.removed <= case.due
                late += case.removed > case.due
        hours.sort()
        yield RemovalMonth(
            name, len(hours), in_time, late, median(hours), hours[math.ceil(0.9 * len(hours)) - 1]
        )


def _month_of_removal(case: Case) -> str:
    assert case.removed is not None
    return datetime.fromtimestamp(case.removed, UTC).strftime("%Y-%m")
