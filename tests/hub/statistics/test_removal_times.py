"""Estimates from open and ended cases: a known example, the extremes, and how often the limits hold."""

from __future__ import annotations

import math
import random

import pytest

from hashscan.hub.statistics.removal_times import Observed, estimate

TREATED = [Observed(hours, True) for hours in (6, 6, 6, 7, 10, 13, 16, 22, 23)] + [
    Observed(hours, False) for hours in (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)
]
"""The treated patients of Freireich et al. (1963), the example of many textbooks of this curve."""


def test_the_example_of_the_textbooks() -> None:
    found = estimate(TREATED, 35)
    curve = [(6, 1), (1, 0.857), (3, 0.807), (3, 0.753), (3, 0.690), (6, 0.627), (1, 0.538), (12, 0.448)]
    assert found.median == 23
    assert found.hours == pytest.approx(sum(width * share for width, share in curve), abs=0.02)
    assert 0 < found.low < found.hours < found.high < 35


@pytest.mark.parametrize("removed", [False, True])
def test_the_limits_are_apart_where_nothing_or_everything_was_removed(removed: bool) -> None:
    few, many = (estimate([Observed(100.0, removed)] * number, 100) for number in (10, 1000))
    assert (few.hours, few.high) == pytest.approx((100, 100))
    assert few.low < many.low < 100
    at_once = estimate([Observed(0.0, True)] * 10, 100)
    assert (at_once.hours, at_once.low, at_once.median) == (0, 0, 0)
    assert at_once.high > 10


def test_nothing_is_said_of_times_that_no_case_has_reached() -> None:
    short, long = (estimate([Observed(hours, False)] * 1000, 100) for hours in (10.0, 100.0))
    assert (short.hours, short.high) == pytest.approx((100, 100))
    assert short.median is None
    assert short.low < 11 < 99 < long.low


def test_silence_never_improves_the_estimate() -> None:
    ended = [Observed(float(hours), True) for hours in range(1, 7)]
    for silent in range(1, 15):
        better = estimate([*ended, *[Observed(700.0, False)] * (silent - 1)])
        worse = estimate([*ended, *[Observed(700.0, False)] * silent])
        assert better.hours < worse.hours
        assert better.high <= worse.high


def test_the_limits_hold() -> None:
    """In at least 95 of 100 samples with many open cases, the true mean is within the limits."""
    draw = random.Random(20261201)
    mean, horizon = 100.0, 300.0
    truth = mean * (1 - math.exp(-horizon / mean))
    held = 0
    for _ in range(300):
        cases = [(draw.expovariate(1 / mean), draw.uniform(50, 600)) for _ in range(20)]
        found = estimate([Observed(min(each), each[0] <= each[1]) for each in cases], horizon)
        held += found.low <= truth <= found.high
    assert held >= 0.95 * 300
