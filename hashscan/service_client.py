"""Send requests to a matching service or a hub, and bound what its answers can cost.

No redirect is followed: digests and key go to the configured address and nowhere else. Of an answer neither
the text nor the headers are repeated in messages, apart from its status.

Importing this module imports urllib3, so other modules import it on first use.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType

import urllib3
from urllib3.connection import HTTPSConnection

from hashscan.lists.services.settings import ServiceSettings
from hashscan.web_address import parse
from hashscan.web_connection import environment_proxy, is_loopback, proxy_and_login, tls_context
from hashscan.web_transport import (
    TimedConnection,
    TimedTlsSocket,
    TooSlowError,
    close_pools,
    describe_status,
    pool_classes,
    retry_after,
    send,
)

ANSWER_MAX = 16 << 20
"""Largest answer in bytes."""
ANSWER_SECONDS = 60.0
"""Longest time for a whole answer, header and body."""
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0
_CHUNK = 1 << 16
_BUSY = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class ServiceBusyError(Exception):
    """No answer for now: the service is busy or can't be reached, and may answer later."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait
        """Seconds that the service asks to wait; None where it names none."""


class ServiceRefusedError(Exception):
    """An answer after which asking again is of no use before the operator has changed something."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        """Status of the answer; 0 if there was none."""


class _Asking(TimedConnection):
    """A connection with a deadline for a whole answer."""

    @property
    def answer_seconds(self) -> float:
        return ANSWER_SECONDS


class _AskingSafely(_Asking, HTTPSConnection):
    pass


class ServiceClient:
    """The connections to one service; usable by several threads."""

    def __init__(
        self,
        settings: ServiceSettings,
        key_headers: Mapping[str, str],
        show: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare to send requests.

        Args:
            key_headers: the header with the key.
            show: gets the text of each request, without the key.
        """
        self._url = settings.url
        self._show = show
        self._headers = {"Accept": "application/json", **key_headers}
        self._pools = _pools(settings)

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        may_be_empty: bool = False,
    ) -> bytes:
        """Return the body of an answer with status 200.

        Args:
            may_be_empty: True to take status 204 for an answer, too; it has no body.
            headers: further headers of this request.

        Raises:
            ServiceBusyError: there is no answer for now.
            ServiceRefusedError: the service refuses, or answers with something that can't be used.
        """
        if self._show is not None:
            self._show(f"{method} {self._url}{path} {(body or b'').decode('ascii', 'replace')}".rstrip())
        sent = {**self._headers, **({} if body is None else {"Content-Type": "application/json"}), **headers}
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        try:
            response = send(self._pools, method, self._url + path, sent, timeout, body, again=False)
            try:
                data = _body(response)
            finally:
                response.close() if response.length_remaining else response.release_conn()
        except TooSlowError:
            raise ServiceBusyError("answers too slowly") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if _has_wrong_certificate(error):
                raise ServiceRefusedError("has a certificate that can't be verified") from error
            raise ServiceBusyError("can't be reached") from error
        if response.status in _BUSY:
            raise ServiceBusyError(
                describe_status(response.status), retry_after(response.headers.get("Retry-After", ""))
            )
        if response.status == HTTPStatus.NO_CONTENT and may_be_empty:
            return b""
        if response.status != HTTPStatus.OK:
            raise ServiceRefusedError(describe_status(response.status), response.status)
        framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        if not data and not framed:
            # The connection was lost within the header.
            raise ServiceBusyError("answers nothing")
        return data

    def close(self) -> None:
        """Close all connections."""
        close_pools(self._pools)


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    """Read the body of an answer, with bounds of its length and its time."""
    pieces, size = [], 0
    while piece := response.read1(_CHUNK, decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > ANSWER_MAX:
            raise ServiceRefusedError(f"answers with more than {ANSWER_MAX} bytes")
    return b"".join(pieces)


def _pools(settings: ServiceSettings) -> urllib3.PoolManager:
    context = tls_context(settings.ca_file)
    context.sslsocket_class = TimedTlsSocket
    manager = _manager(settings, context)
    manager.pool_classes_by_scheme = pool_classes(_Asking, _AskingSafely)
    return manager


def _manager(settings: ServiceSettings, context: ssl.SSLContext) -> urllib3.PoolManager:
    scheme, host, _ = parse(settings.url.encode()).endpoint
    # No proxy for a service on this machine.
    proxy = None if is_loopback(host) else settings.proxy or environment_proxy(scheme, host)
    if proxy is None:
        return urllib3.PoolManager(maxsize=settings.in_flight, ssl_context=context)
    address, login = proxy_and_login(proxy)
    return urllib3.ProxyManager(
        address,
        maxsize=settings.in_flight,
        ssl_context=context,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=login) if login else None,
    )


def _has_wrong_certificate(error: BaseException | None) -> bool:
    """Return True if the cause of a failure is the server's certificate; urllib3 wraps it in several ways."""
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        inside = (getattr(error, "reason", None), *error.args[:1], error.__cause__, error.__context__)
        error = next((each for each in inside if isinstance(each, BaseException)), None)
        seen += 1
    return False
