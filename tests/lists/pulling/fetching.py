"""Fetches from web servers that answer as a test asks them to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from hashscan.lists.pulling.fetching import HttpFetcher
from hashscan.lists.pulling.origin import Origin
from hashscan.secret_files import Credentials
from tests.web import send

TOKEN = Credentials("Bearer a-secret-token", secrets=("a-secret-token",))


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


def silent(request: BaseHTTPRequestHandler) -> None:
    """Until whoever asked has gone."""
    request.connection.settimeout(None)
    request.connection.recv(1)


def in_threads(count: int, do: Callable[[int], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=do, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads
