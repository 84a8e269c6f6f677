"""Parse ICAP requests (RFC 3507): bytes in, events out, without input or output of its own.

A client that means other bounds of a body than this parser does could hide a file: it would send on what was
never checked. So there is one way to write everything, and all else is an error that ends the connection:
lines end with CR LF; no header is folded, and none that bounds a body is repeated; the offsets of
`Encapsulated` are where the encapsulated heads end; a chunk's size is hexadecimal digits alone, and its
extensions are parsed as RFC 9112 defines them, so that `ieof` in a quoted string is none. `ieof` counts only
in the last chunk of a preview.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

HEAD_MAX = 32 << 10
"""Bytes of the ICAP request line and headers; also of all trailers of one body."""
HTTP_HEADS_MAX = 256 << 10
"""Bytes of the encapsulated HTTP heads."""
CHUNK_LINE_MAX = 1024
"""Bytes of the line that begins a chunk."""

PHRASES = {
    100: "Continue",
    200: "OK",
    204: "No modifications needed",
    400: "Bad request",
    404: "ICAP Service not found",
    405: "Method not allowed for service",
    408: "Request timeout",
    500: "Server error",
    501: "Method not implemented",
    503: "Service overloaded",
    505: "ICAP version not supported by server",
}
"""Status codes and their phrases, in the words of RFC 3507, 4.3.3."""

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_EXTENSION = rf"""[ \t]*;[ \t]*({_NAME})(?:[ \t]*=[ \t]*(?:{_NAME}|"(?:[^"\\]|\\.)*"))?"""
_REQUEST_LINE = re.compile(rf"({_NAME}) (\S+) ICAP/([0-9]\.[0-9])")
_URI = re.compile(r"(?:icaps?://[^/?#\s]+)?/([^?#\s]*)(?:\?[^#\s]*)?", re.IGNORECASE)
_HEADER = re.compile(rf"({_NAME}):[ \t]*([^\x00\r\n]*)")
_EXTENSIONS = re.compile(_EXTENSION)
_CHUNK = re.compile(rf"([0-9A-Fa-f]{{1,15}})((?:{_EXTENSION})*)[ \t]*")
_SECTION = re.compile(r"[ \t]*([a-z-]+)[ \t]*=[ \t]*([0-9]{1,7})[ \t]*")
_SECTIONS = {
    "REQMOD": re.compile(r"(req-hdr )?(req-body|null-body) "),
    "RESPMOD": re.compile(r"(req-hdr )?(res-hdr )?(res-body|null-body) "),
    "OPTIONS": re.compile(r"((opt-body|null-body) )?"),
}
"""The order of encapsulated sections, by method (RFC 3507, 4.4.1)."""
_SINGLE = ("encapsulated", "preview", "host")
"""Headers that a request may have once."""

Headers = tuple[tuple[str, str], ...]


