"""Rules of sites from a settings file."""

from __future__ import annotations

from typing import Any

import pytest

from hashscan.attribution.site_table import site_rules
from hashscan.errors import UsageError
from hashscan.model import SiteRule


def test_rules_are_read_in_their_order() -> None:
    rows = [
        {"url": "https://{c}.example/", "path": "/w/{c}"},
        {"url": "http://b.example/", "path": "s3://b/"},
    ]
    assert site_rules(rows, "hashscan.toml") == (
        SiteRule("site rule 1", "https://{c}.example/", "/w/{c}"),
        SiteRule("site rule 2", "http://b.example/", "s3://b/"),
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"url": "https://a.example/"}, "key 'path' is missing"),
        ({"url": "a.example", "path": "/a"}, "no web address"),
        ({"url": "https://a.example/", "path": "xx://a"}, "names no objects"),
        ({"url": "https://a.example/", "path": ""}, "no path"),
        ({"url": "https://a.example/?q", "path": "/a"}, "no plain web address"),
        ({"url": "https://a.example/", "path": "/a", "x": 1}, "no key 'x'"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as told:
        site_rules([row], "hashscan.toml")
    assert words in str(told.value)
    assert str(told.value).startswith("hashscan.toml, site rule 1")
