"""Tests of web_connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.web_connection import checked_location, checked_proxy, is_loopback


def test_web_addresses_end_in_a_slash() -> None:
    assert checked_location("https://lists.example/a") == "https://lists.example/a/"
    assert checked_location("http://127.0.0.1:8000/") == "http://127.0.0.1:8000/"
    # Later it is recognised by its prefix; otherwise it would be a folder.
    assert checked_location("HTTPS://lists.example/") == "https://lists.example/"


def test_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert checked_location("a b") == str(tmp_path / "a b")
    assert checked_location((tmp_path / "a b").as_uri()) == str(tmp_path / "a b")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "no such folder",
        "ftp://lists.example/",
        "https://",
        "https://user:secret@lists.example/",
        "https://lists.example/?token=1",
        "https://lists.example/#top",
        "https://lists.example/a b",
        "https://lists.example/\x1b[2J",
        "https://lists.example:99999/",
        "https://[::1/",
        "https://[1]/",
        "https://li\u1e63ts.example/",
        "file://elsewhere/etc",
        "file:///no/such/folder",
        "nul\0://x",
    ],
)
def test_what_is_no_source_is_refused(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        checked_location(source)


@given(st.text(max_size=30), st.sampled_from(["", "http://", "https://", "file://", "file:///"]))
def test_any_text_gives_a_source_or_the_one_kind_of_error(text: str, scheme: str) -> None:
    try:
        found = checked_location(scheme + text)
    except UsageError:
        return
    assert found.startswith(("http://", "https://", "/"))


def test_a_refused_password_is_not_repeated() -> None:
    for check in (checked_location, checked_proxy):
        for address in (
            "https://user:secret@host:99999/",
            "https://user:secret@host/",
            "https://secret@[::1/",
        ):
            with pytest.raises(UsageError) as caught:
                check(address)
            assert "secret" not in str(caught.value) + caught.value.remedy


@pytest.mark.parametrize(
    ("proxy", "kept"),
    [("http://proxy:3128", "http://proxy:3128"), ("https://proxy.example/", "https://proxy.example")],
)
def test_proxies(proxy: str, kept: str) -> None:
    assert checked_proxy(proxy) == kept


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        "proxy:3128",
        "proxy",
        "socks5://proxy",
        "http://",
        "http://proxy/path",
        "http://proxy:0",
        "file:///",
    ],
)
def test_what_is_no_proxy_is_refused(proxy: str) -> None:
    with pytest.raises(UsageError):
        checked_proxy(proxy)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("127.0.0.1.example", False),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("2130706433", False),
    ],
)
def test_what_is_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
