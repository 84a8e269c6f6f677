"""Parse web addresses as browsers and servers do, and format them."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

ADDRESS_MAX = 8192
"""Maximum characters of an address; a path has 4,096 bytes at most, and most of those need no escape."""
_HOST_MAX = 253
_LABELS = re.compile(
    r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*", re.ASCII
)
_PORTS = {"http": 80, "https": 443}
_LITERAL = "!$&'()*+,;=:@~"
"""Characters that need no escape in a path, besides letters, digits and `-._`."""


class Address(NamedTuple):
    """A web address without the parts that don't identify a file: user, query, fragment."""

    scheme: str
    host: str
    """In lower case; names in other scripts in their ASCII form."""
    port: int | None
    """None for the scheme's default port."""
    parts: tuple[bytes, ...]
    """Components of the path, unescaped; none is `.` or `..`, and none holds a slash or a zero byte."""


def taken_apart(url: str) -> Address | None:
    """Parse an address of http or https; return None for anything else, however hostile."""
    if len(url) > ADDRESS_MAX:
        return None
    # Browsers do this before they parse an address.
    url = url.strip().replace("\\", "/")
    if not url.isprintable():
        return None
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port
    except ValueError:
        return None
    scheme = split.scheme.lower()
    if scheme not in _PORTS or not host:
        return None
    known = host_of(host)
    parts = _parts(split.path)
    if known is None or parts is None:
        return None
    return Address(scheme, known, None if port == _PORTS[scheme] else port, parts)


def host_of(name: str) -> str | None:
    """Return a host's name in the one form in which it is compared, or None where it is no such name."""
    name = name.removesuffix(".").lower()
    if not name.isascii():
        if len(name) > _HOST_MAX:
            return None
        try:
            name = name.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return None
    if ":" in name:
        return f"[{name}]"
    return name if len(name) <= _HOST_MAX and _LABELS.fullmatch(name) else None


def _parts(path: str) -> tuple[bytes, ...] | None:
    found: list[bytes] = []
    pieces = path.removeprefix("/").split("/")
    for number, piece in enumerate(pieces):
        try:
            part = unquote_to_bytes(piece)
        except UnicodeError:
            return None
        if b"/" in part or b"\0" in part:
            # A server that used this as a path would serve something else than what is named here.
            return None
        if part in {b".", b".."}:
            if part == b".." and found:
                found.pop()
            if number == len(pieces) - 1:
                found.append(b"")
            continue
        found.append(part)
    return tuple(found)


def put_together(address: Address) -> str:
    """Return the address as text, in ASCII."""
    port = "" if address.port is None else f":{address.port}"
    path = "/".join(quote(part, safe=_LITERAL) for part in address.parts)
    return f"{address.scheme}://{address.host}{port}/{path}"
