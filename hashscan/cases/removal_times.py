"""Compute the hours to removal of cases, by month: median, 90th percentile, and in time or late."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from statistics import median

from hashscan.cases.queries import Case


@dataclass(frozen=True, slots=True)
class Month:
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


def months(cases: Iterable[Case]) -> Iterator[Month]:
    """Yield the figures of each month.

    Args:
        cases: removed cases, ordered by the time of removal.
    """
    for name, group in groupby(cases, key=_month):
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
        yield Month(name, len(hours), in_time, late, median(hours), hours[math.ceil(0.9 * len(hours)) - 1])


def _month(case: Case) -> str:
    assert case.removed is not None
    return datetime.fromtimestamp(case.removed, UTC).strftime("%Y-%m")
