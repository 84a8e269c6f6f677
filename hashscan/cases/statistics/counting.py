"""Count scans, cases, notices, quarantine events and times to removal of a ledger, by period and in total."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from statistics import median

from msgspec import Struct

from hashscan.cases.deadlines import DUE, DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.queries import Case
from hashscan.cases.statistics.periods import Period, period_index
from hashscan.cases.tracker import INFORM, REFUSED
from hashscan.cases.uploads import ASKED, UNCHECKED
from hashscan.errors import (
    EXIT_CLEAN,
    EXIT_FOUND,
    EXIT_FOUND_INCOMPLETE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
)
from hashscan.model import Verdict


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


FOUND = (Verdict.MATCH, Verdict.HELD, Verdict.REVIEW)
"""The verdicts of findings."""


@dataclass(frozen=True, slots=True)
class CaseFact:
    """A case."""

    begun: int
    """Time of the finding or notice, or of the change from held or review to match."""
    found: Verdict | None
    """The verdict of the last scan that found its file, one of `FOUND`; None if there is only a notice."""
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
class CheckFact:
    """Checks of uploads or digests with one outcome, within a quarter of an hour."""

    begun: int
    door: str
    verdict: str
    """A verdict, or `UNCHECKED`."""
    outcome: str
    """allow, refuse or error; `ASKED` for digests."""
    number: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts; each iterable can be read once."""

    scans: Iterable[ScanFact]
    cases: Iterable[CaseFact]
    custody: Iterable[tuple[int, Custody]]
    """Times and kinds of the events of the quarantine (custody) log."""
    notices: Iterable[int]
    """Times of receipt of all notices, including those about a file that has a case already."""
    checks: Iterable[CheckFact] = ()


_CUT_SHORT = frozenset(
    {
        EXIT_CLEAN,
        EXIT_FOUND,
        EXIT_INCOMPLETE,
        EXIT_FOUND_INCOMPLETE,
        EXIT_INTERRUPTED,
        EXIT_TERMINATED,
    }
)
"""Exit codes of scans that kept their results."""

_CUSTODY = {
    "moved": Custody.QUARANTINED,
    "restored": Custody.RESTORED,
    "released": Custody.RELEASED,
}
"""The custody event for each type of line in the quarantine log."""


def facts_of(ledger: Ledger, deadlines: DeadlineCalculator) -> Facts:
    """Return all facts in a ledger; they are read during iteration, so the ledger must stay open.

    Raises:
        OutputError: the ledger can't be read; raised during iteration.
    """
    deadlines.register(ledger)
    events = ledger.rows("SELECT at, kind FROM custody")
    notices = ledger.rows("SELECT received FROM notices")
    return Facts(
        _scans(ledger),
        _cases(ledger),
        ((at, _CUSTODY[kind]) for at, kind in events if kind in _CUSTODY),
        (received for (received,) in notices),
        (CheckFact(*row) for row in ledger.rows("SELECT * FROM checks")),
    )


def begun(ledger: Ledger) -> int | None:
    """Return the time of the first record, in seconds since 1970; None if there is none.

    Raises:
        OutputError: the ledger can't be read.
    """
    firsts = (
        ledger.one("SELECT min(started) FROM scans WHERE NOT known"),
        ledger.one("SELECT min(found) FROM cases"),
        ledger.one("SELECT min(at) FROM custody"),
        ledger.one("SELECT min(received) FROM notices"),
        ledger.one("SELECT min(at) FROM checks"),
    )
    return min((int(first) for (first,) in firsts if first is not None), default=None)


def _scans(ledger: Ledger) -> Iterator[ScanFact]:
    # A rescan of cached digests has read no file.
    query = "SELECT started, exit_code, whole, files, bytes FROM scans WHERE NOT known"
    for started, code, whole, files, size in ledger.rows(query):
        incomplete = Outcome.INCOMPLETE if code in _CUT_SHORT else Outcome.FAILED
        yield ScanFact(started, Outcome.COMPLETE if whole else incomplete, files, size)


