"""A web server on loopback whose answers a test sets, and which records what it was asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Page:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    write: Callable[[BaseHTTPRequestHandler], None] | None = None
    """Sends what follows the header, in place of the body."""


@dataclass
class Site:
    """The server: pages by path without the query."""

    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, host and target of each request."""
    answer: Callable[[str], Page] | None = None


@contextmanager
def site(certificate: tuple[Path, Path] | None = None, address: str = "127.0.0.1") -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.command, self.headers["Host"], self.path))
            page = made.pages.get(self.path.partition("?")[0], Page(404))
            if made.answer is not None:
                page = made.answer(self.path)
            self.send_response(page.status)
            headers = {"Content-Length": str(len(page.body)), **page.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if page.write is not None:
                page.write(self)
            elif self.command != "HEAD":
                self.wfile.write(page.body)

        do_HEAD = do_GET  # noqa: N815 - named by the standard library

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as http:
        http.daemon_threads = True
        made.port = http.server_port
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            http.shutdown()
            thread.join()
