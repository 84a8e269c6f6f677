"""Redirects, and servers' answers about retries and failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.web_address import parse
from hashscan.web_transport import RedirectError, describe_status, redirect_target, retry_after


@pytest.mark.parametrize(
    ("location", "whole"),
    [
        ("http://other/x?y#z", "http://other/x?…"),
        ("https://other/", "https://other/"),
        ("//other/x", "http://other/x"),
        ("/x/../y", "http://h/x/../y"),
        ("x", "http://h/a/x"),
        ("?y", "http://h/a/b?…"),
        ("#z", "http://h/a/b"),
    ],
)
def test_where_redirects_lead(location: str, whole: str) -> None:
    found = redirect_target(parse(b"http://h/a/b?q"), location).shown.decode()
    assert found.partition("…")[0] == whole.partition("…")[0]


@pytest.mark.parametrize(
    "location", ["", " ", "file:///x", "mailto:x", "http:x", "http://u:p@h/", "https://"]
)
def test_where_they_do_not(location: str) -> None:
    with pytest.raises(RedirectError):
        redirect_target(parse(b"http://h/a"), location)


def test_never_to_less_safety() -> None:
    with pytest.raises(RedirectError, match="https to http"):
        redirect_target(parse(b"https://h/a"), "http://h/a")


@given(st.text(max_size=40), st.sampled_from(["", "http://", "https://", "//", "/"]))
def test_any_location_leads_to_an_address_of_equal_safety_or_to_the_one_error(text: str, begin: str) -> None:
    try:
        target = redirect_target(parse(b"https://h/a"), begin + text)
    except RedirectError:
        return
    assert target.scheme == "https"
    assert parse(target.url.encode()).endpoint == target.endpoint


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), (" 0 ", 0.0), ("9" * 30, 999_999_999.0), ("-1", None), ("", None)]
)
def test_the_wait_that_a_server_asks_for(text: str, seconds: float | None) -> None:
    assert retry_after(text) == seconds


def test_a_wait_until_a_date() -> None:
    now = datetime.now(UTC)
    later = retry_after(format_datetime(now + timedelta(hours=1), usegmt=True))
    assert later is not None
    assert 3000 < later <= 3600
    assert retry_after(format_datetime(now - timedelta(hours=1), usegmt=True)) == 0.0


def test_statuses_in_terms_of_our_own() -> None:
    assert describe_status(404) == "answers 404 (Not Found)"
    assert describe_status(799) == "answers 799"
