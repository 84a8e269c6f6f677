"""Days, weeks and months."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.cases.statistics.periods import (
    MAX_PERIODS,
    Unit,
    day_of,
    days_of,
    earlier,
    period_index,
    periods,
    zone_of,
)
from hashscan.errors import UsageError

DAYS = st.dates(date(1975, 1, 1), date(2100, 12, 31))
ZONES = st.sampled_from(["UTC", "Europe/Amsterdam", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"])
LATE = 5_000_000_000


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-11-26", date(2026, 11, 26), date(2026, 11, 26)),
        ("2026-W01", date(2025, 12, 29), date(2026, 1, 4)),
        ("2026-W53", date(2026, 12, 28), date(2027, 1, 3)),
        ("2028-02", date(2028, 2, 1), date(2028, 2, 29)),
        ("2026-12", date(2026, 12, 1), date(2026, 12, 31)),
        ("2026", date(2026, 1, 1), date(2026, 12, 31)),
    ],
)
def test_a_time_is_written_as_a_day_a_week_a_month_or_a_year(text: str, first: date, last: date) -> None:
    assert days_of(text) == (first, last)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "26",
        "2026-13",
        "2026-02-30",
        "2026-W54",
        "2026-W00",
        "2026-1",
        "2026-W1",
        "0000",
        "1969",
        "3000",
        "2026-11-26T00:00",
        "٢٠٢٦",
        "2026-11-26\n",
        "9999",
        "-2026",
        "x" * 5000,
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        days_of(text)


@pytest.mark.parametrize("name", ["", "Europe", "../../../etc/passwd", "/etc/passwd", "Nowhere/City", "a\0b"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        zone_of(name)


def test_zones_by_name() -> None:
    assert zone_of("utc") is UTC
    assert zone_of("Europe/Amsterdam") == ZoneInfo("Europe/Amsterdam")


def test_days_follow_the_clocks_of_the_zone() -> None:
    zone = ZoneInfo("Europe/Amsterdam")
    three = periods(Unit.DAY, date(2026, 3, 28), date(2026, 3, 30), zone, LATE)
    assert [(p.end - p.begin) / 3600 for p in three] == [24, 23, 24]
    assert three[0].begin == datetime(2026, 3, 27, 23, tzinfo=UTC).timestamp()


def test_a_day_that_has_no_midnight_begins_when_clocks_are_put_forward() -> None:
    two = periods(Unit.DAY, date(2018, 11, 3), date(2018, 11, 4), ZoneInfo("America/Sao_Paulo"), LATE)
    assert two[0].end == two[1].begin == datetime(2018, 11, 4, 3, tzinfo=UTC).timestamp()
    assert two[1].end - two[1].begin == 23 * 3600


def test_a_period_that_is_cut_or_not_over_is_not_whole() -> None:
    now = int(datetime(2026, 4, 10, tzinfo=UTC).timestamp())
    made = periods(Unit.MONTH, date(2026, 1, 15), date(2026, 4, 30), UTC, now)
    assert [(p.label, p.whole) for p in made] == [
        ("2026-01", False),
        ("2026-02", True),
        ("2026-03", True),
        ("2026-04", False),
    ]
    assert made[0].begin == datetime(2026, 1, 15, tzinfo=UTC).timestamp()
    week = periods(Unit.WEEK, date(2026, 1, 1), date(2026, 1, 3), UTC, now)
    assert [(p.label, p.whole) for p in week] == [("2026-W01", False)]
    assert week[0].end - week[0].begin == 3 * 86400


@given(DAYS, st.integers(0, 400), st.sampled_from(Unit), ZONES)
def test_periods_lie_side_by_side_and_cover_the_days(first: date, days: int, unit: Unit, name: str) -> None:
    zone = zone_of(name)
    last = first + timedelta(days=days)
    made = periods(unit, first, last, zone, LATE)
    assert all(before.end == after.begin for before, after in itertools.pairwise(made))
    assert all(each.begin <= each.end for each in made)
    assert made[0].begin == datetime(first.year, first.month, first.day, tzinfo=zone).timestamp()
    assert day_of(made[0].begin, zone) >= first
    assert len({each.label for each in made}) == len(made)


@given(DAYS, st.integers(0, 100), st.sampled_from(Unit), ZONES, st.integers(-10, 5 * 10**9))
def test_a_moment_is_in_the_period_around_it(
    first: date, days: int, unit: Unit, name: str, moment: int
) -> None:
    made = periods(unit, first, first + timedelta(days=days), zone_of(name), LATE)
    # Hypothesis would hardly ever come by.
    near = made[len(made) // 2].begin + moment % 200_000 - 100_000
    for one in (moment, near, made[0].begin, made[-1].end, made[-1].end - 1):
        place = period_index(made, one)
        assert [n for n, period in enumerate(made) if period.begin <= one < period.end] == (
            [] if place is None else [place]
        )


def test_too_many_periods_and_a_time_that_runs_backwards_are_refused() -> None:
    first = date(2020, 1, 1)
    assert len(periods(Unit.DAY, first, first + timedelta(days=MAX_PERIODS - 1), UTC, LATE)) == MAX_PERIODS
    with pytest.raises(UsageError, match="more than"):
        periods(Unit.DAY, first, first + timedelta(days=MAX_PERIODS), UTC, LATE)
    with pytest.raises(UsageError, match="before"):
        periods(Unit.DAY, first, first - timedelta(days=1), UTC, LATE)


def test_looking_back_begins_with_a_whole_period() -> None:
    day = date(2026, 11, 26)
    assert earlier(Unit.MONTH, day, 11) == date(2025, 12, 1)
    assert earlier(Unit.WEEK, day, 1) == date(2026, 11, 16)
    assert earlier(Unit.DAY, day, 30) == date(2026, 10, 27)
    assert earlier(Unit.MONTH, date(1970, 3, 1), 30) == date(1970, 1, 2)


@pytest.mark.parametrize("moment", [-(10**18), -1, 0, 10**11, 10**18])
def test_times_that_no_calendar_has_are_at_its_ends(moment: int) -> None:
    assert day_of(moment, UTC) in {date(1970, 1, 2), date(2999, 12, 30)}
