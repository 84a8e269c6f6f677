"""Estimate how long content stays after a notice, from cases of which some are still open.

A case that is open says that its content stayed at least so long: it is an observation that is censored. The
curve is that of Kaplan and Meier (1958), the share of content that is still there after a time. Its mean up
to a horizon (Royston and Parmar 2013) orders organisations: it exists for everybody, while a median is not
reached by those who leave more than half of their cases open, who have to be ranked, too.

The interval is the area under the limits of each point of the curve, by Wilson's formula (1927) with the
effective number of cases of Peto et al. (1977). It is wider than an exact one, and is never of zero width,
not even if nothing or everything was removed. Where no case was observed for so long, it leaves everything
open.

lifelines and surpyval compute such curves, too. They bring SciPy and pandas, and neither has this interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

HORIZON_HOURS = 30 * 24.0
"""Hours after a notice up to which time counts; content that stays longer counts as if it stayed so long."""
_Z = 1.959964
"""Normal quantile of a two-sided interval of 95 %."""


class Observed(NamedTuple):
    """A case: the hours until its content was removed, or for which it was there so far."""

    hours: float
    removed: bool


class Estimate(NamedTuple):
    """The hours that content stays, counted up to the horizon."""

    hours: float
    """Restricted mean."""
    low: float
    """Limits of 95 %."""
    high: float
    median: float | None
    """Hours after which half of the content is removed; None if that is not reached by the horizon."""


def estimate(cases: Iterable[Observed], horizon: float = HORIZON_HOURS) -> Estimate:
    """Return the estimate from at least one case."""
    ordered = sorted(cases, key=attrgetter("hours"))
    at_risk = len(ordered)
    there, effective, begun = 1.0, float(at_risk), 0.0
    areas = [0.0, 0.0, 0.0]
    median = None

    def add_until(end: float) -> None:
        low, high = _wilson(there, effective)
        for place, share in enumerate((there, low, high)):
            areas[place] += share * (end - begun)

    for hours, group in groupby(ordered, key=attrgetter("hours")):
        if hours > horizon:
            break
        add_until(hours)
        begun = hours
        leaving = list(group)
        # Of cases with the same time, those that are still open were there when the others were removed.
        there *= 1 - sum(case.removed for case in leaving) / at_risk
        at_risk -= len(leaving)
        if there > 0:
            effective = at_risk / there
        if median is None and there <= 0.5:
            median = hours
    add_until(horizon)
    mean, low, high = areas
    return Estimate(mean, low, high, median)


def _wilson(share: float, number: float) -> tuple[float, float]:
    """Return the limits of a share that a number of cases has; of no cases, 0 and 1."""
    if number <= 0:
        return 0.0, 1.0
    weight = _Z * _Z / number
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)
