"""Requests to web servers, of targets on web servers, pulls of lists and matching services.

Redirects are followed only to web addresses without a password, a few times, never from https to http, and
never from a public host to one of a private network: otherwise an attacker's server could make ours send
requests to hosts that only ours can reach. A server's own text is not repeated. A request is sent a second
time only if the connection was lost before an answer; other retries are the caller's, as are the guards
against slow servers.

Importing this module imports urllib3, so other modules import it on first use.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from hashscan import __version__
from hashscan.errors import UsageError
from hashscan.web_address import WebAddress, is_public_address, parse

if TYPE_CHECKING:
    _Base = socket.socket
else:
    _Base = object

REDIRECTS_MAX = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RedirectError(Exception):
    """A redirect that is not followed; its message begins with "redirected"."""


class PrivateAddressError(Exception):
    """The server to connect to is not in a public network."""


class CheckedConnection(HTTPConnection):
    """A connection that notes whether its server is in a public network, and may refuse any other.

    A proxy connects to servers whose addresses are not known here, so they count as public.
    """

    public_only = False
    reached_public = False

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        self.reached_public = self.proxy is not None or is_public_address(connected.getpeername()[0])
        if self.public_only and not self.reached_public:
            connected.close()
            raise PrivateAddressError
        return connected


class TooSlowError(Exception):
    """The error that a read was not complete at its deadline.

    It is not an OSError, because then the libraries in between would retry the request.
    """


class _Timed(_Base):
    """A mixin for both kinds of socket; list it before the socket class."""

    _deadline: float | None = None
    _dripped = False

    def allow(self, seconds: float) -> None:
        """Set the deadline: all bytes wanted now must arrive within `seconds`."""
        self._deadline = time.monotonic() + seconds
        self._dripped = False

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Read the bytes that arrive before the deadline."""
        if self._deadline is None:
            return super().recv_into(*arguments, **options)
        left = self._deadline - time.monotonic()
        before = self.gettimeout()
        # A timeout of 0 would make the socket non-blocking, which ends in another error.
        self.settimeout(max(left if before is None else min(before, left), 0.001))
        try:
            count = super().recv_into(*arguments, **options)
        except TimeoutError:
            if self._dripped:
                raise TooSlowError from None
            raise
        finally:
            self.settimeout(before)
        if left <= 0:
            raise TooSlowError
        self._dripped = True
        return count


class TimedSocket(_Timed, socket.socket):
    """A plain TCP socket with a deadline."""


class TimedTlsSocket(_Timed, ssl.SSLSocket):
    """A TLS socket with a deadline.

    Handshakes need no deadline: the library applies the timeout to the whole handshake.
    """


def timed(connected: socket.socket) -> TimedSocket:
    """Return a socket with a deadline for a connection; the given socket can't be used any more."""
    timeout = connected.gettimeout()
    made = TimedSocket(fileno=connected.detach())
    made.settimeout(timeout)
    return made


class TimedConnection(CheckedConnection):
    """A connection with a deadline for the header of each answer; the reader of its body sets further ones.

    A socket's own timeout starts again with each byte. A server that sends a byte now and then, in a header
    or in the framing of a body's chunk, or one interim answer after the other, could keep a reader busy
    without end.
    """

    @property
    def answer_seconds(self) -> float:
        """The seconds in which a whole header must arrive."""
        raise NotImplementedError

    def _new_conn(self) -> socket.socket:
        return timed(super()._new_conn())

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        """Return the answer, whose body is not read yet."""
        # A connection that will be closed drops its socket at the end of the header.
        connected = self.sock
        if isinstance(connected, TimedSocket | TimedTlsSocket):
            connected.allow(self.answer_seconds)
        response = super().getresponse()
        response.timed_socket = connected  # type: ignore[attr-defined]
        return response


