from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.reports.names import path_bytes, path_text, printable, shortened
from hashscan.reports.records import path_fields


@given(st.binary())
def test_a_name_comes_back_byte_for_byte(path: bytes) -> None:
    record = {"type": "finding", **path_fields(path)}
    assert path_bytes(record) == path
    assert path_text(record).encode("utf-8", errors="surrogateescape") == path


def test_half_a_character_in_a_report_that_we_did_not_write() -> None:
    record = {"type": "finding", "path": "/srv/\ud800"}
    assert path_bytes(record) == b"/srv/\xed\xa0\x80"
    assert printable(path_text(record)) == "/srv/\\ud800"


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


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_shortened_is_no_longer_than_asked(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert (short == text) is (len(text) <= most)


def test_begin_and_end_are_kept() -> None:
    assert shortened("/srv/" + "n" * 100 + ".jpg", 12) == "/srv/…nn.jpg"
