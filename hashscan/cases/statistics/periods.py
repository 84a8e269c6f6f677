"""Compute days, weeks and months of a time zone."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from operator import attrgetter
from zoneinfo import ZoneInfo

from hashscan.errors import UsageError

MAX_PERIODS = 1000
"""Maximum number of periods in one result; more would not be readable."""

_DAY = timedelta(days=1)
_FIRST, _LAST = date(1970, 1, 2), date(2999, 12, 30)
_WRITTEN = re.compile(r"(\d{4})(?:-(?:W(\d\d)|(\d\d)(?:-(\d\d))?))?", re.ASCII)


class Unit(StrEnum):
    """The length of a period."""

    DAY = "day"
    WEEK = "week"
    """From Monday, numbered as in ISO 8601."""
    MONTH = "month"


USUAL = {Unit.DAY: 30, Unit.WEEK: 26, Unit.MONTH: 12}
"""Default number of periods to show."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period; times in seconds since 1970."""

    label: str
    """`2026-11-26`, `2026-W48` or `2026-11`."""
    begin: int
    end: int
    """The first second after it."""
    whole: bool
    """True if it is a complete day, week or month, and is over."""


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name, such as `Europe/Amsterdam`.

    Raises:
        UsageError: there is no time zone of that name.
    """
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    # The name may be that of a folder, or of a file that holds no zone.
    except (KeyError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {name[:100]!r}", advice="Name one as in Europe/Amsterdam, or UTC."
        ) from None


def days_of(text: str) -> tuple[date, date]:
    """Return the first and last day of a text that names a day, an ISO week, a month or a year.

    Raises:
        UsageError: the text is none of these, or is before 1970 or after 2999.
    """
    found = _WRITTEN.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        year, week, month, day = (int(each) if each else None for each in found.groups())
        assert year is not None
        if week is not None:
            first = date.fromisocalendar(year, week, 1)
            last = first + 6 * _DAY
        else:
            first = date(year, month or 1, day or 1)
            last = first if day else _after(first, Unit.MONTH) - _DAY if month else date(year, 12, 31)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text[:100]!r} is not a day, week, month or year",
            advice="Write it as 2026-11-26, 2026-W48, 2026-11 or 2026.",
        ) from None
    if first.year < _FIRST.year or last.year > _LAST.year:
        raise UsageError(f"{text} is too far away", advice="Name a time from 1970 to 2999.")
    return max(first, _FIRST), min(last, _LAST)


def day_of(moment: int, zone: tzinfo) -> date:
    """Return the day of a time in a time zone; limited to the first and last supported day."""
    try:
        return min(max(datetime.fromtimestamp(moment, zone).date(), _FIRST), _LAST)
    except (ValueError, OverflowError, OSError):
        return _FIRST if moment < 0 else _LAST


def periods(unit: Unit, first: date, last: date, zone: tzinfo, now: int) -> Sequence[Period]:
    """Return all periods from one day to another, both included.

    Args:
        first: first day; a period that began before is cut there.
        last: last day; a period that goes on is cut after it.
        now: in seconds since 1970.

    Raises:
        UsageError: the last day is before the first, or there are too many periods.
    """
    if last < first:
        raise UsageError(f"{last} is before {first}", advice="Let --since be before --until.")
    made: list[Period] = []
    for start in _starts(unit, first, last):
        if len(made) == MAX_PERIODS:
            raise UsageError(
                f"from {first} to {last} there are more than {MAX_PERIODS} {unit}s",
                advice="Ask for a shorter time, or longer periods with --by.",
            )
        after = _after(start, unit)
        begin, end = _midnight(max(start, first), zone), _midnight(min(after, last + _DAY), zone)
        whole = start >= first and after <= last + _DAY and end <= now
        made.append(Period(_label(start, unit), begin, end, whole))
    return made


def whole_span(first: date, last: date, zone: tzinfo, now: int) -> Period:
    """Return the period from one day to another, both included; `now` is in seconds since 1970."""
    begin, end = _midnight(first, zone), _midnight(last + _DAY, zone)
    return Period(f"{first}/{last}", begin, end, end <= now)


def bounds_of(first: str, last: str) -> tuple[int, int]:
    """Return the begin and end of a time of whole days (UTC), in seconds since 1970; texts as for `days_of`.

    Raises:
        UsageError: a text names no days.
    """
    return _midnight(days_of(first)[0], UTC), _midnight(days_of(last)[1] + _DAY, UTC)


def earlier(unit: Unit, day: date, count: int) -> date:
    """Return the first day of the period that is `count` periods before that of a day; not before 1970."""
    start = _start(day, unit)
    for _ in range(count):
        if start <= _FIRST:
            return _FIRST
        start = _start(start - _DAY, unit)
    return max(start, _FIRST)


def period_index(among: Sequence[Period], moment: int) -> int | None:
    """Return the index of the period of a time, from 0; None if the time is in none of them."""
    index = bisect_right(among, moment, key=attrgetter("begin")) - 1
    return index if index >= 0 and moment < among[-1].end else None


def _starts(unit: Unit, first: date, last: date) -> Iterator[date]:
    start = _start(first, unit)
    while start <= last:
        yield start
        start = _after(start, unit)


def _start(day: date, unit: Unit) -> date:
    if unit is Unit.WEEK:
        return day - day.weekday() * _DAY
    return day.replace(day=1) if unit is Unit.MONTH else day


def _after(start: date, unit: Unit) -> date:
    if unit is Unit.MONTH:
        return (start + 31 * _DAY).replace(day=1)
    return start + (7 if unit is Unit.WEEK else 1) * _DAY


def _midnight(day: date, zone: tzinfo) -> int:
    """Return the start of a day; if the clocks are put forward at midnight, the time at which they are."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def _label(start: date, unit: Unit) -> str:
    if unit is Unit.MONTH:
        return f"{start.year:04}-{start.month:02}"
    if unit is Unit.WEEK:
        year, week, _ = start.isocalendar()
        return f"{year:04}-W{week:02}"
    return start.isoformat()
