"""Tests of settings.values."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.cli.options.base import WARNINGS, worker_count
from hashscan.errors import UsageError
from hashscan.settings import values
from hashscan.settings.values import parse_size, parse_until
from hashscan.text import closest_match


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("2K", 2048), ("3m", 3 << 20), ("1G", 1 << 30), ("1T", 1 << 40)]
)
def test_sizes(text: str, number: int) -> None:
    assert parse_size(text) == number


@given(st.text(max_size=8).filter(lambda t: not t.strip()[:-1].isdigit() and not t.strip().isdigit()))
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
        ("2028-02-29", datetime(2028, 3, 1, tzinfo=UTC)),
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31t18:00:00z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31 18:00:00.25-02:30", datetime(2027, 1, 31, 20, 30, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_an_end_is_a_day_or_a_time(text: str, end: datetime) -> None:
    assert parse_until(text) == end


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2027-02-29",
        "2027-13-01",
        "20270131",
        "2027-W05-7",
        "27-01-31",
        "2027-01-31T18:00:00",
        "2027-01-31T25:00:00Z",
        "2027-01-31T18:00:00+99:00",
        "9999-12-31",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "\N{FULLWIDTH DIGIT TWO}027-01-31",
        "2027-01-31\n",
    ],
)
def test_what_is_no_end(text: str) -> None:
    with pytest.raises(UsageError, match="no day and no time"):
        parse_until(text)


@given(st.text())
def test_any_text_is_an_end_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert parse_until(text).tzinfo is not None


KNOWN = ("workers", "max-pixels", "report", "time_budget")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("wrokers", "workers"),
        ("worker", "workers"),
        ("Workers", "workers"),
        ("max_pixel", "max-pixels"),
        ("time-budgte", "time_budget"),
        ("bananas", None),
        ("", None),
    ],
)
def test_what_was_meant(word: str, meant: str | None) -> None:
    assert closest_match(word, KNOWN) == meant


def test_nothing_is_near_where_nothing_is_known() -> None:
    assert closest_match("workers", ()) is None


@pytest.mark.parametrize(
    ("processors", "limits", "expected"),
    [
        (2, {}, 16),
        (1000, {"a/b/memory.max": str(3 << 30)}, 12),
        (1000, {"a/memory.max": str(1 << 30), "a/b/memory.max": "max\n"}, 4),
        (2, {"a/b/memory.max": "4096"}, 1),
    ],
)
def test_workers_are_bounded_by_processors_and_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    limits: dict[str, str],
    expected: int,
) -> None:
    own = tmp_path / "cgroup"
    own.write_text("3:cpu:/\n0::/a/b\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, limit in limits.items():
        (tmp_path / name).write_text(limit)
    monkeypatch.setattr(values, "_OWN_CGROUP", own)
    monkeypatch.setattr(values, "_CGROUPS", tmp_path)
    monkeypatch.setattr(values.os, "sysconf", {"SC_PHYS_PAGES": 1 << 24, "SC_PAGE_SIZE": 1 << 12}.__getitem__)
    monkeypatch.setattr(values.os, "sched_getaffinity", lambda _: set(range(processors)))
    assert values.max_workers() == expected


def test_a_number_of_workers_that_is_too_large_is_lowered_with_a_message() -> None:
    option = click.Option(["--workers"])
    context = click.Context(click.Command("scan"))
    assert worker_count(context, option, 1) == 1
    assert WARNINGS not in context.meta
    assert worker_count(context, option, 10**6) == values.max_workers() < 10**6
    (message,) = context.meta[WARNINGS]
    assert "--workers 1000000" in message
    with pytest.raises(UsageError):
        worker_count(context, option, 0)
