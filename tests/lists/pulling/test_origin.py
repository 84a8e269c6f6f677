"""Tests of lists.pulling.origin."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.lists.pulling.origin import Origin, checked_origin, read_origin, write_origin
from hashscan.schema import InvalidDocumentError
from hashscan.secret_files import CredentialSources
from tests.certificates import Authority
from tests.test_credentials import private


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
