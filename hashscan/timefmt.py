"""Parse and format times: each form in one place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
"""The form of `format_utc`, for `strptime`."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_utc(time: datetime) -> str:
    """Return a timezone-aware time as RFC 3339 in whole seconds, such as `2026-11-26T09:30:00Z`.

    Times of this form sort as text.
    """
    return time.astimezone(UTC).strftime(UTC_FORMAT)


def format_utc_seconds(seconds: float | None) -> str:
    """Return seconds since 1970 in the form of `format_utc`; empty for None."""
    return "" if seconds is None else format_utc(datetime.fromtimestamp(seconds, UTC))


def utc_now() -> str:
    """Return the current time in the form of `format_utc`."""
    return format_utc(datetime.now(UTC))


@lru_cache(maxsize=1 << 12)
def format_time(seconds: int) -> str:
    """Return seconds since 1970 in the form of reports, such as `2026-11-26T09:30:00+00:00`.

    Raises:
        ValueError: the calendar has no such time.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, OSError) as error:
        raise ValueError(f"there is no time {seconds}") from error


def short_time(seconds: float) -> str:
    """Return seconds since 1970 as a time in UTC for people, such as `2026-11-26 09:30`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def file_time(nanoseconds: object) -> str:
    """Return a file's time in the form of `format_utc`, from nanoseconds since 1970.

    It is empty if the time is not known, or has no year of four digits.
    """
    if not isinstance(nanoseconds, int):
        return ""
    try:
        time = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return ""
    return format_utc(time) if time.year >= 1000 else ""


def to_nanoseconds(time: datetime) -> int:
    """Return a timezone-aware time in nanoseconds since 1970, in whole milliseconds."""
    return int(time.timestamp() * 1000) * 1_000_000


def parse_zoned(text: str) -> datetime | None:
    """Return an ISO 8601 time in UTC; None if the text is not one, or lacks its time zone."""
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_utc(text: str) -> datetime:
    """Return an ISO 8601 time, timezone-aware; one without a zone is taken as UTC.

    Raises:
        ValueError: the text is not a time.
    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def readable_time(text: str) -> str:
    """Return a time of a record for people, such as `2026-11-26 09:30:00 UTC`; any other text unchanged."""
    time = parse_zoned(text)
    return text if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"
