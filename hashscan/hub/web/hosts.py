"""Find out who a client is behind a reverse proxy, and by which name the hub is reached.

The Host header is used for nothing but to be compared, and headers about clients are believed of trusted
proxies alone.
"""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from hashscan.hub.web.pages.rendering import RefusedError
from hashscan.hub.web.requests import Context
from hashscan.settings.service import UnixAddress

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class ForwardedClients:
    """Has a connection from a trusted proxy counted as one of the client that the proxy names."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        count_as = scope.get("state", {}).get("count_as")
        if scope["type"] == "http" and count_as is not None:
            request = Request(scope)
            if is_from_proxy(self._context, request):
                count_as(client_address(self._context, request))
        await self._app(scope, receive, send)


def is_from_proxy(context: Context, request: Request) -> bool:
    """Return True if a request came by a Unix socket, or from the address of a trusted proxy."""
    if isinstance(context.settings.address, UnixAddress):
        return True
    try:
        address = ip_address(peer_of(request))
    except ValueError:
        return False
    return any(address in network for network in context.settings.trusted_proxies)


def peer_of(request: Request) -> str:
    """Return the address at the other end of the connection, without brackets and port."""
    return "" if request.client is None else request.client.host


def client_address(context: Context, request: Request) -> str:
    """Return the address of the client: the last one that a trusted proxy has seen."""
    if is_from_proxy(context, request):
        seen = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
        if seen:
            return seen
    return peer_of(request)


def is_secure(context: Context) -> bool:
    """Return True if browsers reach the hub by TLS, its own or a proxy's."""
    settings = context.settings
    if settings.public_url:
        return settings.public_url.startswith("https:")
    return settings.tls is not None and not isinstance(settings.address, UnixAddress)


def require_host(context: Context, request: Request) -> None:
    """Refuse a Host header that is not the hub's, so that no other site's name leads here."""
    hosts = request.headers.getlist("host")
    host = hosts[0].lower() if len(hosts) == 1 else ""
    if context.settings.public_url:
        known = host == urlsplit(context.settings.public_url).netloc.lower()
    else:
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        known = (is_secure(context) and bool(host)) or name in _LOOPBACK
    if not known:
        raise RefusedError(
            "The hub is not reached by its own name. Its operator sets that with --public-url.",
            HTTPStatus.MISDIRECTED_REQUEST,
        )


def origin_of(context: Context, request: Request) -> str:
    """Return the `Origin` that browsers send with a form of a page of this hub."""
    if context.settings.public_url:
        parts = urlsplit(context.settings.public_url)
        return f"{parts.scheme}://{parts.netloc}".lower()
    return f"{'https' if is_secure(context) else 'http'}://{request.headers['host']}".lower()
