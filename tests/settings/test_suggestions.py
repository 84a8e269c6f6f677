from __future__ import annotations

import pytest

from hashscan.settings.suggestions import closest_match

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
