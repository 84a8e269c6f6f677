from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hashscan import timefmt

TIME = datetime(2026, 11, 26, 3, 0, 0, 500_000, timezone(timedelta(hours=1)))


def test_times_are_written_in_utc() -> None:
    seconds = int(TIME.timestamp())
    assert timefmt.format_utc(TIME) == timefmt.format_utc_seconds(seconds) == "2026-11-26T02:00:00Z"
    assert timefmt.format_time(seconds) == "2026-11-26T02:00:00+00:00"
    assert timefmt.short_time(seconds) == "2026-11-26 02:00"
    assert datetime.strptime(timefmt.utc_now(), timefmt.UTC_FORMAT).replace(tzinfo=UTC) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (1_764_122_400_999_999_999, "2025-11-26T02:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (-1 << 63, "1677-09-21T00:12:43Z"),
        (-40_000_000_000 * 10**9, ""),
        (10**30, ""),
        (None, ""),
        ("0", ""),
    ],
)
def test_times_of_files(nanoseconds: object, text: str) -> None:
    """They come from filesystems and from reports that others wrote."""
    assert timefmt.file_time(nanoseconds) == text


def test_a_time_outside_the_calendar_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no time"):
        timefmt.format_time(1 << 70)


@pytest.mark.parametrize(
    "text", ["yesterday", "", "2026-11-26", "2026-11-26T03:00:00", "0001-01-01T00:00:00+14:00"]
)
def test_a_text_that_is_no_time_with_a_zone(text: str) -> None:
    assert timefmt.parse_zoned(text) is None
    assert timefmt.readable_time(text) == text


def test_a_time_with_a_zone_is_parsed() -> None:
    assert timefmt.parse_zoned(TIME.isoformat()) == TIME
    assert timefmt.readable_time(TIME.isoformat()) == "2026-11-26 02:00:00 UTC"


def test_a_time_of_a_server_without_a_zone_is_in_utc() -> None:
    expected = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (
        timefmt.parse_utc("2026-01-02T03:04:05") == timefmt.parse_utc("2026-01-02T03:04:05.000Z") == expected
    )
    assert timefmt.to_nanoseconds(expected + timedelta(microseconds=7_999)) == 1_767_323_045_007_000_000
