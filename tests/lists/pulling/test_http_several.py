"""Several downloads by one fetcher at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError

from hashscan.lists.pulling.assembly import AT_ONCE
from hashscan.lists.pulling.fetching import HttpFetcher
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.pulling.transfer_limits import RequestSlots
from hashscan.secret_files import Credentials
from tests.certificates import Authority
from tests.lists.pulling.fetching import DRIPPING, busy, in_threads, silent
from tests.waiting import until
from tests.web import WebServer, send, serving


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
    once, heard, put_off = busy(1, "1"), threading.Event(), RequestSlots.put_off

    def hear(turns: RequestSlots, seconds: float) -> float:
        try:
            return put_off(turns, seconds)
        finally:
            heard.set()

    monkeypatch.setattr(RequestSlots, "put_off", hear)

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
        reported = len(counted)
        # No answer would ever end.
        for thread in threads:
            thread.join()
        assert len(failures) == AT_ONCE
        assert len(counted) == reported
        fetcher.close()
