"""Rules of customers from a settings file."""

from __future__ import annotations

import os
import pwd
import tomllib
from typing import Any

import pytest

from hashscan.attribution.customer_table import customer_rules
from hashscan.errors import UsageError
from hashscan.model import CustomerRule


def read(text: str) -> tuple[CustomerRule, ...]:
    return customer_rules(tomllib.loads(text)["customer"], "hashscan.toml")


def test_rules_are_read_in_their_order() -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    assert read(
        f"""
        [[customer]]
        path = "/srv/{{customer}}/"
        [[customer]]
        path = ["/a/", "s3://b/"]
        name = "Alice & Co"
        [[customer]]
        owner = ["{me}", 12, "1000-1999"]
        [[customer]]
        path = "/tmp/"
        name = ""
        """
    ) == (
        CustomerRule("customer rule 1", "{customer}", ("/srv/{customer}/",)),
        CustomerRule("customer rule 2", "Alice & Co", ("/a/", "s3://b/")),
        CustomerRule("customer rule 3", "{user}", (), ((os.getuid(), os.getuid()), (12, 12), (1000, 1999))),
        CustomerRule("customer rule 4", "", ("/tmp/",)),
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"pth": "/a"}, "no key 'pth'"),
        ({"path": []}, "empty list"),
        ({"path": 3}, "no pattern"),
        ({"path": "xx://a/{customer}"}, "names no objects"),
        ({"path": "/a/"}, "does not say who"),
        ({"path": "/{customer"}, "does not say who"),
        ({"name": "Alice"}, "asks for nothing"),
        ({"path": "/a/", "name": "a\nb"}, "is not permitted there"),
        ({"path": "/a/", "name": "x" * 300}, "is not permitted there"),
        ({"path": "/a/", "name": "{domain}"}, "nothing is called {domain}"),
        ({"owner": "no-such-user-here"}, "no user 'no-such-user-here'"),
        ({"owner": "9-1"}, "no user '9-1'"),
        ({"owner": True}, "no user"),
        ({"owner": -1}, "no user"),
        ({}, "asks for nothing"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as told:
        customer_rules([{"path": "/a/{customer}/"}, row], "hashscan.toml")
    assert words in str(told.value)
    assert str(told.value).startswith("hashscan.toml, customer rule 2")
    assert told.value.remedy
