"""A web server on loopback with objects in memory, by the path as it is sent; its answers can be spoilt."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAST_MODIFIED = "Tue, 06 Jan 2026 10:00:00 GMT"
MODIFIED_NS = 1_767_693_600 * 10**9

Answer = Callable[[BaseHTTPRequestHandler], bool]


@dataclass
class Objects:
    """The server's objects, and the requests that it received."""

    held: dict[str, bytes] = field(default_factory=dict)
    """By the whole target of a request, query included."""
    host: str = "127.0.0.1"
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and target of every request."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """Done first for a target; what returns True has answered."""
    etags: bool = True
    dates: bool = True
    lengths: bool = True
    heads: bool = True
    ranges: bool = True

    @property
    def url(self) -> bytes:
        return f"http://{self.host}:{self.port}".encode()

    def put(self, target: str, content: bytes) -> bytes:
        """Store an object.

        Returns:
            Its address.
        """
        self.held[target] = content
        return self.url + target.encode()

    def count(self, method: str, target: str) -> int:
        return self.asked.count((method, target))

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.command, request.path))
        answer = self.answers.get(request.path)
        if answer is not None and answer(request):
            return
        content = self.held.get(request.path)
        if content is None:
            refuse(request, 404)
            return
        if request.command == "HEAD" and not self.heads:
            refuse(request, 405)
            return
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"' if self.etags else None
        if etag and request.headers.get("If-Match", etag) != etag:
            refuse(request, 412)
            return
        start, end, status = 0, len(content), 200
        wanted = request.headers.get("Range", "")
        if self.ranges and wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            if int(first) >= len(content):
                refuse(request, 416)
                return
            start, end, status = int(first), min(int(last) + 1 if last else end, end), 206
        request.send_response(status)
        if self.lengths:
            request.send_header("Content-Length", str(end - start))
        else:
            request.close_connection = True
            request.send_header("Connection", "close")
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        if etag:
            request.send_header("ETag", etag)
        if self.dates:
            request.send_header("Last-Modified", LAST_MODIFIED)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content[start:end])


def refuse(request: BaseHTTPRequestHandler, status: int, **headers: str) -> bool:
    request.send_response(status)
    request.send_header("Content-Length", "0")
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    return True


def refusing(status: int, **headers: str) -> Answer:
    """Return a handler that always sends this status."""
    return lambda request: refuse(request, status, **headers)


def cut_after(size: int, content: bytes, *, times: int = 1, etag: bool = True) -> Answer:
    """Return a handler that ends the connection after so many bytes, for the first GET requests."""
    left = [times]

    def answer(request: BaseHTTPRequestHandler) -> bool:
        if request.command != "GET" or not left[0]:
            return False
        left[0] -= 1
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        if etag:
            request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:16]}"')
        request.end_headers()
        request.wfile.write(content[:size])
        request.close_connection = True
        return True

    return answer


@contextmanager
def web_objects(host: str = "127.0.0.1") -> Iterator[Objects]:
    """A server with no objects yet."""
    objects = Objects(host=host)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            try:
                objects.serve(self)
            except OSError:
                self.close_connection = True

        def do_HEAD(self) -> None:
            self.do_GET()

        def parse_request(self) -> bool:
            parsed = super().parse_request()
            if parsed:
                # As it came: the library makes one slash of several.
                self.path = self.requestline.split(" ")[1]
            return parsed

        def log_message(self, *args: object) -> None:
            pass

    class Http(ThreadingHTTPServer):
        # Waited for in the end, so that they leave no connection open.
        daemon_threads = False
        request_queue_size = 128

        def handle_error(self, *args: object) -> None:
            pass

    with Http((host, 0), Handler) as http:
        objects.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield objects
        finally:
            http.shutdown()
            thread.join()
