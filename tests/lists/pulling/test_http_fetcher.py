from __future__ import annotations

import gzip
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from hashscan import web_transport
from hashscan.lists.pulling import fetching
from hashscan.lists.pulling.fetching import HttpFetcher
from hashscan.lists.pulling.origin import Origin
from hashscan.secret_files import Credentials, CredentialSources
from tests.certificates import Authority
from tests.lists.pulling.fetching import TOKEN, busy, fetched, redirect
from tests.web import WebServer, send, serving

# ---- downloads


def test_a_download_waits_in_the_staging_folder(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/no/such/folder")
    counted: list[int] = []
    fetcher = HttpFetcher(Origin(server.url), Credentials(), tmp_path, received=counted.append)
    assert fetcher.download_bytes(f"{server.url}file", 100) == b"content"
    assert sum(counted) == len(b"content")
    fetcher.close()


def test_one_connection_serves_many_requests(server: WebServer, folder: Path) -> None:
    ports = set()

    def note(request: BaseHTTPRequestHandler) -> None:
        ports.add(request.client_address[1])
        send(request, b"content")

    server.answers["file"] = note
    fetcher = HttpFetcher(Origin(server.url), Credentials(), None)
    for _ in range(3):
        assert fetcher.download_bytes(f"{server.url}file", 100) == b"content"
        with pytest.raises(DownloadHTTPError):
            fetcher.download_bytes(f"{server.url}none", 100)
    fetcher.close()
    assert len(ports) == 1


def test_a_compressed_answer_is_not_unpacked(server: WebServer) -> None:
    """So nobody can send a bomb: we ask for none, and count what comes."""
    bomb = gzip.compress(bytes(10_000_000))
    server.answers["file"] = lambda request: send(request, bomb, headers={"Content-Encoding": "gzip"})
    assert fetched(f"{server.url}file", server.url) == bomb
    assert server.headers[-1]["Accept-Encoding"] == "identity"


def test_no_answer_but_a_whole_one_counts(server: WebServer) -> None:
    for code in (204, 206, 304, 400, 418, 999):
        server.answers["file"] = lambda request, code=code: (  # type: ignore[misc]
            request.send_response(code),
            request.send_header("Content-Length", "0"),
            request.end_headers(),
        )[2]
        with pytest.raises(DownloadHTTPError, match=f"answers {code}"):
            fetched(f"{server.url}file", server.url)


# ---- credentials


def test_credentials_go_to_the_lists_own_hosts(server: WebServer, other: WebServer) -> None:
    server.authorization = other.authorization = TOKEN.authorization
    origin = Origin(server.url, (other.url,))
    assert fetched(f"{server.url}file", origin, TOKEN) == b"content"
    assert fetched(f"{other.url}file", origin, TOKEN) == b"content"
    with pytest.raises(DownloadHTTPError, match="401"):
        fetched(f"{server.url}file", origin)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_credentials_dont_follow_a_redirect_elsewhere(server: WebServer, other: WebServer, code: int) -> None:
    server.authorization = TOKEN.authorization
    server.answers["file"] = redirect(f"{other.url}file", code)
    assert fetched(f"{server.url}file", server.url, TOKEN) == b"content"
    assert other.asked == ["/file"]
    assert "Authorization" not in other.headers[0]


def test_a_redirect_back_home_has_them_again(server: WebServer, other: WebServer) -> None:
    server.authorization = TOKEN.authorization
    server.answers["start"] = redirect(f"{other.url}away")
    other.answers["away"] = redirect(f"{server.url}file")
    assert fetched(f"{server.url}start", server.url, TOKEN) == b"content"
    assert "Authorization" not in other.headers[0]


def test_another_port_is_another_host(server: WebServer, other: WebServer) -> None:
    fetched(f"{other.url}file", server.url, TOKEN)
    fetched(f"{server.url.replace('127.0.0.1', 'localhost')}file", server.url, TOKEN)
    assert "Authorization" not in other.headers[0]
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    "location", ["", "ftp://127.0.0.1/", "file:///etc/passwd", "http://user:pw@127.0.0.1/", "http://[::1"]
)
def test_redirects_to_no_web_address(server: WebServer, location: str) -> None:
    server.answers["file"] = redirect(location)
    with pytest.raises(DownloadError, match=r"redirected (to no web address|without a location)"):
        fetched(f"{server.url}file", server.url)


def test_redirects_end(server: WebServer) -> None:
    server.answers["file"] = redirect("/file")
    with pytest.raises(DownloadError, match="redirected more than 5 times"):
        fetched(f"{server.url}file", server.url)
    assert len(server.asked) == 6


