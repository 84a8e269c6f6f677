"""Web addresses as they are named, sent and shown: three forms, since a signed address is a credential."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from hashscan.errors import TargetError, UsageError

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_PLACE = re.compile(rb"([A-Za-z]+)://([^/?#]*)")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
# What may stand as it is in the path and query of a request (RFC 3986, 3.3 and 3.4), the percent sign apart.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?")

_ADVICE = "Write it as https://HOST/PATH or http://HOST/PATH."


@dataclass(frozen=True, slots=True)
class WebAddress:
    """One address, in the parts that matter."""

    scheme: str
    host: str
    """As it stands in the address: in lower case, IPv6 in brackets."""
    port: int
    path: bytes
    """As it was named, without its first slash."""
    query: str
    """From the question mark on, empty where there is none; ready to be sent, and never shown."""

    @property
    def origin(self) -> bytes:
        """What is before the path: `https://host`, with the port where it isn't the scheme's own."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}".encode("ascii")

    @property
    def name(self) -> bytes:
        """What stands for it after the origin and a slash, for people.

        Whoever has a signed address can read the object, so a query is never shown; a short digest in its
        place keeps two addresses apart.
        """
        if not self.query:
            return self.path
        digest = hashlib.sha256(self.query.encode("ascii")).hexdigest()[:12]
        return self.path + "?…".encode() + digest.encode("ascii")

    @property
    def shown(self) -> bytes:
        """The whole address for people."""
        return self.origin + b"/" + self.name

    @property
    def request_target(self) -> str:
        """What a request for it asks for: path and query, with nothing in them that a request can't carry."""
        return request_target(self.path, self.query)


def request_target(path: bytes, query: str) -> str:
    """Path and query as a request has them.

    Args:
        path: without its first slash.
        query: with its question mark, as `WebAddress` has it.
    """
    # Here a question mark is no sign of a query.
    return "/" + _escaped(path).replace("?", "%3F") + query


def parse(url: bytes) -> WebAddress:
    """Read an address.

    Nothing is made simpler: `a//b` and `x/../y` are asked for as they are. By hand, since the libraries' own
    functions drop newlines, resolve dots and encode percent signs a second time.

    Raises:
        UsageError: there is a user or password in it; neither is repeated.
        TargetError: it is no address of a web server.
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
    # What is after a number sign is for browsers and is never sent.
    rest = url[place.end() :].partition(b"#")[0]
    path, mark, query = rest.partition(b"?")
    return WebAddress(
        scheme, found[1].decode("ascii").lower(), port, path[1:], _escaped(mark + query) if mark else ""
    )


def _escaped(text: bytes) -> str:
    """Percent signs before what can't be sent; what is escaped already stays as it is."""
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
