"""Read from an encapsulated HTTP head how its body is to be interpreted.

ICAP's client has parsed the head already, and passes on bytes of uploaders. The application behind it may
read them otherwise than we do: it may take the first of two headers or the last one, or see a header where we
see none. So each doubt is a reason not to call the body clean. No doubt is an error, since a client may let
pass a body for which it gets one.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from hashscan.model import Reason
from hashscan.service.doors.multipart import NAME_MAX

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*)")
_TARGET = re.compile(rb"[^ ]+ ([^ ?#]*)")
_STATUS = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})\b")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_DOUBTS = (Reason.AMBIGUOUS, Reason.COMPRESSED, Reason.PARTIAL)
"""The doubts, the most serious one first: a body with several has this one, not one that is allowed."""
_PARTS = frozenset({b"content-range", b"upload-offset"})
"""Headers of requests and responses whose body is a part of a file."""


class BodyFacts(Struct, frozen=True):
    """The facts about a body that its head announces."""

    content_type: str = ""
    length: int | None = None
    """Bytes, where they are announced."""
    name: bytes = b""
    """Last component of the URL's path; untrusted."""
    of_response: bool = False
    doubt: Reason | None = None
    """Reason why the body can't be checked as it will be used."""


def body_facts(request_head: bytes, response_head: bytes, *, of_response: bool) -> BodyFacts:
    """Return the facts about the body of a request or a response."""
    head = response_head if of_response else request_head
    fields: dict[bytes, list[bytes]] = {}
    doubts = set()
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            doubts.add(Reason.AMBIGUOUS)
            continue
        # CGI and similar interfaces treat both characters alike. Equal values are not ambiguous.
        values = fields.setdefault(found[1].lower().replace(b"_", b"-"), [])
        if (value := found[2].strip(b" \t")) not in values:
            values.append(value)
    types = fields.get(b"content-type", [])
    lengths = fields.get(b"content-length", [])
    if len(types) > 1 or len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        doubts.add(Reason.AMBIGUOUS)
    if of_response and not any(b"multipart" in value.lower() for value in types):
        # Browsers take no files out of other responses.
        doubts.discard(Reason.AMBIGUOUS)
    if _is_encoded(fields):
        doubts.add(Reason.COMPRESSED)
    status = _STATUS.match(first) if of_response else None
    if not _PARTS.isdisjoint(fields) or (status is not None and status[1] == b"206"):
        doubts.add(Reason.PARTIAL)
    target = _TARGET.match(request_head.split(b"\r\n", 1)[0])
    return BodyFacts(
        types[0].decode("latin-1") if len(types) == 1 else "",
        int(lengths[0]) if len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]) else None,
        unquote_to_bytes(target[1].rpartition(b"/")[2])[:NAME_MAX] if target else b"",
        of_response,
        next((doubt for doubt in _DOUBTS if doubt in doubts), None),
    )


def _is_encoded(fields: dict[bytes, list[bytes]]) -> bool:
    """Return True if the body's bytes are not those of the file; ICAP's client removes `chunked`."""
    codings = b",".join(fields.get(b"content-encoding", []) + fields.get(b"transfer-encoding", []))
    return not {coding.strip().lower() for coding in codings.split(b",")} <= {b"", b"identity", b"chunked"}
