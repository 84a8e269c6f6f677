"""Numbers and times in words."""

from __future__ import annotations

import pytest

from hashscan.reports.page.text import duration, format_bytes, number


def test_thousands_are_apart() -> None:
    assert number(1234567) == "1\u202f234\u202f567"
    assert number(0) == "0"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1048575, "1 MiB"),
        (1 << 40, "1 TiB"),
        (1 << 62, "4096 PiB"),
    ],
)
def test_bytes(value: int, words: str) -> None:
    assert format_bytes(value).replace("\xa0", " ") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.407, "0.4 s"), (59.9, "1 min 0 s"), (42.0, "42 s"), (3725, "1 h 2 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
