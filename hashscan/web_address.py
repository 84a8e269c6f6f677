"""Web addresses (URLs) of targets, lists, redirects and sites: one parser splits them all.

A `WebAddress` has three forms: as given, as sent and as shown, because a signed URL is a credential.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from hashscan.errors import TargetError, UsageError

DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_PLACE = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@]*)(?::([0-9]*))?")
_HOST = re.compile(r"[a-z0-9._-]+|\[.*\]")
_MUST_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^%A-Za-z0-9._~!$&'()*+,;=:@/?-]")
"""Bytes that the path and query of a request can't contain (RFC 3986, 3.3 and 3.4); escapes stay."""

_NAT64 = IPv6Network("64:ff9b::/96")
"""The well-known prefix of translators (RFC 6052), with the IPv4 address in the last 32 bits."""
_NOT_PUBLIC = (
    IPv4Network("168.63.129.16/32"),  # Azure's metadata and host
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments; Oracle's metadata
    IPv6Network("fec0::/10"),  # site-local, deprecated by RFC 3879
)
"""Further networks that are not public, whatever the standard library's version says."""
_PRIVATE_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa")
"""Names of private networks: RFC 6761, 6762 and 8375, ICANN's `.internal`, and others in common use."""
_NUMERIC = re.compile(r"([0-9]+|0x[0-9a-f]*)", re.IGNORECASE)
"""A last label with which a name is an IPv4 address in one of the forms of inet_aton(3)."""

_ADVICE = "Write it as https://HOST/PATH or http://HOST/PATH."


class UrlParts(NamedTuple):
    """The parts of a URL as they were written; those that are missing are empty."""

    scheme: str
    """In lower case."""
    user: bytes | None
    """User and password; None if there is no `@`."""
    host: str
    """IPv6 in brackets."""
    port: int | None
    path: bytes
    query: bytes
    """With its question mark."""
    fragment: bytes
    """With its number sign; it is for browsers and is never sent."""


def split_url(url: bytes) -> UrlParts:
    """Split a URL of any scheme; nothing is normalized or unescaped.

    The standard library's function is not used, because it drops newlines and tabs.

    Raises:
        ValueError: it is not a URL with `://`, or its host or port is not valid.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("no URL")
    user, at, rest = found[2].rpartition(b"@")
    place = _PLACE.fullmatch(rest)
    if place is None:
        raise ValueError("no host")
    host = place[1].decode("utf-8")
    if host.startswith("["):
        ipaddress.IPv6Address(host[1:-1])
    port = int(place[2]) if place[2] else None
    if port is not None and port > 65535:
        raise ValueError("no port")
    scheme = found[1].decode("ascii").lower()
    return UrlParts(scheme, user if at else None, host, port, found[3], found[4] or b"", found[5] or b"")


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
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}".encode("ascii")

    @property
    def url(self) -> str:
        """The whole URL as it is requested; a credential if it is signed."""
        return self.origin.decode("ascii") + self.request_target

    @property
    def endpoint(self) -> tuple[str, str, int]:
        """Scheme, host without brackets and port, which identify the server of a connection."""
        return self.scheme, self.host.strip("[]"), self.port

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
    """Return a path without its first slash, and a query with its question mark, as a request has them."""
    # A question mark in the path does not start a query.
    return "/" + _escaped(path).replace("?", "%3F") + query


def parse(url: bytes) -> WebAddress:
    """Parse a URL.

    Nothing is normalized: `a//b` and `x/../y` are requested as they are.

    Raises:
        UsageError: it contains a user or password; neither is repeated.
        TargetError: it is not the URL of a web server.
    """
    try:
        parts = split_url(url)
    except ValueError as error:
        raise TargetError("this is no web address", advice=_ADVICE) from error
    if parts.scheme not in DEFAULT_PORTS:
        raise TargetError("this is no web address", advice=_ADVICE)
    host = parts.host.lower()
    is_host = _HOST.fullmatch(host) is not None
    if parts.user is not None:
        named = host if is_host else "a host"
        raise UsageError(
            f"the {parts.scheme} address of {named} has a user name or password in it",
            advice="Leave it out: it would show in the list of processes and in reports. Use an address "
            "that is signed instead, in a file.",
        )
    if not is_host or parts.port == 0:
        raise TargetError(f"{host!r} is no host of a web address", advice=_ADVICE)
    port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    return WebAddress(parts.scheme, host, port, parts.path[1:], _escaped(parts.query))


def _escaped(text: bytes) -> str:
    """Escape bytes that can't be sent; existing escapes stay as they are."""
    return _MUST_ESCAPE.sub(lambda found: b"%%%02X" % found[0][0], text).decode("ascii")


def ip_of(text: str) -> IPv4Address | IPv6Address:
    """Return an IP address without its zone; the IPv4 address for one that is mapped into IPv6.

    Raises:
        ValueError: it is not an IP address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return (address.version == 6 and address.ipv4_mapped) or address


def is_public_address(text: str) -> bool:
    """Return True if an IP address is that of one machine in a public network.

    An IPv6 address that contains an IPv4 address (mapped, NAT64, 6to4) is as public as that one.

    Raises:
        ValueError: it is not an IP address.
    """
    address = ip_of(text)
    if isinstance(address, IPv6Address):
        inner = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.sixtofour
        if inner is not None:
            address = inner
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved)
        and not any(address in network for network in _NOT_PUBLIC)
    )


def is_private_host(host: str) -> bool:
    """Return True if a host is named by an IP address that is not public, or by a name of private networks.

    Forms of IPv4 addresses that only some resolvers know, such as `127.1` or `0x7f000001`, are not public.

    Args:
        host: as in a URL, with or without brackets.
    """
    host = host.strip("[]").rstrip(".").lower()
    try:
        return not is_public_address(host)
    except ValueError:
        pass
    if _NUMERIC.fullmatch(host.rpartition(".")[2]) or "." not in host:
        return True
    return host.endswith(tuple(f".{name}" for name in _PRIVATE_NAMES))


def is_in(text: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Return True if an IP address is in one of some networks."""
    address = ip_of(text)
    return any(address in network for network in networks)