def _cases(ledger: Ledger) -> Iterator[CaseFact]:
    query = (
        "SELECT coalesce(began, found), verdict, "  # noqa: S608
        "(SELECT json_group_array(DISTINCT list) FROM matches WHERE id=cases.id), "
        # A refused upload was never stored, so no time until its removal counts.
        f"categories, iif(how='{REFUSED}', NULL, {DUE}), removed, closed FROM cases WHERE verdict<>'{INFORM}'"
    )
    for began, verdict, lists, categories, due, removed, closed in ledger.rows(query):
        what = next((found for found in FOUND if found == verdict), None)
        yield CaseFact(
            began, what, frozenset(json.loads(lists)), frozenset(categories.split()), due, removed, closed
        )


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
        return len(self.times)

    @property
    def cases(self) -> int:
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
class Uploads:
    """The checks of `hashscan serve`."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    """Checked uploads by verdict."""
    doors: Counter[str] = field(default_factory=Counter)
    """Checked uploads by door."""
    bytes: int = 0
    refused: int = 0
    unchecked: int = 0
    """Uploads that could not be checked."""
    digests: int = 0
    """Digests that were asked about."""
    digests_found: int = 0

    @property
    def checked(self) -> int:
        """Number of checked uploads."""
        return self.verdicts.total()

    def add(self, fact: CheckFact) -> None:
        """Count checks."""
        if fact.outcome == ASKED:
            self.digests += fact.number
            self.digests_found += fact.number * (fact.verdict == Verdict.MATCH)
            return
        if fact.verdict == UNCHECKED:
            self.unchecked += fact.number
        else:
            self.verdicts[Verdict(fact.verdict)] += fact.number
            self.doors[fact.door] += fact.number
            self.bytes += fact.bytes
        self.refused += fact.number * (fact.outcome == "refuse")


@dataclass(slots=True)
class Figures:
    """All counts of a period."""

    scans: Counter[Outcome] = field(default_factory=Counter)
    files: int = 0
    bytes: int = 0
    findings: Counter[Verdict] = field(default_factory=Counter)
    """New findings, each counted once, in the period in which its case began."""
    lists: Counter[str] = field(default_factory=Counter)
    """Matches by list; a match of two lists counts for both."""
    categories: Counter[str] = field(default_factory=Counter)
    """Matches by category; a match of two categories counts for both."""
    notices: int = 0
    custody: Counter[Custody] = field(default_factory=Counter)
    removal: Removal = field(default_factory=Removal)
    uploads: Uploads = field(default_factory=Uploads)

    def add_scan(self, scan: ScanFact) -> None:
        self.scans[scan.outcome] += 1
        self.files += scan.files
        self.bytes += scan.bytes


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

    @property
    def doors(self) -> Sequence[str]:
        """The sorted names of the doors at which uploads were checked."""
        return sorted(self.totals.uploads.doors)


def count(facts: Facts, periods: Sequence[Period], now: int) -> Statistics:
    """Count all facts that are in one of the periods.

    Args:
        facts: the facts, in any order.
        periods: at least one, each beginning at the end of the one before.
        now: in seconds since 1970; it decides which open cases are overdue.
    """
    each, totals = [Figures() for _ in periods], Figures()

    def at(moment: int) -> Sequence[Figures]:
        index = period_index(periods, moment)
        return () if index is None else (each[index], totals)

    for scan in facts.scans:
        for figures in at(scan.begun):
            figures.add_scan(scan)
    for case in facts.cases:
        for figures in at(case.begun):
            _count_case(figures, case, now)
    for checks in facts.checks:
        for figures in at(checks.begun):
            figures.uploads.add(checks)
    _count_events(facts, at)
    return Statistics(list(zip(periods, each, strict=True)), totals, now)


def _count_events(facts: Facts, at: Callable[[int], Sequence[Figures]]) -> None:
    for moment, custody in facts.custody:
        for figures in at(moment):
            figures.custody[custody] += 1
    for moment in facts.notices:
        for figures in at(moment):
            figures.notices += 1


def _count_case(figures: Figures, case: CaseFact, now: int) -> None:
    if case.found is not None:
        figures.findings[case.found] += 1
    if case.found is Verdict.MATCH:
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


def percentile(values: Sequence[float], share: int) -> float:
    """Return the value that `share` percent (1 to 100) of the values don't exceed, by the nearest rank."""
    ordered = sorted(values)
    return float(ordered[math.ceil(len(ordered) * share / 100) - 1])


class RemovalMonth(Struct, frozen=True):
    """The cases whose files were removed in one month (UTC)."""

    month: str
    """YYYY-MM."""
    removed: int
    in_time: int
    """Number removed by their deadline; cases without a deadline are not counted."""
    late: int
    median_hours: float
    """Median of the hours from the start of a case to the removal of its file, rounded to a thousandth."""
    p90_hours: float
    """90th percentile of these hours, rounded as well."""


def removal_by_month(cases: Iterable[Case]) -> Iterator[RemovalMonth]:
    """Yield the figures of each month from removed cases, which are ordered by the time of removal."""
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
        middle, high = round(median(hours), 3), round(percentile(hours, 90), 3)
        yield RemovalMonth(name, len(hours), in_time, late, middle, high)


def _month_of_removal(case: Case) -> str:
    assert case.removed is not None
    return datetime.fromtimestamp(case.removed, UTC).strftime("%Y-%m")