@pytest.fixture
def public(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A server whose address counts as public."""
    monkeypatch.setattr(web_transport, "is_public_address", lambda address: address == "127.0.0.2")
    with serving(folder, address="127.0.0.2") as server:
        yield server


def test_a_public_host_does_not_lead_into_a_private_network(public: WebServer, other: WebServer) -> None:
    public.answers["start"] = redirect(f"{other.url}file")
    with pytest.raises(DownloadError, match="private network"):
        fetched(f"{public.url}start", public.url)
    assert not other.asked


def test_the_detour_of_a_public_host_does_not_either(public: WebServer, other: WebServer) -> None:
    """A host that was asked before on the administrator's word is no way round the check."""
    public.answers["start"] = redirect(f"{public.url}again")
    public.answers["again"] = redirect(f"{other.url}file")
    fetcher = HttpFetcher(Origin(public.url), Credentials(), None)
    with closing(fetcher):
        assert fetcher.download_bytes(f"{other.url}file", 100) == b"content"
        with pytest.raises(DownloadError, match="private network"):
            fetcher.download_bytes(f"{public.url}start", 100)
    assert len(other.asked) == 1


def test_a_public_host_may_lead_to_the_lists_own_mirror(public: WebServer, other: WebServer) -> None:
    public.answers["start"] = redirect(f"{other.url}file")
    assert fetched(f"{public.url}start", Origin(public.url, (other.url,))) == b"content"


# ---- TLS


def test_the_authority_is_the_one_named(folder: Path, authority: Authority) -> None:
    with serving(folder, authority.server()) as server:
        url = f"{server.url}file"
        assert fetched(url, Origin(server.url, ca_file=str(authority.file))) == b"content"
        with pytest.raises(DownloadError) as caught:
            fetched(url, server.url)
        assert "CERTIFICATE_VERIFY_FAILED" in repr(caught.value.__cause__)
        with pytest.raises(DownloadError):
            fetched(url.replace("localhost", "127.0.0.1"), Origin(server.url, ca_file=str(authority.file)))
        assert len(server.asked) == 1


def test_encryption_is_not_given_up(folder: Path, authority: Authority, other: WebServer) -> None:
    with serving(folder, authority.server()) as server:
        server.answers["file"] = redirect(f"{other.url}file")
        with pytest.raises(DownloadError, match="from https to http"):
            fetched(f"{server.url}file", Origin(server.url, ca_file=str(authority.file)))
    assert not other.asked


def test_mutual_tls(folder: Path, authority: Authority) -> None:
    certificate, key = map(str, authority.issue("client"))
    shown = []

    def look(request: BaseHTTPRequestHandler) -> None:
        assert isinstance(request.connection, ssl.SSLSocket)
        shown.append(request.connection.getpeercert())
        send(request, b"content")

    optional = authority.server()
    optional.load_verify_locations(authority.file)
    optional.verify_mode = ssl.CERT_OPTIONAL
    with (
        serving(folder, authority.server(demand_clients=True)) as server,
        serving(folder, optional) as stranger,
    ):
        origin = Origin(server.url, ca_file=str(authority.file))
        mine = Credentials(certificate=certificate, key=key)
        assert fetched(f"{server.url}file", origin, mine) == b"content"
        with pytest.raises(DownloadError):
            fetched(f"{server.url}file", origin)
        stranger.answers["file"] = look
        server.answers["elsewhere"] = redirect(f"{stranger.url}file")
        assert fetched(f"{server.url}elsewhere", origin, mine) == b"content"
        assert shown == [None]
        assert (
            fetched(f"{stranger.url}file", Origin(stranger.url, ca_file=origin.ca_file), mine) == b"content"
        )
        assert shown[1]


# ---- busy servers


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    "retry_after",
    [None, "0", "soon", format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)],
    ids=["nothing", "seconds", "words", "date"],  # with a date, workers would collect different tests
)
def test_a_busy_server_is_asked_again(server: WebServer, retry_after: str | None, code: int) -> None:
    server.answers["file"] = busy(2, retry_after, code)
    assert fetched(f"{server.url}file", server.url) == b"content"
    assert len(server.asked) == 3


def test_the_time_it_names_is_waited(server: WebServer) -> None:
    server.answers["file"] = busy(1, "1")
    started = time.monotonic()
    assert fetched(f"{server.url}file", server.url) == b"content"
    assert time.monotonic() - started >= 1


def test_a_server_that_stays_busy_is_given_up(server: WebServer) -> None:
    server.answers["file"] = busy(99, None)
    with pytest.raises(DownloadHTTPError, match=r"answers 429 \(Too Many Requests\)"):
        fetched(f"{server.url}file", server.url)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "retry_after",
    ["3600", "9" * 5000, format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)],
    ids=["seconds", "digits", "date"],
)
def test_a_server_that_asks_for_too_long_is_given_up_at_once(server: WebServer, retry_after: str) -> None:
    server.answers["file"] = busy(1, retry_after)
    with pytest.raises(DownloadHTTPError, match="asks to come back in"):
        fetched(f"{server.url}file", server.url)
    assert len(server.asked) == 1


def test_pauses_in_all_are_limited(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSES_IN_ALL", 0.025)
    fetcher = HttpFetcher(Origin(server.url), Credentials(), None)
    server.answers["file"] = busy(1, None)
    assert fetcher.download_bytes(f"{server.url}file", 100) == b"content"
    server.answers["file"] = busy(2, None)
    with pytest.raises(DownloadHTTPError):
        fetcher.download_bytes(f"{server.url}file", 100)
    fetcher.close()


def test_credentials_have_no_face() -> None:
    assert "a-secret-token" not in repr(TOKEN)
    assert TOKEN.hidden("got a-secret-token back") == "got *** back"
    assert not CredentialSources().any
