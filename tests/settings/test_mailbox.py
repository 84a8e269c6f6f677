"""The table of the mailbox: what it needs, and what would send a secret in the clear."""

from __future__ import annotations

from typing import Any

import pytest

from hashscan.errors import UsageError
from hashscan.settings.mailbox import OAuthSettings, Secret, mailbox_of

BASE = {"host": "IMAP.example", "user": "a@b.example"}
PASSWORD = {"password_variable": "SECRET"}
OAUTH = {"token_url": "https://login.example/token", "client_id": "me", "refresh_token_file": "/etc/token"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (PASSWORD, ("imap.example", 993, "implicit", "keep")),
        ({**PASSWORD, "tls": "starttls"}, ("imap.example", 143, "starttls", "keep")),
        (
            {**PASSWORD, "host": "localhost", "tls": "none", "port": 1143, "after": "move:Done"},
            ("localhost", 1143, "none", "move:Done"),
        ),
    ],
)
def test_valid(more: dict[str, Any], expected: tuple[object, ...]) -> None:
    found = mailbox_of({**BASE, **more}, "x")
    assert (found.host, found.port, found.tls, found.after) == expected
    assert found.oauth is None


def test_oauth() -> None:
    found = mailbox_of({**BASE, **OAUTH, "client_secret_variable": "CLIENT"}, "x").oauth
    assert found == OAuthSettings(OAUTH["token_url"], "me", Secret("/etc/token"), Secret(variable="CLIENT"))


@pytest.mark.parametrize(
    "table",
    [
        [],
        PASSWORD,
        BASE,
        {**BASE, **PASSWORD, **OAUTH},
        {**BASE, **PASSWORD, "tls": "none"},
        {**BASE, **PASSWORD, "tls": "maybe"},
        {**BASE, **PASSWORD, "port": 0},
        {**BASE, **PASSWORD, "port": True},
        {**BASE, **PASSWORD, "host": "a\r\nb"},
        {**BASE, **PASSWORD, "folder": "Post\xfc"},
        {**BASE, **PASSWORD, "folder": 'x"\r\nDELETE'},
        {**BASE, **PASSWORD, "after": "delete"},
        {**BASE, **PASSWORD, "after": "move:"},
        {**BASE, **PASSWORD, "max_size": "1T"},
        {**BASE, **PASSWORD, "max_size": 5},
        {**BASE, **PASSWORD, "scope": "x"},
        {**BASE, **PASSWORD, "password": "secret"},
        {**BASE, **PASSWORD, "password_file": "/x"},
        {**BASE, "password_file": "relative"},
        {**BASE, "password_variable": "a secret"},
        {**BASE, **OAUTH, "token_url": "http://login.example/token"},
        {**BASE, **OAUTH, "token_url": "login.example"},
        {**BASE, "token_url": OAUTH["token_url"]},
    ],
)
def test_invalid(table: object) -> None:
    with pytest.raises(UsageError) as caught:
        mailbox_of(table, "x")
    assert "secret'" not in str(caught.value)


def test_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "word")
    assert Secret(variable="SECRET").read("it") == "word"
    for bad in ("", "two\nlines", "\udcff"):
        monkeypatch.setenv("SECRET", bad)
        with pytest.raises(UsageError):
            Secret(variable="SECRET").read("it")
