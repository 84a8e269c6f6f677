from __future__ import annotations

from dataclasses import replace

from hashscan.cases.queries import Case
from hashscan.cases.removal_times import Month, months
from tests.cases.test_presence_check import case_of

JANUARY = 1_798_761_600
"""The first second of 2027, UTC."""


def removed(hours: float, at: int = JANUARY, *, allowed: float | None = 24.0) -> Case:
    found = at - int(hours * 3600)
    due = None if allowed is None else found + int(allowed * 3600)
    return replace(case_of(b"/x"), found=found, began=found, removed=at, due=due)


def test_median_and_ninetieth_by_the_month_of_removal() -> None:
    cases = [removed(hours, JANUARY + 60) for hours in (1, 2, 3, 4, 5, 6, 7, 8, 9, 100)]
    assert list(months([removed(30, JANUARY - 1), *cases])) == [
        Month("2026-12", 1, 0, 1, 30.0, 30.0),
        Month("2027-01", 10, 9, 1, 5.5, 9.0),
    ]


def test_what_has_no_clock_is_neither_in_time_nor_late() -> None:
    assert list(months([removed(30, allowed=None)])) == [Month("2027-01", 1, 0, 0, 30.0, 30.0)]


def test_of_nothing_there_is_nothing() -> None:
    assert list(months([])) == []
