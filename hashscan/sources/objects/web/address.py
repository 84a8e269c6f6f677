"""Web URLs in three forms: as given, as sent and as shown, because a signed URL is a credential."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from hashscan.errors import TargetError, UsageError

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_PLACE = re.compile(rb"([A-Za-z]+)://([^/?#]*)")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
# Bytes that need no escaping in the path and query of a request (RFC 3986, 3.3 and 3.4), without the percent
# sign.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?")

_ADVICE = "Write it as https://HOST/PATH or http://HOST/PATH."


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A parsed web URL."""

    scheme: str
    host: str
    """The host as in the URL: in lower case, IPv6 in brackets."""
    port: int
    path: bytes
    """The path as it was given, without its first slash."""
    query: str
    """The query with its question mark, empty if there is none; ready to be sent, and never shown."""

    @property
    def origin(self) -> bytes:
        """The part before the path: `https://host`, with the port if it isn't the scheme's default."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}".encode("ascii")

    @property
    def name(self) -> bytes:
        """The part after the origin and a slash, in a form for people.

        Anybody who has a signed URL can read the object, so a query is never shown; a short digest replaces
        it and keeps two URLs distinct.
        """
        if not self.query:
            return self.path
        digest = hashlib.sha256(self.query.encode("ascii")).hexdigest()[:12]
        return self.path + "?…".encode() + digest.encode("ascii")

    @property
    def shown(self) -> bytes:
        """The whole URL in a form for people."""
        return self.origin + b"/" + self.name

    @property
    def request_target(self) -> str:
        """The target of a request: path and query, with all bytes escaped that a request can't contain."""
        return request_target(self.path, self.query)


def request_target(path: bytes, query: str) -> str:
    """Return path and query as a request contains them.

    Args:
        path: without its first slash.
        query: with its question mark, as in `WebAddress`.
    """
    # A question mark in the path does not start a query.
    return "/" + _escaped(path).replace("?", "%3F") + query


def parse(url: bytes) -> WebAddress:
    """Parse a URL.

    Nothing is normalized: `a//b` and `x/../y` are requested as they are. The libraries' own functions are not
    used, because they drop newlines, resolve dots and encode percent signs a second time.

    Raises:
        UsageError: it contains a user or password; neither is repeated.
        TargetError: it is not the URL of a web server.
    """
    place = _PLACE.match(url)
    scheme = "" if place is None else place[1].decode("ascii").lower()
    if place is None or scheme not in _PORTS:
        raise TargetError("this is no web address", advice=_ADVICE)
    authority = place[2]
    found = _HOST.fullmatch(authority)
    if b"@" in authority:
        host = authority.rpartition(b"@")[2]
        named = host.decode("ascii", errors="replace") if _HOST.fullmatch(host) else "a host"
        raise UsageError(
            f"the {scheme} address of {named} has a user name or password in it",
            advice="Leave it out: it would show in the list of processes and in reports. Use an address "
            "that is signed instead, in a file.",
        )
    port = _PORTS[scheme] if found is None or not found[2] else int(found[2])
    if found is None or not 0 < port < 65536:
        raise TargetError(
            f"{authority.decode('ascii', errors='replace')!r} is no host of a web address", advice=_ADVICE
        )
    # The text after a number sign is for browsers and is never sent.
    rest = url[place.end() :].partition(b"#")[0]
    path, mark, query = rest.partition(b"?")
    return WebAddress(
        scheme, found[1].decode("ascii").lower(), port, path[1:], _escaped(mark + query) if mark else ""
    )


def _escaped(text: bytes) -> str:
    """Escape bytes that can't be sent; existing escapes stay as they are."""
    out = []
    position = 0
    while position < len(text):
        if _ESCAPE.match(text, position):
            out.append(text[position : position + 3].decode("ascii"))
            position += 3
            continue
        byte = text[position]
        out.append(chr(byte) if byte in _PLAIN else f"%{byte:02X}")
        position += 1
    return "".join(out)
