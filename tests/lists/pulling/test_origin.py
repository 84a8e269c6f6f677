"""Tests of lists.pulling.origin."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.lists.pulling.origin import (
    CredentialSources,
    Origin,
    checked_location,
    checked_origin,
    checked_proxy,
    is_loopback,
    read_origin,
    write_origin,
)
from hashscan.schema import InvalidDocumentError
from tests.certificates import Authority
from tests.lists.pulling.test_credentials import private


def test_an_origin_is_kept_as_it_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("client")
    private(tmp_path / "token", b"secret-token")
    origin = checked_origin(
        "https://lists.example",
        ["https://mirror.example/a", str(tmp_path)],
        proxy="http://proxy.example:3128/",
        ca_file=Path("ca/ca.pem"),
        credentials=CredentialSources("token", certificate=str(certificate), key=str(key)),
    )
    assert origin.locations == ("https://lists.example/", "https://mirror.example/a/", str(tmp_path))
    assert origin.proxy == "http://proxy.example:3128"
    assert origin.ca_file == str(authority.file)
    assert origin.credentials.token_file == str(tmp_path / "token")
    assert origin.endpoints == {("https", "lists.example", 443), ("https", "mirror.example", 443)}
    write_origin(tmp_path / "source.json", origin)
    assert read_origin(tmp_path / "source.json") == origin
    assert (tmp_path / "source.json").stat().st_mode & 0o777 == 0o600
    assert b"secret-token" not in (tmp_path / "source.json").read_bytes()


@pytest.mark.parametrize("mirrors", [["https://lists.example/"], ["https://m.example", "https://m.example/"]])
def test_each_address_is_named_once(mirrors: list[str]) -> None:
    with pytest.raises(UsageError, match="named twice"):
        checked_origin("https://lists.example", mirrors)


@pytest.mark.parametrize(
    ("source", "mirror"),
    [
        ("http://lists.example", "https://m.example"),
        ("https://lists.example", "http://m.example"),
        ("http://10.0.0.1/", "https://m.example"),
        ("http://127.0.0.1.example/", "https://m.example"),
    ],
)
def test_credentials_dont_travel_in_the_clear(source: str, mirror: str) -> None:
    places = CredentialSources(token_variable="TOKEN")
    checked_origin(source, [mirror])
    with pytest.raises(UsageError, match="in the clear"):
        checked_origin(source, [mirror], credentials=places)
    for loopback in ("http://127.0.0.1:8000/", "http://localhost/", "http://[::1]:8000/"):
        checked_origin(loopback, credentials=places)


def test_files_are_looked_at(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, _ = authority.issue("client")
    _, another = authority.issue("another")
    locked, secret = authority.issue("locked", password=b"secret")
    (tmp_path / "empty").touch()

    def refused(**how: object) -> None:
        with pytest.raises(UsageError) as caught:
            checked_origin("https://lists.example", **how)  # type: ignore[arg-type]
        assert caught.value.remedy

    refused(ca_file=tmp_path / "none")
    refused(ca_file=tmp_path / "empty")
    refused(ca_file=tmp_path)
    refused(credentials=CredentialSources(certificate=str(certificate), key=str(another)))
    refused(credentials=CredentialSources(certificate=str(locked), key=str(secret)))
    refused(credentials=CredentialSources(certificate=str(tmp_path / "none"), key=str(another)))
    refused(credentials=CredentialSources(token_file=str(tmp_path / "none")))
    refused(proxy="socks5://proxy.example")
    expired = authority.issue("expired", after=timedelta(days=-1))
    checked_origin(
        "https://lists.example",
        credentials=CredentialSources(certificate=str(expired[0]), key=str(expired[1])),
    )


def test_a_certificate_and_its_key_in_one_file(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "ca").issue("client")
    both = private(tmp_path / "both", certificate.read_bytes() + key.read_bytes())
    checked_origin("https://lists.example", credentials=CredentialSources(certificate=both))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"source": 1},
        {"mirrors": 5},
        {"mirrors": [1]},
        {"proxy": []},
        {"credentials": None},
        {"credentials": {"password": "x"}},
        {"credentials": {"token_file": 5}},
        {"credentials": {"token_file": "a", "login_file": "b"}},
    ],
)
def test_a_damaged_origin(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "source.json"
    write_origin(path, Origin("https://lists.example/"))
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(InvalidDocumentError):
        read_origin(path)


def test_what_is_no_origin(tmp_path: Path) -> None:
    path = tmp_path / "source.json"
    for spoilt in (b"", b"[]", b"\xff", b"{}", b"null"):
        path.write_bytes(spoilt)
        with pytest.raises(InvalidDocumentError):
            read_origin(path)


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
