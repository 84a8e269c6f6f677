"""How long removals took, month by month."""

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
    """The cases whose files were removed in one month of UTC."""

    name: str
    """YYYY-MM."""
    removed: int
    in_time: int
    """Removed before they were due; those without a clock are not among them."""
    late: int
    median: float
    """Hours from when a case was found or told of to when its file was gone."""
    ninetieth: float
    """Hours that nine of ten cases took at most."""


def months(cases: Iterable[Case]) -> Iterator[Month]:
    """Count the cases of each month.

    Args:
        cases: removed ones, in the order in which they were removed.
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
