from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hashscan.reports.names import path_bytes, path_text, shortened
from hashscan.reports.records import path_fields
from hashscan.text import printable


@given(st.binary())
def test_a_name_comes_back_byte_for_byte(path: bytes) -> None:
    record = {"type": "finding", **path_fields(path)}
    assert path_bytes(record) == path
    assert path_text(record).encode("utf-8", errors="surrogateescape") == path


def test_half_a_character_in_a_report_that_we_did_not_write() -> None:
    record = {"type": "finding", "path": "/srv/\ud800"}
    assert path_bytes(record) == b"/srv/\xed\xa0\x80"
    assert printable(path_text(record)) == "/srv/\\ud800"


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_shortened_is_no_longer_than_asked(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert (short == text) is (len(text) <= most)


def test_begin_and_end_are_kept() -> None:
    assert shortened("/srv/" + "n" * 100 + ".jpg", 12) == "/srv/…nn.jpg"
