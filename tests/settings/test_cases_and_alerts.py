"""The sender's settings, from a settings file."""

from __future__ import annotations

from typing import Any

import pytest

from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.settings.cases_and_alerts import reporter_of

ALL = {
    "organisation": "Example Hosting",
    "email": "abuse@example.org",
    "domain": "Example.org",
    "name": "A. Person",
    "phone": "+31 20 000 0000",
    "country": "NL",
}


def test_all_of_it_is_read() -> None:
    assert reporter_of(ALL, "hashscan.toml") == Reporter(
        "Example Hosting", "abuse@example.org", "example.org", "A. Person", "+31 20 000 0000", "NL"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"email": "abuse"}, "no e-mail address"),
        ({"email": "a@b\r\nBcc: c@d"}, "no e-mail address"),
        ({"organisation": " "}, "empty"),
        ({"organisation": "a\x1b[1m"}, "is not permitted there"),
        ({"domain": "example"}, "no domain"),
        ({"country": "nl"}, "no country"),
        ({"mail": "a@b"}, "no key 'mail'"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        reporter_of({**ALL, **change}, "hashscan.toml")
    assert message in str(caught.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="'email' is missing"):
        reporter_of({"organisation": "x"}, "hashscan.toml")
    with pytest.raises(UsageError, match="no table"):
        reporter_of([], "hashscan.toml")
