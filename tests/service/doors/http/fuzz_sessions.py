"""Mutated sessions for an HTTP door with keys and a trusted owner; see `tests.service.doors.fuzzing`.

It fails also at an answer with a status of 500 or more.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from http.client import HTTPMessage, parse_headers
from pathlib import Path
from typing import ClassVar

from hashscan.service.doors.base import ListeningDoor
from hashscan.service.doors.http.app import HttpDoor
from tests.service.doors.fuzzing import IDLE_SECONDS, Sessions, main, opened, send_all
from tests.service.doors.http.serving import DOOR, add_key, form
from tests.service.serving import planted

OWNER = "X-Owner"


def chunked(content: bytes, size: int) -> bytes:
    """Return a body in chunks."""
    pieces = [content[place : place + size] for place in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class HttpSessions(Sessions):
    """Sessions of HTTP clients."""

    words: ClassVar[Sequence[bytes]] = (
        *(b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n", b"\0", b" ", b"\t", b",", b"-1", b"+1", b"0x1"),
        *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 18446744073709551616\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Content-Encoding: gzip\r\n"),
        *(b"Content-Range: bytes 0-1/9\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n"),
        *(b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"X-Owner: ann\r\n", b"Host: a\r\n", b"ffffffff"),
        *(b"Authorization: Bearer x\r\n", b"Content-Type: multipart/form-data; boundary=x0x\r\n", b"%00%ff"),
        *(
            b"\r\n--x0x",
            b"--x0x--\r\n",
            b"--x0x\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"?status=true",
        ),
        *(b'"digests"', b"[[[[", b'{"a":', b"1e999", b"\\ud800", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
    )
    numbers: ClassVar[Sequence[bytes]] = (*(b"%x" % number for number in range(16)), b"99999999", b"\xff\xfe")
    head_bytes: ClassVar[int] = 400
    quiet_seconds: ClassVar[float] = 0.05

    def __init__(self, door: ListeningDoor, key: str) -> None:
        super().__init__(door)
        self._key = key

    def request(self, method: str, path: str, *fields: str, body: bytes | None = None) -> bytes:
        """Return a request with the key; the length of a body is announced unless it is in chunks."""
        lines = [
            f"{method} {path} HTTP/1.1", "Host: hashscan.example", f"Authorization: Bearer {self._key}",
            *fields,
        ]  # fmt: skip
        if body is not None and "Transfer-Encoding: chunked" not in fields:
            lines.append(f"Content-Length: {len(body)}")
        return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + (body or b"")

    def bases(self) -> Sequence[bytes]:
        """Return the sessions, as the base class says."""
        text = b"some text that is no picture"
        parts, kind = form(("a.txt", text), ("b", b""), ("c.jpg", b"\xff\xd8\xff"))
        digest = sha256(planted()).hexdigest()
        asked = json.dumps({"digests": [{"algorithm": "sha256", "value": digest}] * 3}).encode()
        request, chunks = self.request, "Transfer-Encoding: chunked"
        return [
            request("GET", "/healthz") + request("GET", "/readyz"),
            request("GET", "/openapi.json"),
            request("GET", "/metrics"),
            request("GET", "/v1/lists") + request("GET", "/v1/info") + request("GET", "/v1/changes?since=a"),
            request("GET", f"/v1/check/sha256/{digest}") + request("GET", "/v1/check/pdq/" + "0f" * 32),
            request("POST", "/v1/scan", body=text),
            request("POST", "/v1/scan", chunks, body=chunked(text, 10)),
            request("POST", "/v1/scan?digests=true&name=a.txt", f"{OWNER}: ann", body=text),
            request("POST", "/v1/scan?status=true", "Content-Range: bytes 0-27/28", body=text),
            request("POST", "/v1/scan/nginx", "Expect: 100-continue", body=text),
            request("POST", "/v1/scan", f"Content-Type: {kind}", body=parts),
            request("POST", "/v1/scan", f"Content-Type: {kind}", chunks, body=chunked(parts, 50)),
            request("POST", "/v1/check", "Content-Type: application/json", body=asked),
            request("POST", "/v1/check", f"{OWNER}: ann", chunks, body=chunked(asked, 60)),
            request("POST", "/v1/scan", body=text) * 3 + request("GET", "/healthz"),
            request("POST", "/v1/scan?status=true", chunks, body=chunked(planted(), 10_000)),
        ]

    def upload(self, content: bytes) -> bytes:
        """Return a session, as the base class says."""
        return self.request("POST", "/v1/scan", "Connection: close", body=content)

    def is_refused(self, answer: bytes) -> bool:
        """Tell the answer, as the base class says."""
        ((status, body),) = answers_of(answer)
        outcome = json.loads(body)["outcome"]
        assert status == 200, answer
        assert outcome in {"allow", "refuse"}, answer
        return bool(outcome == "refuse")

    def kind(self, answers: bytes) -> str:
        """Return the first status; each answer must be one of HTTP, and none may tell of a defect."""
        statuses = [status for status, _ in answers_of(answers)]
        assert all(status < 500 for status in statuses), answers
        return str(statuses[0]) if statuses else "nothing"


def answers_of(received: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each answer; without the last one if it is cut."""
    stream, found = io.BytesIO(received), []
    with suppress(EOFError):
        while stream.tell() < len(received):
            status, headers = _read_head(stream)
            size = int(headers.get("Content-Length", "0"))
            body = stream.read(size)
            if len(body) < size:
                raise EOFError
            assert "Transfer-Encoding" not in headers
            found.append((status, body))
    return found


def _read_head(stream: io.BytesIO) -> tuple[int, HTTPMessage]:
    if b"\r\n\r\n" not in stream.getvalue()[stream.tell() :]:
        raise EOFError
    version, status, _ = stream.readline().split(b" ", 2)
    assert version == b"HTTP/1.1"
    return int(status), parse_headers(stream)


async def fuzz(folder: Path, number: int, seed: int) -> Counter[str]:
    """Send sessions, and return how many were first answered with which status."""
    keys = folder / "keys"
    key = add_key(keys, "scan", "check", "lists", "metrics")
    chosen = replace(DOOR, idle_seconds=IDLE_SECONDS, owner_header=OWNER)
    async with opened(folder, lambda engine: HttpDoor(engine, chosen, keys=keys)) as door:
        return await send_all(HttpSessions(door, key), number, seed)


if __name__ == "__main__":
    main(fuzz)