class ProtocolError(Exception):
    """A request that can't be understood, or is not served; the connection ends with it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Request(Struct, frozen=True):
    """The beginning of a request, complete with the encapsulated heads."""

    method: str
    """REQMOD, RESPMOD, OPTIONS; or another, which is not implemented."""
    service: str
    """Path of the URI, without the first slash and the query."""
    headers: Headers = ()
    """Names in lower case, and values."""
    request_head: bytes = b""
    """The encapsulated HTTP request line and headers; empty if there are none."""
    response_head: bytes = b""
    """The encapsulated HTTP status line and headers; empty if there are none."""
    has_body: bool = False
    preview: int | None = None
    """Bytes of the preview that the client sends; None if it sends none."""

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]

    def tokens(self, name: str) -> frozenset[str]:
        """Return the items of a header that is a list, in lower case."""
        return frozenset(item.strip().lower() for value in self.values(name) for item in value.split(","))

    @property
    def allows_204(self) -> bool:
        """True if `204` may be the answer even after the preview."""
        return "204" in self.tokens("allow")

    @property
    def closes(self) -> bool:
        """True if the client ends the connection after this request."""
        return "close" in self.tokens("connection")


class PreviewEnd(Struct, frozen=True):
    """The end of a preview; unless it is complete, `proceed` or `finish` of the parser must follow."""

    complete: bool
    """True if the body has no more bytes than these."""


class BodyEnd(Struct, frozen=True):
    """The end of a body that was sent in whole."""


Event = Request | bytes | PreviewEnd | BodyEnd
"""A request begins, some bytes of its body, the end of its preview, its end. Without a body, nothing follows
the Request."""

_Step = Event | Literal[True] | None
"""An event; True if the next state has enough bytes to be tried; None if more are needed."""


class RequestParser:
    """The parser of one connection's requests, one after the other."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._state: Callable[[], _Step] = self._parse_head
        self._head = Request("", "")
        self._sections: list[tuple[str, int]] = []
        self._in_preview = False
        self._ends_in_preview = False
        self._preview_left = 0
        self._chunk_left = 0
        self._trailers = 0
        self._blank_lines = 0

    @property
    def between_requests(self) -> bool:
        """True if no byte of a request has arrived that is not complete."""
        return self._state == self._parse_head and not self._buffer

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def proceed(self) -> None:
        """Go on to the rest of the body, after `100 Continue`."""
        self._leave_preview(self._parse_chunk)

    def finish(self) -> None:
        """Go on to the next request, since the preview had another answer than `100 Continue`."""
        self._leave_preview(self._parse_head)

    def _leave_preview(self, to: Callable[[], _Step]) -> None:
        if self._state != self._wait:
            raise RuntimeError("no preview has ended")
        self._in_preview = False
        self._state = to

    def next(self) -> Event | None:
        """Return the next event; None if more bytes are needed, or if a preview's end awaits its answer."""
        while (found := self._state()) is True:
            pass
        return found

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _line(self, longest: int) -> str | None:
        end = self._buffer.find(b"\r\n", 0, longest + 2)
        if end < 0:
            if len(self._buffer) >= longest + 2:
                raise ProtocolError(400, "a line is too long")
            return None
        line = self._take(end).decode("latin-1")
        del self._buffer[:2]
        return line

    def _parse_head(self) -> _Step:
        while self._buffer.startswith(b"\r\n"):
            # Some clients end a body with one too many.
            if self._blank_lines:
                raise ProtocolError(400, "blank lines before a request")
            self._blank_lines = 1
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_MAX)
        if end < 0:
            if len(self._buffer) >= HEAD_MAX:
                raise ProtocolError(400, "the headers are too long")
            return None
        first, *lines = self._take(end).decode("latin-1").split("\r\n")
        del self._buffer[:4]
        self._blank_lines = 0
        self._head = _request(first, tuple(map(_header, lines)))
        self._sections = _sections(self._head)
        self._state = self._parse_http_heads
        return True

    def _parse_http_heads(self) -> _Step:
        size = self._sections[-1][1] if self._sections else 0
        if len(self._buffer) < size:
            return None
        heads = {"req-hdr": b"", "res-hdr": b""}
        for (name, begin), (_, end) in zip(self._sections, self._sections[1:], strict=False):
            http = heads[name] = self._take(end - begin)
            if len(http) < 5 or http.find(b"\r\n\r\n") != len(http) - 4:
                raise ProtocolError(400, f"{name} does not end where the next section begins")
        head = self._head
        has_body = bool(self._sections) and self._sections[-1][0] != "null-body"
        self._in_preview = has_body and head.preview is not None
        self._preview_left = head.preview or 0
        self._trailers = 0
        self._state = self._parse_chunk if has_body else self._parse_head
        return Request(
            head.method,
            head.service,
            head.headers,
            heads["req-hdr"],
            heads["res-hdr"],
            has_body,
            head.preview if has_body else None,
        )

    def _parse_chunk(self) -> _Step:
        line = self._line(CHUNK_LINE_MAX)
        if line is None:
            return None
        chunk = _CHUNK.fullmatch(line)
        if chunk is None:
            raise ProtocolError(400, "not a chunk size")
        size = int(chunk[1], 16)
        ends = "ieof" in (name.lower() for name in _EXTENSIONS.findall(chunk[2]))
        if ends and (size or not self._in_preview):
            raise ProtocolError(400, "ieof elsewhere than at the end of a preview")
        if self._in_preview:
            if size > self._preview_left:
                raise ProtocolError(400, "the preview is longer than announced")
            self._preview_left -= size
        self._ends_in_preview = ends
        self._chunk_left = size
        self._state = self._take_data if size else self._parse_trailers
        return True

    def _take_data(self) -> _Step:
        if not self._buffer:
            return None
        data = self._take(min(self._chunk_left, len(self._buffer)))
        self._chunk_left -= len(data)
        if not self._chunk_left:
            self._state = self._end_chunk
        return data

    def _end_chunk(self) -> _Step:
        if len(self._buffer) < 2:
            return None
        if self._take(2) != b"\r\n":
            raise ProtocolError(400, "a chunk is longer than its size")
        self._state = self._parse_chunk
        return True

    def _parse_trailers(self) -> _Step:
        line = self._line(HEAD_MAX - self._trailers)
        if line is None:
            return None
        if line:
            self._trailers += len(line) + 2
            _header(line)
            return True
        return self._end_body()

    def _wait(self) -> _Step:
        return None

    def _end_body(self) -> Event:
        if not self._in_preview:
            self._state = self._parse_head
            return BodyEnd()
        self._trailers = 0
        if self._ends_in_preview:
            self._in_preview = False
            self._state = self._parse_head
            return PreviewEnd(complete=True)
        self._state = self._wait
        return PreviewEnd(complete=False)


def _request(line: str, headers: Headers) -> Request:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise ProtocolError(400, "not a request line")
    method, uri, version = found.groups()
    if version != "1.0":
        raise ProtocolError(505, f"version {version}")
    if method not in _SECTIONS:
        raise ProtocolError(501, "unknown method")
    path = _URI.fullmatch(uri)
    if path is None:
        raise ProtocolError(400, "not an ICAP URI")
    for name in _SINGLE:
        if sum(found == name for found, _ in headers) > 1:
            raise ProtocolError(400, f"more than one {name} header")
    preview = next((value for name, value in headers if name == "preview"), None)
    if preview is not None and re.fullmatch("[0-9]{1,9}", preview) is None:
        raise ProtocolError(400, "not a preview size")
    return Request(method, path[1], headers, preview=None if preview is None else int(preview))


def _header(line: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise ProtocolError(400, "not a header line")
    return found[1].lower(), found[2].rstrip(" \t")


def _sections(request: Request) -> list[tuple[str, int]]:
    """Return the encapsulated sections, each with its offset."""
    sections = []
    for text in ",".join(request.values("encapsulated")).split(",") if request.values("encapsulated") else ():
        found = _SECTION.fullmatch(text)
        if found is None:
            raise ProtocolError(400, "not a list of encapsulated sections")
        sections.append((found[1], int(found[2])))
    if _SECTIONS[request.method].fullmatch("".join(f"{name} " for name, _ in sections)) is None:
        raise ProtocolError(400, f"not the encapsulated sections of a {request.method}")
    offsets = [offset for _, offset in sections]
    if sections and (offsets[0] != 0 or offsets != sorted(set(offsets)) or offsets[-1] > HTTP_HEADS_MAX):
        raise ProtocolError(400, "not the offsets of encapsulated sections")
    return sections
