"""Find out who a client is behind a reverse proxy, and by which name the pages are reached; cookies.

The Host header is used for nothing but to be compared, and headers about clients are believed of trusted
proxies alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hashscan.settings.service import TcpAddress, UnixAddress
from hashscan.web.rendering import RefusedError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Site(Protocol):
    """The settings of a server of pages that say how it is reached."""

    @property
    def address(self) -> UnixAddress | TcpAddress:
        """The address at which it listens."""

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """Certificate and key; None without TLS of its own."""

    @property
    def public_url(self) -> str:
        """Address of the pages as browsers see it; empty if it is loopback's, or the server has TLS."""

    @property
    def trusted_proxies(self) -> Sequence[IPv4Network | IPv6Network]:
        """Addresses of reverse proxies whose headers are believed; those at a Unix socket are."""


class ForwardedClients:
    """Has a connection from a trusted proxy counted as one of the client that the proxy names."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        count_as = scope.get("state", {}).get("count_as")
        if scope["type"] == "http" and count_as is not None:
            request = Request(scope)
            if is_from_proxy(self._site, request):
                count_as(client_address(self._site, request))
        await self._app(scope, receive, send)


def is_from_proxy(site: Site, request: Request) -> bool:
    """Return True if a request came by a Unix socket, or from the address of a trusted proxy."""
    if isinstance(site.address, UnixAddress):
        return True
    try:
        address = ip_address(peer_of(request))
    except ValueError:
        return False
    return any(address in network for network in site.trusted_proxies)


def peer_of(request: Request) -> str:
    """Return the address at the other end of the connection, without brackets and port."""
    return "" if request.client is None else request.client.host


def client_address(site: Site, request: Request) -> str:
    """Return the address of the client: the last one that a trusted proxy has seen."""
    if is_from_proxy(site, request):
        seen = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
        if seen:
            return seen
    return peer_of(request)


def is_secure(site: Site) -> bool:
    """Return True if browsers reach the pages by TLS, its own or a proxy's."""
    if site.public_url:
        return site.public_url.startswith("https:")
    return site.tls is not None and not isinstance(site.address, UnixAddress)


def require_host(site: Site, request: Request) -> None:
    """Refuse a Host header that is not our own, so that no other site's name leads here."""
    hosts = request.headers.getlist("host")
    host = hosts[0].lower() if len(hosts) == 1 else ""
    if site.public_url:
        known = host == urlsplit(site.public_url).netloc.lower()
    else:
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        known = (is_secure(site) and bool(host)) or name in _LOOPBACK
    if not known:
        raise RefusedError(
            "These pages are not reached by their own name. The operator sets that with --public-url.",
            HTTPStatus.MISDIRECTED_REQUEST,
        )


def origin_of(site: Site, request: Request) -> str:
    """Return the `Origin` that browsers send with a form of one of these pages."""
    if site.public_url:
        parts = urlsplit(site.public_url)
        return f"{parts.scheme}://{parts.netloc}".lower()
    return f"{'https' if is_secure(site) else 'http'}://{request.headers['host']}".lower()


def cookie_of(site: Site, request: Request, name: str) -> str:
    """Return the value of a cookie; empty if it was not sent."""
    return request.cookies.get(_cookie_name(site, name), "")


def set_cookie(site: Site, answer: Response, name: str, value: str, max_age: int | None = None) -> None:
    """Have an answer set a cookie; an empty value deletes it."""
    answer.set_cookie(
        _cookie_name(site, name),
        value,
        max_age=max_age if value else 0,
        path="/",
        secure=is_secure(site),
        httponly=True,
        samesite="lax",
    )


def _cookie_name(site: Site, name: str) -> str:
    """Return the full name of a cookie; behind TLS, browsers take it from this very host only."""
    return f"__Host-{name}" if is_secure(site) else name
