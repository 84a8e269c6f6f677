"""Matching services on loopback that speak the interface of each adapter, over a list in memory."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from hashscan.matching_service_api import (
    Changes,
    CheckAnswer,
    CheckMatch,
    CheckRequest,
    FeedbackRequest,
    FilterAddress,
    Info,
)
from hashscan.registry import MATCHING_SERVICES

SECRET = "a-key-that-nobody-may-see"
LOGIN = "hoster:a-key-that-nobody-may-see"


@dataclass
class Listed:
    """One entry of the service's list."""

    entry: str
    algorithm: str
    value: bytes
    category: str = "A1"
    reach: int = 31


def distance(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


Fault = Callable[["Handler"], None]


@dataclass
class ServiceServer:
    """A service that can be killed, started again and made to misbehave."""

    speak: Callable[[ServiceServer, Handler, bytes], Any]
    entries: list[Listed] = field(default_factory=list)
    version: str = "1"
    changes: Changes | None = None
    seconds: float = 0.0
    """Time that each request takes."""
    digests_max: int = 400
    algorithms: list[str] = field(default_factory=lambda: ["sha256", "sha1", "md5", "pdq"])
    received: bytearray = field(default_factory=bytearray)
    """All bytes that clients have sent."""
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    """All digests that were asked, with their algorithms."""
    feedback: list[FeedbackRequest] = field(default_factory=list)
    filter: FilterAddress | None = None
    filters: Path | None = None
    """Folder of a repository of filters, which is served below `filters/`."""
    fetched: list[str] = field(default_factory=list)
    """The paths of its files that were fetched."""
    requests: int = 0
    fault: Fault | None = None
    """Answers in place of the service."""
    on_request: Callable[[ServiceServer], None] | None = None
    port: int = 0
    connections: set[socket.socket] = field(default_factory=set)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients may have been killed."""

        owner = self
        made = type("Bound", (Handler,), {"service": owner})
        self.server = Server(("127.0.0.1", self.port), made)
        self.port = self.server.server_address[1]
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def kill(self) -> None:
        """Close the port and all connections, also those with a request under way."""
        if self.server is not None:
            server, self.server = self.server, None
            server.shutdown()
            server.server_close()
            for connection in list(self.connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def matches(self, algorithm: str, value: bytes) -> Iterator[tuple[Listed, int]]:
        self.asked.append((algorithm, value))
        for listed in self.entries:
            if listed.algorithm == algorithm:
                apart = distance(listed.value, value)
                if apart <= (listed.reach if algorithm == "pdq" else 0):
                    yield listed, apart


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: ServiceServer

    def setup(self) -> None:
        super().setup()
        self.service.connections.add(self.connection)
        read = self.connection.makefile("rb")
        service = self.service

        class Tee:
            def readline(self, size: int = -1) -> bytes:
                line = read.readline(size)
                service.received += line
                return line

            def read(self, size: int = -1) -> bytes:
                data = read.read(size)
                service.received += data
                return data

            def close(self) -> None:
                read.close()

            closed = False

        self.rfile = Tee()  # type: ignore[assignment]

    def finish(self) -> None:
        self.service.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        service = self.service
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service.requests += 1
        if service.on_request is not None:
            service.on_request(service)
        if service.seconds:
            time.sleep(service.seconds)
        if service.fault is not None:
            service.fault(self)
            return
        if service.filters is not None and self.path.startswith("/filters/"):
            service.fetched.append(self.path.removeprefix("/filters/"))
            path = service.filters / service.fetched[-1]
            self.send(path.read_bytes()) if path.is_file() else self.send(b"", 404)
            return
        keys = {f"Bearer {SECRET}", f"Basic {base64.b64encode(LOGIN.encode()).decode()}", SECRET}
        if not keys.intersection(self.headers.values()):
            self.send(b"{}", 401)
            return
        answer = service.speak(service, self, body)
        if answer is None:
            self.send(b"{}", 404)
        else:
            self.send(msgspec.json.encode(answer))

    def send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def speak_hashscan(service: ServiceServer, request: Handler, body: bytes) -> Any:
    address = urlsplit(request.path)
    if address.path == "/v1/info":
        return Info(service.version, service.algorithms, service.digests_max, service.filter)
    if address.path == "/v1/changes":
        return service.changes or Changes(service.version, everything=True)
    if address.path == "/v1/feedback":
        service.feedback.append(msgspec.json.decode(body, type=FeedbackRequest))
        return {}
    if address.path != "/v1/check":
        return None
    digests = msgspec.json.decode(body, type=CheckRequest).digests
    return CheckAnswer(
        service.version,
        [
            CheckMatch(place, listed.entry, listed.category, apart)
            for place, digest in enumerate(digests)
            for listed, apart in service.matches(digest.algorithm, bytes.fromhex(digest.value))
        ],
    )


def speak_hma(service: ServiceServer, request: Handler, body: bytes) -> Any:
    """Answer as HMA does since it names entries in lookups."""
    address = urlsplit(request.path)
    if address.path == "/m/index/status":
        return {"pdq": {"built_to": int(service.version), "present": True, "size": len(service.entries)}}
    if address.path != "/m/lookup":
        return None
    asked = {key: values[0] for key, values in parse_qs(address.query).items()}
    name = {"video_md5": "md5"}.get(asked["signal_type"], asked["signal_type"])
    banks: dict[str, list[dict[str, Any]]] = {}
    for listed, apart in service.matches(name, bytes.fromhex(asked["signal"])):
        found = {"bank_content_id": int(listed.entry), "distance": str(apart)}
        banks.setdefault(listed.category, []).append(found)
    return banks


def speak_older_hma(service: ServiceServer, request: Handler, body: bytes) -> Any:
    """Answer as HMA did before: lookups name banks, raw lookups have the distances."""
    address = urlsplit(request.path)
    if address.path == "/m/index/status":
        return speak_hma(service, request, body)
    asked = {key: values[0] for key, values in parse_qs(address.query).items()}
    name = {"video_md5": "md5"}.get(asked["signal_type"], asked["signal_type"])
    found = list(service.matches(name, bytes.fromhex(asked["signal"])))
    if address.path == "/m/lookup":
        return sorted({listed.category for listed, _ in found})
    return {"matches": [{"content_id": int(one.entry), "distance": str(apart)} for one, apart in found]}


def speak_arachnid(service: ServiceServer, request: Handler, body: bytes) -> Any:
    if request.path != "/v1/pdq/":
        return None
    answer: dict[str, Any] = {}
    for text in json.loads(body)["hashes"]:
        found = list(service.matches("pdq", base64.b64decode(text)))
        answer[text] = None
        if found:
            detail = {"timestamp": 0.0, "sha1_base32": "A" * 32, "sha256_hex": "0" * 64}
            answer[text] = {
                "classification": "csam" if found[0][0].category == "A1" else "harmful-abusive-material",
                "match_type": "near",
                "near_match_details": [{**detail, "classification": "csam"}],
            }
    return {"scanned_hashes": answer}


SPEAKERS: dict[str, Callable[[ServiceServer, Handler, bytes], Any]] = {
    "hashscan": speak_hashscan,
    "hma": speak_hma,
    "arachnid": speak_arachnid,
}
"""The servers' functions, by the name of the adapter."""
for _name in MATCHING_SERVICES:
    if _name not in SPEAKERS:
        # An adapter of an installed plug-in brings a server of its own.
        _package = MATCHING_SERVICES.rows[_name].target.partition(".")[0]
        SPEAKERS[_name] = import_module(f"{_package}.servers").SPEAKERS[_name]


@contextmanager
def service_running(
    speak: Callable[[ServiceServer, Handler, bytes], Any] = speak_hashscan, **options: Any
) -> Iterator[ServiceServer]:
    server = ServiceServer(speak, **options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
