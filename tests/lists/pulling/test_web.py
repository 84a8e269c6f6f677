from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from hashscan.errors import UsageError
from hashscan.lists.pulling import pace
from hashscan.lists.pulling import web as fetching
from hashscan.lists.pulling.credentials import CredentialPlaces, Credentials
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.pulling.pace import TooSlowError
from hashscan.lists.pulling.side_by_side import AT_ONCE
from hashscan.lists.pulling.turns import Turns
from hashscan.lists.pulling.web import HttpFetcher
from tests.certificates import Authority
from tests.waiting import until
from tests.web import WebServer, send, serving

TOKEN = Credentials("Bearer a-secret-token", secrets=("a-secret-token",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(b"content")
    return tmp_path / "served"


@pytest.fixture
def server(folder: Path) -> Iterator[WebServer]:
    with serving(folder) as server:
        yield server


@pytest.fixture
def other(folder: Path) -> Iterator[WebServer]:
    """A second server, which the list's owner doesn't run."""
    with serving(folder) as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def fetched(
    url: str, origin: Origin | str, credentials: Credentials | None = None, length: int = 100_000
) -> bytes:
    source = origin if isinstance(origin, Origin) else Origin(origin)
    fetcher = HttpFetcher(source, credentials or Credentials(), None)
    try:
        return fetcher.download_bytes(url, length)
    finally:
        fetcher.close()


def redirect(location: str, code: int = 302) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Location", location)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def busy(times: int, retry_after: str | None, code: int = 429) -> Callable[[BaseHTTPRequestHandler], None]:
    """A server that answers so many times that it is busy."""
    left = [times]

    def answer(request: BaseHTTPRequestHandler) -> None:
        left[0] -= 1
        if left[0] < 0:
            send(request, b"content")
            return
        request.send_response(code)
        if retry_after is not None:
            request.send_header("Retry-After", retry_after)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


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
    with pytest.raises(DownloadError, match="redirects to no web address"):
        fetched(f"{server.url}file", server.url)


def test_redirects_end(server: WebServer) -> None:
    server.answers["file"] = redirect("/file")
    with pytest.raises(DownloadError, match="redirects too often"):
        fetched(f"{server.url}file", server.url)
    assert len(server.asked) == 6


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
        with pytest.raises(DownloadError, match="without encryption"):
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
    "retry_after", [None, "0", "soon", format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)]
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


# ---- slow servers


def dripping_body(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    drip(request, b"x")


def dripping_last_body(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Connection", "close")
    request.end_headers()
    drip(request, b"x")


def dripping_chunk_header(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.send_header("Connection", "close")
    request.end_headers()
    drip(request, b"0")


def dripping_status(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 ")
    drip(request, b"O")


def drip(request: BaseHTTPRequestHandler, piece: bytes) -> None:
    """Until whoever asked has gone."""
    while True:
        request.wfile.write(piece)
        time.sleep(0.02)


DRIPPING = [dripping_body, dripping_last_body, dripping_chunk_header, dripping_status]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("answer", DRIPPING)
def test_a_server_that_drips_is_given_up(
    folder: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler], None],
    tls: bool,
) -> None:
    monkeypatch.setattr(pace, "WINDOW", 0.3)
    with serving(folder, authority.server() if tls else None) as server:
        server.answers["file"] = answer
        with pytest.raises(TooSlowError, match="slower than 10 kB a second"):
            fetched(f"{server.url}file", Origin(server.url, ca_file=str(authority.file)))


class Windows:
    """Ends the windows over which speed is measured, instead of the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        windows = self
        self._changed = threading.Condition()
        self._number = 0
        self._measuring: dict[threading.Event, int] = {}
        """Which window each download is in."""

        class Over(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                with windows._changed:
                    here = windows._measuring[self] = windows._number
                    windows._changed.notify_all()
                    windows._changed.wait_for(lambda: self.is_set() or windows._number > here)
                    del windows._measuring[self]
                    return self.is_set()

            def set(self) -> None:
                super().set()
                with windows._changed:
                    windows._changed.notify_all()

        mine = SimpleNamespace(Event=Over, Lock=threading.Lock, Thread=threading.Thread)
        monkeypatch.setattr(pace, "threading", mine)

    def begun(self, downloads: int) -> None:
        """Wait until so many downloads are measured in this window."""
        with self._changed:
            measured = self._measuring.values()
            assert self._changed.wait_for(lambda: list(measured).count(self._number) == downloads, 60)

    def end(self) -> None:
        with self._changed:
            self._number += 1
            self._changed.notify_all()


def test_a_slow_server_above_the_floor_is_waited_for(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "WINDOW", 0.5)
    windows, came = Windows(monkeypatch), []

    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "50000")
        request.end_headers()
        for number in range(1, 11):
            windows.begun(1)
            request.wfile.write(bytes(5000))
            until(lambda: sum(came) == number * 5000)  # noqa: B023
            windows.end()

    server.answers["file"] = slow
    fetcher = HttpFetcher(Origin(server.url), Credentials(), None, received=came.append)
    assert len(fetcher.download_bytes(f"{server.url}file", 50_000)) == 50_000
    fetcher.close()


def test_waiting_as_a_server_asked_is_not_slowness(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, rest, rests = Windows(monkeypatch), Turns.rest, []

    def long(turns: Turns) -> None:
        for _ in range(2):
            windows.begun(1)
            windows.end()
        windows.begun(1)
        rests.append(turns)
        rest(turns)

    monkeypatch.setattr(Turns, "rest", long)
    server.answers["file"] = busy(1, "0")
    assert fetched(f"{server.url}file", server.url) == b"content"
    assert len(rests) == 1


# ---- proxies


@contextmanager
def proxying(through: WebServer) -> Iterator[tuple[str, list[str], list[str | None]]]:
    """A proxy that leads every host to one server: its address, what it was asked, and by whom."""
    asked: list[str] = []
    logins: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            logins.append(self.headers["Proxy-Authorization"])
            through.headers.append(self.headers)
            send(self, (through.folder / self.path.rpartition("/")[2]).read_bytes())

        def do_CONNECT(self) -> None:
            asked.append(f"CONNECT {self.path}")
            logins.append(self.headers["Proxy-Authorization"])
            port = int(through.url.rstrip("/").rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as upstream:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=pump, args=(upstream, self.connection))
                back.start()
                pump(self.connection, upstream)
                back.join()
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked, logins
        http.shutdown()
        thread.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


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


def test_a_dripping_proxy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def tunnel() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 ")
                with suppress(OSError):
                    while True:
                        connection.sendall(b"O")
                        time.sleep(0.02)

        thread = threading.Thread(target=tunnel)
        thread.start()
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TooSlowError):
            fetched("https://lists.example/file", Origin("https://lists.example/", proxy=proxy))
        thread.join()


def test_credentials_have_no_face() -> None:
    assert "a-secret-token" not in repr(TOKEN)
    assert TOKEN.hidden("got a-secret-token back") == "got *** back"
    assert not CredentialPlaces().any


# ---- several downloads at once


def in_threads(count: int, do: Callable[[int], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=do, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_several_threads_share_few_connections(server: WebServer) -> None:
    ports, came = set(), []
    together = threading.Barrier(AT_ONCE, timeout=60)

    def note(request: BaseHTTPRequestHandler) -> None:
        ports.add(request.client_address[1])
        together.wait()
        send(request, b"content")

    server.answers["file"] = note
    fetcher = HttpFetcher(Origin(server.url), Credentials(), None)
    for _ in range(3):
        for thread in in_threads(
            2 * AT_ONCE, lambda _: came.append(fetcher.download_bytes(f"{server.url}file", 99))
        ):
            thread.join()
    fetcher.close()
    assert came == [b"content"] * 6 * AT_ONCE
    assert len(ports) == AT_ONCE


def test_a_server_that_wants_one_at_a_time(server: WebServer) -> None:
    """As nginx does with `limit_conn 1`, for as long as it is asked for more."""
    alone, refused, came = threading.Lock(), [], []

    def answer(request: BaseHTTPRequestHandler) -> None:
        if not alone.acquire(blocking=False):
            refused.append(request.path)
            request.send_response(503)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        try:
            # All that come at once.
            until(lambda: len(refused) == AT_ONCE - 1)
        finally:
            alone.release()
        send(request, b"content")

    server.answers["file"] = answer
    fetcher = HttpFetcher(Origin(server.url), Credentials(), None)
    for thread in in_threads(8, lambda _: came.append(fetcher.download_bytes(f"{server.url}file", 99))):
        thread.join()
    fetcher.close()
    assert came == [b"content"] * 8
    assert len(refused) == AT_ONCE - 1


def test_all_wait_for_a_busy_server(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    once, heard, put_off = busy(1, "1"), threading.Event(), Turns.put_off

    def hear(turns: Turns, seconds: float) -> float:
        try:
            return put_off(turns, seconds)
        finally:
            heard.set()

    monkeypatch.setattr(Turns, "put_off", hear)

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        once(request)

    server.answers["file"] = answer
    fetcher = HttpFetcher(Origin(server.url), Credentials(), None)

    def fetch(number: int) -> None:
        if number:
            heard.wait(60)
        fetcher.download_bytes(f"{server.url}file", 99)

    for thread in in_threads(4, fetch):
        thread.join()
    fetcher.close()
    assert len(asked) == 5
    assert min(asked[1:]) - asked[0] >= 1


def silent(request: BaseHTTPRequestHandler) -> None:
    """Until whoever asked has gone."""
    request.connection.settimeout(None)
    request.connection.recv(1)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("answer", [*DRIPPING, silent, busy(99, "60")])
def test_giving_up_ends_all_at_once(
    folder: Path, authority: Authority, answer: Callable[[BaseHTTPRequestHandler], None], tls: bool
) -> None:
    with serving(folder, authority.server() if tls else None) as server:
        server.answers["file"] = answer
        counted: list[int] = []
        origin = Origin(server.url, ca_file=str(authority.file))
        fetcher = HttpFetcher(origin, Credentials(), None, received=counted.append)
        failures = []

        def fetch(_: int) -> None:
            try:
                fetcher.download_bytes(f"{server.url}file", 2_000_000)
            except DownloadError as error:
                failures.append(error)

        threads = in_threads(AT_ONCE, fetch)
        until(lambda: bool(server.asked))
        fetcher.give_up()
        told = len(counted)
        # No answer would ever end.
        for thread in threads:
            thread.join()
        assert len(failures) == AT_ONCE
        assert len(counted) == told
        fetcher.close()


def test_the_floor_holds_for_all_together(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW", 0.1)
    windows, counted = Windows(monkeypatch), []
    in_step = threading.Barrier(AT_ONCE - 1, timeout=60)

    def half(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "8000")
        request.end_headers()
        for number in range(1, 21):
            if in_step.wait() == 0:
                windows.begun(AT_ONCE)
            in_step.wait()
            request.wfile.write(bytes(400))
            if in_step.wait() == 0:
                until(lambda: sum(counted) >= number * 400 * (AT_ONCE - 1))  # noqa: B023
                windows.end()

    def one_byte(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"x")
        silent(request)

    server.answers["file"] = half
    server.answers["drip"] = one_byte
    fetcher = HttpFetcher(Origin(server.url), Credentials(), None, received=counted.append)
    came, failed = [], []

    def fetch(number: int) -> None:
        try:
            came.append(len(fetcher.download_bytes(f"{server.url}{'file' if number else 'drip'}", 2_000_000)))
        except TooSlowError as error:
            failed.append(error)

    drips, *others = in_threads(AT_ONCE, fetch)
    for thread in others:
        thread.join()
    # What each of them got is too little, what all got together is enough; alone, one that drips is given up.
    assert came == [8000] * (AT_ONCE - 1)
    windows.begun(1)
    windows.end()
    drips.join()
    fetcher.close()
    assert len(failed) == 1
