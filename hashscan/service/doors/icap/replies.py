"""Write ICAP's answers: status lines, headers, and the HTTP answer that replaces a refused body.

Nothing of a request is repeated in an answer's headers, so that no name of a file becomes a header.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from hashscan.service.doors.icap.requests import PHRASES, Request
from hashscan.service.engine.uploads import Answer

BLOCKED = "hashscan.Blocked"
"""The name of what was found, where there is no reference."""
UNCHECKED = "hashscan.Unchecked"
"""The name that is shown where a body is refused because it could not be checked."""
PREVIEW_BYTES = 4096
"""Bytes of the preview that clients are asked for."""
OPTIONS_SECONDS = 600
"""Seconds for which clients may keep the answer to OPTIONS; the tag of each answer can end them earlier."""
CONTINUE = f"ICAP/1.0 100 {PHRASES[100]}\r\n\r\n".encode()

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Not accepted</title></head>
<body><h1>Not accepted</h1><p>{text}</p></body></html>
"""


def head(status: int, tag: str, fields: Sequence[tuple[str, str]] = (), *, closes: bool = False) -> bytes:
    """Return the status line (one of PHRASES) and headers of an answer; the tag is the version of the lists,
    and `closes` True if the connection ends after it."""
    lines = [
        f"ICAP/1.0 {status} {PHRASES[status]}",
        "Server: hashscan",
        f'ISTag: "{is_tag(tag)}"',
        f"Connection: {'close' if closes else 'keep-alive'}",
        *(f"{name}: {value}" for name, value in fields),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def is_tag(version: str) -> str:
    """Return the ISTag of a version of the lists: at most 32 letters and digits."""
    return f"hashscan{version}"[:32]


def options(tag: str, methods: Sequence[str], connections_max: int, *, closes: bool) -> bytes:
    """Return the answer to OPTIONS: methods, limits, and that all of every body must be sent."""
    fields = (
        ("Methods", ", ".join(methods)),
        ("Service", "hashscan"),
        ("Service-ID", "hashscan"),
        ("Max-Connections", str(connections_max)),
        ("Options-TTL", str(OPTIONS_SECONDS)),
        ("Allow", "204"),
        ("Preview", str(PREVIEW_BYTES)),
        ("Transfer-Preview", "*"),
        ("Encapsulated", "null-body=0"),
    )
    return head(200, tag, fields, closes=closes)


def error(status: int, tag: str, *, closes: bool = True) -> bytes:
    return head(status, tag, (("Encapsulated", "null-body=0"),), closes=closes)


def unmodified(tag: str, *, closes: bool) -> bytes:
    """Return the answer that the body may pass."""
    return head(204, tag, (("Encapsulated", "null-body=0"),), closes=closes)


def refused(tag: str, threat: str, shown: Sequence[Answer] = (), *, closes: bool) -> bytes:
    """Return the answer that replaces a body by an HTTP 403, with the name of what was found and the answers
    whose matches are shown. Clients look at the HTTP status or at one of several headers, so all of them are
    there. It is sent in one piece: some clients read no more than one."""
    text = f"This file was not accepted ({html.escape(threat)})."
    page = _PAGE.format(text=text).encode()
    http = (
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(page)}\r\nCache-Control: no-store\r\n\r\n"
    ).encode()
    matches = [match for answer in shown for match in answer.result.matches]
    fields = (
        ("X-Infection-Found", f"Type=0; Resolution=2; Threat={threat};"),
        ("X-Virus-ID", threat),
        ("X-Violations-Found", f"1\r\n\t-\r\n\t{threat}\r\n\t0\r\n\t2"),
        *(
            (
                "X-Hashscan-Match",
                f"list={match.list_name}; entry={match.entry_id}; category={match.category}; "
                f"algorithm={match.algorithm}; distance={match.distance}",
            )
            for match in matches[:10]
        ),
        ("Encapsulated", f"res-hdr=0, res-body={len(http)}"),
    )
    return head(200, tag, fields, closes=closes) + http + chunk(page) + END


def returned(tag: str, request: Request, *, closes: bool) -> bytes:
    """Return the beginning of the answer that sends back the whole message; its chunks follow."""
    kind = "req" if request.method == "REQMOD" else "res"
    http = request.request_head if kind == "req" else request.response_head
    section = f"{kind}-body" if request.has_body else "null-body"
    sections = f"{kind}-hdr=0, {section}={len(http)}" if http else f"{section}=0"
    return head(200, tag, (("Encapsulated", sections),), closes=closes) + http


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"
"""The end of a chunked body."""