def pool_classes(
    plain: type[CheckedConnection], encrypted: type[HTTPSConnection], *, public_only: bool = False
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return the classes for a manager's `pool_classes_by_scheme`.

    Args:
        plain: class of connections for http.
        encrypted: class of connections for https; derived from `plain`, too.
        public_only: True to refuse connections to servers in private networks.
    """
    made = {}
    for scheme, pool, connection in (
        ("http", urllib3.HTTPConnectionPool, plain),
        ("https", urllib3.HTTPSConnectionPool, encrypted),
    ):
        checked = type(connection.__name__, (connection,), {"public_only": public_only})
        made[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": checked})
    return made


def send(
    pool: urllib3.PoolManager | urllib3.HTTPConnectionPool,
    method: str,
    url: str,
    headers: Mapping[str, str],
    timeout: urllib3.Timeout,
    body: bytes | None = None,
    *,
    again: bool = True,
) -> urllib3.BaseHTTPResponse:
    """Send a request, and return the answer, whatever its status; its body is not read yet.

    Args:
        again: False to leave it to the caller to send the request a second time; else urllib3 writes its
            address to the log.

    Raises:
        HTTPError, OSError: there is no answer.
    """
    return pool.urlopen(
        method,
        url,
        body=body,
        headers={"User-Agent": f"hashscan/{__version__}", "Accept-Encoding": "identity", **headers},
        redirect=False,
        preload_content=False,
        decode_content=False,
        timeout=timeout,
        # Servers may close a kept connection just when the next request is sent.
        retries=urllib3.Retry(
            connect=0, read=int(again), redirect=0, status=0, other=0, respect_retry_after_header=False
        ),
    )


def follow_redirects(
    address: WebAddress,
    ask: Callable[[WebAddress, bool], urllib3.BaseHTTPResponse],
    discard: Callable[[urllib3.BaseHTTPResponse], None],
) -> urllib3.BaseHTTPResponse:
    """Return the first answer that is not a redirect; `discard` frees the connection of one that is.

    `ask` sends one request; if its second argument is True, by a pool for public hosts only.

    Raises:
        RedirectError: a redirect is not followed.
    """
    public_only = False
    for _ in range(REDIRECTS_MAX + 1):
        try:
            response = ask(address, public_only)
        except PrivateAddressError:
            raise RedirectError(
                "redirected from a public host to one of a private network, which is not asked"
            ) from None
        public_only = public_only or getattr(response.connection, "reached_public", False)
        if response.status not in _REDIRECTS:
            return response
        location = response.headers.get("Location", "")
        discard(response)
        address = redirect_target(address, location)
    raise RedirectError(f"redirected more than {REDIRECTS_MAX} times")


def redirect_target(address: WebAddress, location: str) -> WebAddress:
    """Return the address to which an answer's `Location`, the server's own text, redirects."""
    wanted = location.strip().encode("latin-1", errors="replace")
    if not wanted:
        raise RedirectError("redirected without a location")
    if wanted.startswith(b"//"):
        wanted = address.scheme.encode() + b":" + wanted
    elif wanted.startswith(b"/"):
        wanted = address.origin + wanted
    elif wanted.startswith((b"?", b"#")):
        wanted = address.origin + b"/" + address.path + wanted
    elif b":" not in wanted.partition(b"/")[0]:
        folder = address.path[: address.path.rfind(b"/") + 1]
        wanted = address.origin + b"/" + folder + wanted
    try:
        target = parse(wanted)
    except UsageError:
        raise RedirectError("redirected to no web address") from None
    if address.scheme == "https" and target.scheme != "https":
        raise RedirectError("redirected from https to http, which is not followed")
    return target


def retry_after(text: str) -> float | None:
    """Return the seconds that a server asks to wait, from a number or a date (RFC 9110, 10.2.3), or None."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max((parsedate_to_datetime(text).astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def describe_status(status: int) -> str:
    """Return an answer's status as text, such as `answers 404 (Not Found)`."""
    try:
        return f"answers {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"answers {status}"


def close_pools(manager: urllib3.PoolManager) -> None:
    """Close all connections, which a pool manager leaves to the garbage collector."""
    for key in manager.pools.keys():  # noqa: SIM118 - it can't be iterated over
        pool = manager.pools.get(key)
        if pool is not None:
            pool.close()
    manager.clear()
