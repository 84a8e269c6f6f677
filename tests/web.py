"""A web server on loopback, as a list's owner would run one."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class WebServer:
    """A real web server on loopback, whose folder can be changed and whose answers can be spoilt."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    """Paths of all requests, as they came."""
    headers: list[Message] = field(default_factory=list)
    """And their headers."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """Handlers in place of sending the file, by the end of the path."""
    authorization: str | None = None
    """The header without which nothing is served."""
    sent: int = 0
    """Bytes of files that were sent."""

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        self.headers.append(request.headers)
        if self.authorization is not None and request.headers.get("Authorization") != self.authorization:
            refuse(request, 401)
            return
        for end, answer in self.answers.items():
            if request.path.endswith(end):
                answer(request)
                return
        try:
            data = (self.folder / request.path.lstrip("/")).read_bytes()
        except OSError:
            refuse(request, 404)
            return
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            request.send_response(304)
            request.end_headers()
            return
        self.sent += len(data)
        send(request, data, headers={"ETag": etag})

    def requests(self, end: str) -> list[str]:
        """The paths asked that end so."""
        return [path for path in self.asked if path.endswith(end)]


def refuse(request: BaseHTTPRequestHandler, code: int) -> None:
    request.send_response(code)
    request.send_header("Content-Length", "0")
    request.end_headers()


def send(
    request: BaseHTTPRequestHandler,
    data: bytes,
    length: int | None = None,
    headers: dict[str, str] | None = None,
) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(data) if length is None else length))
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(data)


@contextmanager
def serving(
    folder: Path, context: ssl.SSLContext | None = None, address: str = "127.0.0.1"
) -> Iterator[WebServer]:
    """A server of a folder; with `context` it speaks TLS, as `localhost`."""
    server = WebServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20
        # Head and body are sent apart; on a connection that stays open the body would wait for an answer.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            try:
                server.handle(self)
            except (OSError, ssl.SSLError):
                self.close_connection = True

        def do_PUT(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None:
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass

        def finish_request(self, request: object, client_address: object) -> None:
            if context is None:
                super().finish_request(request, client_address)  # type: ignore[arg-type]
                return
            # Here and not when listening, so that one handshake doesn't hold up the others.
            with context.wrap_socket(request, server_side=True) as encrypted:  # type: ignore[arg-type]
                super().finish_request(encrypted, client_address)

    with Http((address, 0), Handler) as http:
        scheme, host = ("http", address) if context is None else ("https", "localhost")
        server.url = f"{scheme}://{host}:{http.server_port}/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder."""
    with serving(folder) as server:
        yield server.url.rstrip("/")


@contextmanager
def proxying(
    through: WebServer, answers: Mapping[str, Answer] = MappingProxyType({})
) -> Iterator[tuple[str, list[str], list[str | None]]]:
    """A proxy that leads every host to one server: its address, what it was asked, and by whom."""
    asked: list[str] = []
    logins: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            logins.append(self.headers["Proxy-Authorization"])
            through.headers.append(self.headers)
            for end, answer in answers.items():
                if self.path.endswith(end):
                    answer(self)
                    return
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
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}", asked, logins
        finally:
            http.shutdown()
            thread.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
