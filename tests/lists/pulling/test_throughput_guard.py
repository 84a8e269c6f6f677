"""Servers that are slower than they may be are given up, and no others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest

from hashscan.lists.pulling import transfer_limits
from hashscan.lists.pulling.assembly import AT_ONCE
from hashscan.lists.pulling.fetching import HttpFetcher
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.pulling.transfer_limits import RequestSlots, TooSlowError
from hashscan.secret_files import Credentials
from tests.certificates import Authority
from tests.lists.pulling.fetching import DRIPPING, busy, fetched, in_threads, silent
from tests.waiting import until
from tests.web import WebServer, serving


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("answer", DRIPPING)
def test_a_server_that_drips_is_given_up(
    folder: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler], None],
    tls: bool,
) -> None:
    monkeypatch.setattr(transfer_limits, "WINDOW", 0.3)
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
        """The window of each download."""

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

        mine = SimpleNamespace(**vars(threading) | {"Event": Over})
        monkeypatch.setattr(transfer_limits, "threading", mine)

    def begun(self, downloads: int) -> None:
        """Wait until so many downloads are measured in this window."""
        with self._changed:
            measured = self._measuring.values()
            assert self._changed.wait_for(lambda: list(measured).count(self._number) == downloads, 60)

    def end(self) -> None:
        with self._changed:
            self._number += 1
            self._changed.notify_all()

    def ended(self, number: int) -> None:
        """Wait until so many windows have ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._number == number, 60)


def test_a_slow_server_above_the_floor_is_waited_for(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_limits, "WINDOW", 0.5)
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
    windows, rest, rests = Windows(monkeypatch), RequestSlots.rest, []

    def long(turns: RequestSlots) -> None:
        for _ in range(2):
            windows.begun(1)
            windows.end()
        windows.begun(1)
        rests.append(turns)
        rest(turns)

    monkeypatch.setattr(RequestSlots, "rest", long)
    server.answers["file"] = busy(1, "0")
    assert fetched(f"{server.url}file", server.url) == b"content"
    assert len(rests) == 1


def test_a_dripping_proxy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_limits, "WINDOW", 0.3)
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


def test_the_floor_holds_for_all_together(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_limits, "WINDOW", 0.1)
    windows, counted, parts = Windows(monkeypatch), [], 20
    in_step = threading.Barrier(AT_ONCE - 1, timeout=60)

    def half(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(400 * parts))
        request.end_headers()
        for number in range(1, parts + 1):
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
    assert came == [400 * parts] * (AT_ONCE - 1)
    # The server ends the last of their windows after they have all bytes.
    windows.ended(parts)
    windows.begun(1)
    windows.end()
    drips.join()
    fetcher.close()
    assert len(failed) == 1
