"""Requests through a proxy, and the proxy's credentials."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError

from hashscan.errors import UsageError
from hashscan.lists.pulling.origin import Origin
from tests.certificates import Authority
from tests.lists.pulling.fetching import TOKEN, fetched, redirect
from tests.web import WebServer, proxying, serving


def test_a_host_behind_a_proxy_does_not_lead_to_this_machine(server: WebServer, other: WebServer) -> None:
    """Requests to this machine pass by the proxy."""
    with proxying(server, {"/start": redirect(f"{other.url}file")}) as (proxy, _, _):
        with pytest.raises(DownloadError, match="private network"):
            fetched("http://lists.example/start", Origin("http://lists.example/", proxy=proxy))
        assert not other.asked


def test_a_proxy_for_plain_requests_gets_no_credentials(server: WebServer) -> None:
    with proxying(server) as (proxy, asked, logins):
        origin = Origin("http://lists.example/", proxy=proxy)
        assert fetched("http://lists.example/file", origin, TOKEN) == b"content"
    assert asked == ["GET http://lists.example/file"]
    assert "Authorization" not in server.headers[0]
    assert logins == [None]


def test_a_proxy_for_encrypted_requests(folder: Path, authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("lists.example"))
    with serving(folder, context) as server, proxying(server) as (proxy, asked, _):
        server.authorization = TOKEN.authorization
        origin = Origin("https://lists.example/", proxy=proxy, ca_file=str(authority.file))
        assert fetched("https://lists.example/file", origin, TOKEN) == b"content"
        assert asked == ["CONNECT lists.example:443"]


def test_the_environments_proxy_and_its_login(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(server) as (proxy, asked, logins):
        monkeypatch.setenv("http_proxy", proxy.replace("//", "//me:pass%40word@"))
        assert fetched("http://lists.example/file", "http://lists.example/") == b"content"
        assert logins == ["Basic bWU6cGFzc0B3b3Jk"]
        monkeypatch.setenv("no_proxy", "lists.example")
        with pytest.raises(DownloadError):
            fetched("http://lists.example/file", "http://lists.example/")
        assert len(asked) == 1


def test_this_machine_is_reached_without_a_proxy(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    origin = Origin(server.url, proxy="http://127.0.0.1:9")
    assert fetched(f"{server.url}file", origin, TOKEN) == b"content"
    assert server.headers[0]["Authorization"] == TOKEN.authorization


def test_a_proxy_that_cant_be_used_is_not_shown(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://me:secret-word@127.0.0.1:9")
    with pytest.raises(UsageError) as caught:
        fetched("http://lists.example/file", "http://lists.example/")
    assert "secret-word" not in str(caught.value) + caught.value.remedy
