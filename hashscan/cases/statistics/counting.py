"""Counts what was put down, period by period and over all of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from hashscan.cases.statistics.events import CaseFact, Custody, Facts, Found, Outcome
from hashscan.cases.statistics.periods import Calendar, Period


@dataclass(slots=True)
class Removal:
    """What became of cases whose clock ran, by the period in which they began."""

    times: list[int] = field(default_factory=list)
    """Seconds from the beginning of a case to the removal of the file, one for each that was removed."""
    within: int = 0
    """Removed before the deadline had passed."""
    otherwise: int = 0
    """Closed although the file was not removed."""
    open: int = 0
    overdue: int = 0
    """Of the open ones, those whose deadline has passed."""

    @property
    def removed(self) -> int:
        """How many files were removed, in time or not."""
        return len(self.times)

    @property
    def cases(self) -> int:
        """How many there were."""
        return self.removed + self.otherwise + self.open

    @property
    def share(self) -> float | None:
        """Of those of which it is decided, the share that was removed in time; None where there is none."""
        decided = self.removed + self.overdue
        return self.within / decided if decided else None

    @property
    def median(self) -> float | None:
        """Of the times, in seconds."""
        return float(median(self.times)) if self.times else None

    @property
    def ninth_tenth(self) -> float | None:
        """The time in seconds within which nine of ten were removed (the nearest rank)."""
        return percentile(self.times, 90) if self.times else None


@dataclass(slots=True)
class Figures:
    """All numbers of a stretch of time."""

    sweeps: Counter[Outcome] = field(default_factory=Counter)
    files: int = 0
    bytes: int = 0
    findings: Counter[Found] = field(default_factory=Counter)
    """New ones, each counted once, when it was found first."""
    lists: Counter[str] = field(default_factory=Counter)
    """Matches by list; what two lists know is counted for both."""
    categories: Counter[str] = field(default_factory=Counter)
    """Matches by category, in the same way."""
    notices: int = 0
    custody: Counter[Custody] = field(default_factory=Counter)
    removal: Removal = field(default_factory=Removal)


@dataclass(frozen=True, slots=True)
class Statistics:
    """The numbers of each period, and of all of them together."""

    periods: Sequence[tuple[Period, Figures]]
    totals: Figures
    now: int
    """When they were counted, in seconds since 1970."""

    @property
    def lists(self) -> Sequence[str]:
        """The names of all lists that matched anything, in order."""
        return sorted(self.totals.lists)

    @property
    def categories(self) -> Sequence[str]:
        """All categories in which there was anything, in order."""
        return sorted(self.totals.categories)


def count(facts: Facts, periods: Sequence[Period], now: int) -> Statistics:
    """Count all facts that are in one of the periods.

    Args:
        facts: as they were put down, in any order.
        periods: at least one, each beginning where the one before it ends.
        now: in seconds since 1970; it decides which open cases are overdue.
    """
    calendar = Calendar(periods)
    each, totals = [Figures() for _ in periods], Figures()

    def at(moment: int) -> Sequence[Figures]:
        place = calendar.index(moment)
        return () if place is None else (each[place], totals)

    for sweep in facts.sweeps:
        for figures in at(sweep.begun):
            figures.sweeps[sweep.outcome] += 1
            figures.files += sweep.files
            figures.bytes += sweep.bytes
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
    if case.found is Found.MATCH:
        figures.lists.update(case.lists)
        figures.categories.update(case.categories)
    if case.deadline is None:
        return
    removal = figures.removal
    if case.removed is not None:
        # A clock that was set back must not make anything faster than at once.
        removal.times.append(max(0, case.removed - case.begun))
        removal.within += case.removed <= case.deadline
    elif case.closed is not None:
        removal.otherwise += 1
    else:
        removal.open += 1
        removal.overdue += now > case.deadline


def percentile(values: Sequence[int], share: int) -> float:
    """The value that so many of a hundred don't exceed, by the nearest rank.

    Args:
        values: at least one, in any order.
        share: from 1 to 100.
    """
    ordered = sorted(values)
    return float(ordered[math.ceil(len(ordered) * share / 100) - 1])
