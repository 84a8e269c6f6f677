"""Tests of cases.statistics.counting."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hashscan.cases.queries import Case
from hashscan.cases.statistics.counting import (
    FOUND,
    CaseFact,
    Custody,
    Facts,
    Outcome,
    Removal,
    RemovalMonth,
    ScanFact,
    Statistics,
    count,
    percentile,
    removal_by_month,
)
from hashscan.cases.statistics.periods import Period, Unit, periods
from hashscan.cases.statistics.writer import csv_lines, json_text
from hashscan.model import Verdict
from tests.cases.test_presence_check import case_of

HOUR, DAY = 3600, 86400
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
NONE: frozenset[str] = frozenset()

moments = st.integers(START - 5 * DAY, START + 70 * DAY)
names = st.frozensets(st.sampled_from(["ours", "national", '=1+1,"x"']), max_size=3)
scans = st.builds(ScanFact, moments, st.sampled_from(Outcome), st.integers(0, 9), st.integers(0, 2**62))
cases = st.builds(
    CaseFact,
    moments,
    st.none() | st.sampled_from(FOUND),
    names,
    names,
    st.none() | moments,
    st.none() | moments,
    st.none() | moments,
)
custody = st.tuples(moments, st.sampled_from(Custody))


def facts(
    scanned: list[ScanFact], found: list[CaseFact], kept: list[tuple[int, Custody]], notices: list[int]
) -> Facts:
    return Facts(iter(scanned), iter(found), iter(kept), iter(notices))


def case(begun: int, *, removed: int | None = None, closed: int | None = None, **others: Any) -> CaseFact:
    kept = {
        "found": Verdict.MATCH,
        "lists": frozenset({"ours"}),
        "categories": frozenset({"A1"}),
    } | others
    return CaseFact(begun=begun, deadline=begun + DAY, removed=removed, closed=closed, **kept)


def months(count_of: int = 2, now: int = START + 100 * DAY) -> list[Period]:
    last = date(2026, 1, 31) if count_of == 1 else date(2026, 2, 28)
    return list(periods(Unit.MONTH, date(2026, 1, 1), last, UTC, now))


def test_nothing_is_zero_and_not_left_out() -> None:
    made = count(facts([], [], [], []), months(), START)
    assert [period.label for period, _ in made.periods] == ["2026-01", "2026-02"]
    for _, figures in made.periods:
        assert not figures.scans
        assert figures.removal.median is figures.removal.ninth_tenth is figures.removal.share is None
    assert json.loads(json_text(made, Unit.MONTH, "UTC"))["totals"]["findings"] == {
        "match": 0,
        "held": 0,
        "review": 0,
    }
    assert len(list(csv_lines(made))) == 3


def test_removal_and_closing_end_the_time_to_the_deadline() -> None:
    found = [
        case(START, removed=START + HOUR),
        case(START, removed=START + DAY),
        case(START, removed=START + DAY + 1),
        case(START, closed=START + HOUR),
        case(START + 50 * DAY),
        case(START + 2 * DAY),
    ]
    made = count(facts([], found, [], []), months(), START + 51 * DAY)
    january, february = (figures.removal for _, figures in made.periods)
    assert (january.cases, january.removed, january.within) == (5, 3, 2)
    assert (january.otherwise, january.open, january.overdue) == (1, 1, 1)
    assert january.share == 2 / 4
    assert january.median == DAY
    assert january.ninth_tenth == DAY + 1
    # Its deadline is reached, and not passed.
    assert (february.open, february.overdue, february.share) == (1, 0, None)


def test_a_finding_on_two_lists_counts_once_but_for_both() -> None:
    both = case(START, lists=frozenset({"ours", "national"}), categories=frozenset({"A1"}))
    held = case(START, found=Verdict.HELD)
    notice = case(START, found=None, lists=NONE, categories=NONE)
    totals = count(facts([], [both, held, notice], [], [START]), months(), START).totals
    assert totals.findings == {Verdict.MATCH: 1, Verdict.HELD: 1}
    assert totals.lists == {"ours": 1, "national": 1}
    assert totals.categories == {"A1": 1}
    assert totals.notices == 1
    assert totals.removal.cases == 3


def test_a_case_without_a_deadline_has_no_time_left() -> None:
    held = CaseFact(START, Verdict.HELD, NONE, NONE, None, START + HOUR, None)
    totals = count(facts([], [held], [], []), months(), START).totals
    assert totals.findings == {Verdict.HELD: 1}
    assert totals.removal == Removal()


def test_a_clock_that_was_set_back_removes_nothing_before_it_was_found() -> None:
    totals = count(facts([], [case(START, removed=START - HOUR)], [], []), months(), START).totals
    assert totals.removal.times == [0]
    assert totals.removal.within == 1


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(1, 100))
def test_percentiles_are_what_so_many_do_not_exceed(values: list[int], share: int) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(v <= found for v in values) * 100 >= share * len(values)
    assert sum(v < found for v in values) * 100 < share * len(values)


def by_hand(what: list[Any], when: Callable[[Any], int], period: Period) -> list[Any]:
    return [one for one in what if period.begin <= when(one) < period.end]


@given(
    st.lists(scans, max_size=20),
    st.lists(cases, max_size=20),
    st.lists(custody, max_size=20),
    st.lists(moments, max_size=20),
    st.sampled_from(Unit),
    st.integers(0, 60),
    moments,
)
def test_numbers_are_those_of_a_slow_count_and_add_up(
    scanned: list[ScanFact],
    found: list[CaseFact],
    kept: list[tuple[int, Custody]],
    notices: list[int],
    unit: Unit,
    length: int,
    now: int,
) -> None:
    first = date(2026, 1, 1)
    among = periods(unit, first, first + timedelta(days=length), UTC, now)
    made = count(facts(scanned, found, kept, notices), among, now)
    whole = Period("all", among[0].begin, among[-1].end, False)
    for period, figures in [*made.periods, (whole, made.totals)]:
        there = by_hand(scanned, lambda s: s.begun, period)
        assert figures.scans.total() == len(there)
        assert figures.files == sum(s.files for s in there)
        assert figures.bytes == sum(s.bytes for s in there)
        for outcome in Outcome:
            assert figures.scans[outcome] == sum(s.outcome is outcome for s in there)
        begun = by_hand(found, lambda c: c.begun, period)
        for verdict in FOUND:
            assert figures.findings[verdict] == sum(c.found is verdict for c in begun)
        for name in ("ours", "national"):
            matches = [c for c in begun if c.found is Verdict.MATCH]
            assert figures.lists[name] == sum(name in c.lists for c in matches)
            assert figures.categories[name] == sum(name in c.categories for c in matches)
        timed = [c for c in begun if c.deadline is not None]
        removed = [c for c in timed if c.removed is not None]
        assert figures.removal.cases == len(timed)
        assert sorted(figures.removal.times) == sorted(max(0, c.removed - c.begun) for c in removed)
        assert figures.removal.within == sum(c.removed <= c.deadline for c in removed)
        undecided = [c for c in timed if c.removed is None and c.closed is None]
        assert figures.removal.open == len(undecided)
        assert figures.removal.overdue == sum(c.deadline < now for c in undecided)
        for what in Custody:
            assert figures.custody[what] == sum(c[1] is what for c in by_hand(kept, lambda c: c[0], period))
        assert figures.notices == len(by_hand(notices, lambda at: at, period))
    adds_up(made, unit)


def adds_up(made: Statistics, unit: Unit) -> None:
    """Totals are the sums of periods in what is written, too."""
    written = json.loads(json_text(made, unit, "UTC"))
    rows = list(__import__("csv").DictReader(csv_lines(made)))
    assert [row["period"] for row in rows] == [period["period"] for period in written["periods"]]
    for key, total in written["totals"].items():
        inner = total if isinstance(total, dict) else {"": total}
        for name, value in inner.items():
            if name in {"share_within", "median_hours", "p90_hours"}:
                continue
            column = f"{key}_{name}" if isinstance(total, dict) else key
            assert sum(int(row[column]) for row in rows) == value
            parts = [p[key][name] if isinstance(total, dict) else p[key] for p in written["periods"]]
            assert sum(parts) == value


JANUARY = 1_798_761_600
"""The first second of 2027, UTC."""


def removed(hours: float, at: int = JANUARY, *, allowed: float | None = 24.0) -> Case:
    found = at - int(hours * 3600)
    due = None if allowed is None else found + int(allowed * 3600)
    return replace(case_of(b"/x"), found=found, began=found, removed=at, due=due)


def test_median_and_ninetieth_by_the_month_of_removal() -> None:
    cases = [removed(hours, JANUARY + 60) for hours in (1, 2, 3, 4, 5, 6, 7, 8, 9, 100)]
    assert list(removal_by_month([removed(30, JANUARY - 1), *cases])) == [
        RemovalMonth("2026-12", 1, 0, 1, 30.0, 30.0),
        RemovalMonth("2027-01", 10, 9, 1, 5.5, 9.0),
    ]


def test_a_case_without_a_deadline_is_neither_in_time_nor_late() -> None:
    assert list(removal_by_month([removed(30, allowed=None)])) == [
        RemovalMonth("2027-01", 1, 0, 0, 30.0, 30.0)
    ]


def test_of_nothing_there_is_nothing() -> None:
    assert list(removal_by_month([])) == []
