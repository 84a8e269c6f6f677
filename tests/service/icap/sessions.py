"""ICAP requests as clients write them, for the tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
