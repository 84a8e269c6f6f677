from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hashscan.lists.store import ListStore

from .builders import Owner


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests kill processes but can't cut the power, which is all that syncing is for."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner.begin(tmp_path / "owner")


@pytest.fixture
def store(tmp_path: Path) -> ListStore:
    return ListStore(tmp_path / "state" / "lists")


Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class WebServer:
    """A real web server on loopback, whose folder can be changed and whose answers can be spoilt."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    """Paths of all requests."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """What to do instead of sending the file, by the end of the path."""

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        for end, answer in self.answers.items():
            if request.path.endswith(end):
                answer(request)
                return
        try:
            data = (self.folder / request.path.lstrip("/")).read_bytes()
        except OSError:
            request.send_error(404)
            return
        send(request, data)


def send(request: BaseHTTPRequestHandler, data: bytes, length: int | None = None) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(data) if length is None else length))
    request.end_headers()
    request.wfile.write(data)


@pytest.fixture
def web(owner: Owner) -> Iterator[WebServer]:
    server = WebServer(owner.repository)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                server.handle(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        http.shutdown()
        thread.join()
