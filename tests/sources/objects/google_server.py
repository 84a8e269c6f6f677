"""A small server that speaks as much of Google's two interfaces as a scan does, generations included.

The emulator to be had for tests knows no generations, and takes `a//b` and `a/./b` for one object.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote_to_bytes

import google_crc32c

from hashscan.model import DIRECT, Access

TOKEN = "ya29.SECRET-google-token"


@dataclass
class Generation:
    number: int
    content: bytes
    live: bool = True
    encoding: str = ""
    metadata: dict[str, object] = field(default_factory=dict)
    """Besides what follows from the rest."""


@dataclass
class GoogleServer:
    """One bucket, `bucket`, by key."""

    url: str = ""
    held: dict[bytes, list[Generation]] = field(default_factory=dict)
    refusals: dict[bytes, int] = field(default_factory=dict)
    """Status to answer with, by key, to requests for what it holds."""
    cut: dict[bytes, int] = field(default_factory=dict)
    """Number of times to send half of it only."""
    page: int = 1000
    token: str = ""
    """Without which nothing is answered."""
    list_status: int = 200
    headers: bool = True
    """True if answers tell the generation."""
    access: Access = DIRECT
    """The clients' access options."""
    asked: list[str] = field(default_factory=list)
    acl_status: int = 200
    """Status to answer with where the ACL is asked for, too."""
    uploads: dict[str, dict[str, object]] = field(default_factory=dict)
    upload_url: str = ""
    """Address to which clients send bytes; its own if empty."""
    _last: int = 1000

    def put(self, key: str, content: bytes, encoding: str = "") -> None:
        generations = self.held.setdefault(key.encode(), [])
        for older in generations:
            older.live = False
        self._last += 1
        generations.append(Generation(self._last, content, encoding=encoding))

    def remove(self, key: str) -> None:
        for generation in self.held[key.encode()]:
            generation.live = False

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        path, _, query = request.path.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            refuse(request, 401)
            return
        parts = path.strip("/").split("/")
        if request.command in {"POST", "PUT"}:
            self._upload(request, options)
            return
        if parts[0] == "download":
            del parts[0]
        if parts[:3] == ["storage", "v1", "b"]:
            bucket, rest = parts[3], parts[5:]
        else:
            bucket, rest, options["alt"] = parts[0], parts[1:], "media"
        if bucket != "bucket":
            refuse(request, 404)
        elif not rest:
            self._list(request, options)
        else:
            self._object(request, unquote_to_bytes(rest[0]), options)

    def _list(self, request: BaseHTTPRequestHandler, options: dict[str, str]) -> None:
        if self.list_status != 200:
            refuse(request, self.list_status)
            return
        prefix = options.get("prefix", "").encode()
        delimiter = options.get("delimiter", "").encode()
        entries: dict[tuple[bytes, int], dict[str, object] | None] = {}
        for key, generations in self.held.items():
            deeper, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (b"", b"", b"")
            if not key.startswith(prefix):
                continue
            if found:
                entries[prefix + deeper + found, 0] = None
                continue
            for one in generations:
                if one.live or options.get("versions", "").lower() == "true":
                    entries[key, one.number] = {
                        "name": key.decode(),
                        "size": str(len(one.content)),
                        "updated": "2026-01-06T10:00:00.000Z",
                        "generation": str(one.number),
                        **({"contentEncoding": one.encoding} if one.encoding else {}),
                        **checksums_of(key, one.content),
                    }
        start = int(options.get("pageToken", "0"))
        page = min(self.page, int(options.get("maxResults", self.page)))
        shown = sorted(entries)[start : start + page]
        body = {
            "items": [entries[name] for name in shown if entries[name] is not None],
            "prefixes": [name[0].decode() for name in shown if entries[name] is None],
        }
        if start + page < len(entries):
            body["nextPageToken"] = str(start + page)  # type: ignore[assignment]
        send(request, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _object(self, request: BaseHTTPRequestHandler, key: bytes, options: dict[str, str]) -> None:
        if key in self.refusals:
            refuse(request, self.refusals[key])
            return
        if options.get("projection") == "full" and self.acl_status != 200:
            refuse(request, self.acl_status)
            return
        wanted = options.get("generation")
        found = [
            one
            for one in self.held.get(key, ())
            if (one.live if wanted is None else str(one.number) == wanted)
        ]
        condition = options.get("ifGenerationMatch")
        if condition is not None and [str(one.number) for one in found] != [condition]:
            refuse(request, 412)
            return
        if not found:
            refuse(request, 404)
            return
        (one,) = found
        if request.command == "DELETE":
            self.held[key].remove(one)
            send(request, b"", {}, status=204)
            return
        if options.get("alt") != "media":
            said = {"generation": str(one.number), "size": str(len(one.content)), **one.metadata}
            said |= {"contentEncoding": one.encoding} if one.encoding else {}
            send(request, json.dumps(said).encode(), {})
            return
        headers = {"x-goog-generation": str(one.number)} if self.headers else {}
        headers |= {"ETag": '"other-than-listed"', "Last-Modified": "Tue, 06 Jan 2026 10:00:00 GMT"}
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        size = len(one.content)
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        content, length = one.content[start:], size - start
        as_stored = request.headers.get("Accept-Encoding") == "gzip"
        if one.encoding == "gzip" and as_stored:
            headers["Content-Encoding"] = "gzip"
        elif one.encoding == "gzip":
            # As Google does: it is decompressed on the way, in pieces of unknown number.
            request.close_connection = True
            send(request, b"decompressed " + content, headers, length=-1)
            return
        if self.cut.get(key):
            self.cut[key] -= 1
            request.close_connection = True
            content = content[: length // 2]
        send(request, content, headers, length=length, status=206 if start else 200)

    def _upload(self, request: BaseHTTPRequestHandler, options: dict[str, str]) -> None:
        """Receive one object in two requests; it must be a new one in both."""
        content = request.rfile.read(int(request.headers["Content-Length"]))
        if request.command == "POST":
            self.uploads[str(len(self.uploads))] = json.loads(content)
            options["upload_id"] = str(len(self.uploads) - 1)
        metadata = dict(self.uploads[options["upload_id"]])
        key = str(metadata.pop("name"))
        if key.encode() in self.refusals:
            refuse(request, self.refusals[key.encode()])
        elif any(one.live for one in self.held.get(key.encode(), ())):
            refuse(request, 412)
        elif request.command == "POST":
            where = f"{self.upload_url or self.url}/upload/there?upload_id={options['upload_id']}"
            send(request, b"", {"Location": where})
        else:
            self.put(key, content, str(metadata.pop("contentEncoding", "")))
            one = self.held[key.encode()][-1]
            one.metadata = metadata
            send(request, json.dumps({"generation": str(one.number)}).encode(), {})


def refuse(request: BaseHTTPRequestHandler, status: int) -> None:
    send(request, b'{"error": {"message": "SECRETs may be repeated here"}}', {}, status=status)


def checksums_of(key: bytes, content: bytes) -> dict[str, str]:
    """Return the checksums of an object; one that was composed of others has no MD5."""
    found = {"crc32c": google_crc32c.value(content).to_bytes(4)}
    if b"composed" not in key:
        found["md5Hash"] = hashlib.md5(content).digest()
    return {name: base64.b64encode(value).decode() for name, value in found.items()}


def send(
    request: BaseHTTPRequestHandler,
    content: bytes,
    headers: dict[str, str],
    *,
    length: int | None = None,
    status: int = 200,
) -> None:
    request.send_response(status)
    if length != -1:
        request.send_header("Content-Length", str(len(content) if length is None else length))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(content)


@contextmanager
def google_server() -> Iterator[GoogleServer]:
    """The server, with nothing in it."""
    server = GoogleServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            try:
                server.serve(self)
            except OSError:
                self.close_connection = True

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *args: object) -> None:
            pass

    with Http(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
