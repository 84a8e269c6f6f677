from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.text import is_printable_line, printable, shortened


@given(st.text(), st.binary())
def test_all_that_is_printable_can_be_shown(text: str, data: bytes) -> None:
    for shown in (printable(text), printable(data.decode("utf-8", errors="surrogateescape"))):
        assert shown.isprintable()
        shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü.jpg", "plain ü.jpg"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202egpj", "\\u202egpj"),
        ("\x85", "\\u0085"),
        ("\udcff", "\\xff"),
        ("\U000e0001", "\\U000e0001"),
        ("a\\x1b", "a\\x1b"),
    ],
)
def test_what_stands_in_its_place(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_characters_can_be_kept() -> None:
    assert printable("a\n\x1b\t", keep="\n") == "a\n\\x1b\\x09"


def test_a_printable_line() -> None:
    assert is_printable_line("", 1)
    assert is_printable_line("é" * 5, 5)
    assert not is_printable_line("é" * 6, 5)
    assert not any(is_printable_line(text, 9) for text in ("a\n", "\u202e", "\x1b", "\ud800"))


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_shortened_is_no_longer_than_asked(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert (short == text) is (len(text) <= most)


def test_begin_and_end_are_kept() -> None:
    assert shortened("/srv/" + "n" * 100 + ".jpg", 12) == "/srv/…nn.jpg"
