"""ICAP requests as clients write them, and answers as they read them, for the tests."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import BinaryIO

from hashscan.service.doors.icap.requests import BodyEnd, PreviewEnd, ProtocolError, Request, RequestParser
from hashscan.settings.service import UnixAddress
from tests.service.serving import Service

REQUEST_HEAD = b"POST /files/holiday.jpg HTTP/1.1\r\nHost: upload.example\r\n\r\n"
RESPONSE_HEAD = b"HTTP/1.1 200 OK\r\nServer: origin\r\n\r\n"


def chunked(pieces: Iterable[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks, one for each piece that is not empty."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + end


def request(
    method: str,
    sections: Sequence[tuple[str, bytes]],
    *fields: str,
    service: str = "hashscan",
    body: bytes = b"",
) -> bytes:
    """A request; the last section is the body's, whose bytes are `body`, in chunks already."""
    offsets, offset = [], 0
    for name, content in sections:
        offsets.append(f"{name}={offset}")
        offset += len(content)
    lines = [
        f"{method} icap://icap.example:1344/{service} ICAP/1.0",
        "Host: icap.example:1344",
        *([f"Encapsulated: {', '.join(offsets)}"] if offsets else []),
        *fields,
    ]
    head = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
    return head + b"".join(content for _, content in sections) + body


def reqmod(body: bytes, *fields: str, head: bytes = REQUEST_HEAD, service: str = "hashscan") -> bytes:
    """A REQMOD with a body, in chunks already."""
    return request("REQMOD", [("req-hdr", head), ("req-body", b"")], *fields, body=body, service=service)


def respmod(
    body: bytes,
    *fields: str,
    head: bytes = RESPONSE_HEAD,
    service: str = "hashscan",
    asked: bytes = REQUEST_HEAD,
) -> bytes:
    """A RESPMOD with a body, in chunks already."""
    sections = [("req-hdr", asked), ("res-hdr", head), ("res-body", b"")]
    return request("RESPMOD", sections, *fields, body=body, service=service)


def form(boundary: bytes, contents: Sequence[bytes], head: bytes = b"") -> bytes:
    """A multipart body; the files are named by their numbers, unless the parts' headers are given."""
    parts = []
    for number, content in enumerate(contents):
        file = b'Content-Disposition: form-data; name="f"; filename="%d.jpg"\r\n\r\n' % number
        parts.append(b"--" + boundary + b"\r\n" + (head or file) + content + b"\r\n")
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


class Reply:
    """One answer."""

    def __init__(self, stream: BinaryIO) -> None:
        head = read_head(stream)
        assert head[0].startswith("ICAP/1.0 ")
        self.status = int(head[0].split()[1])
        self.first = head[0]
        self.fields = [line.split(": ", 1) for line in head[1:] if not line.startswith("\t")]
        self.http = b""
        self.body: bytes | None = None
        sections = dict(part.strip().split("=") for part in self.get("Encapsulated").split(",") if part)
        if sections and (size := int(list(sections.values())[-1])):
            self.http = stream.read(size)
        if any(name.endswith("-body") and name != "null-body" for name in sections):
            self.body = b"".join(read_chunks(stream))

    def get(self, name: str) -> str:
        return next((value for found, value in self.fields if found == name), "")

    @property
    def refused(self) -> bool:
        return self.http.startswith(b"HTTP/1.1 403 ")


def read_head(stream: BinaryIO) -> list[str]:
    lines = []
    while (line := stream.readline()) != b"\r\n":
        if not line.endswith(b"\r\n"):
            raise EOFError
        lines.append(line[:-2].decode())
    return lines


def read_chunks(stream: BinaryIO) -> Iterator[bytes]:
    while size := int(read_line(stream), 16):
        yield stream.read(size)
        assert read_line(stream) == b""
    assert read_line(stream) == b""


def read_line(stream: BinaryIO) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    return line[:-2]


Seen = list[Request | PreviewEnd | BodyEnd | bytes | int]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(ends)]


def parse(pieces: Sequence[bytes], *, proceeds: bool = True) -> Seen:
    """All events, with the pieces of a body joined; at last the status of an error, if there is one."""
    parser = RequestParser()
    seen: Seen = []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (event := parser.next()) is not None:
                if isinstance(event, bytes) and seen and isinstance(seen[-1], bytes):
                    seen[-1] += event
                else:
                    seen.append(event)
                if event == PreviewEnd(complete=False):
                    if proceeds:
                        parser.proceed()
                    else:
                        parser.finish()
        except ProtocolError as error:
            return [*seen, error.status]
    return seen


class Talk:
    """A client's connection."""

    def __init__(self, service: Service) -> None:
        address = service.address
        if isinstance(address, UnixAddress):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(60)
            self.socket.connect(str(address.path))
        else:
            self.socket = socket.create_connection((address.host, address.port), timeout=60)
        self.stream = self.socket.makefile("rb")

    def ask(self, *data: bytes) -> Reply:
        self.socket.sendall(b"".join(data))
        return Reply(self.stream)

    def at_end(self) -> bool:
        return not self.stream.read(1)

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


@contextmanager
def talking(service: Service) -> Iterator[Talk]:
    talk = Talk(service)
    try:
        yield talk
    finally:
        talk.close()
