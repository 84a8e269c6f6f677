"""Send requests to web servers, within deadlines, follow redirects, and describe errors in our own words.

Redirects are followed as in `web_transport`. Certificates are verified against the system's authorities, or
those of SSL_CERT_FILE.

Importing this module imports urllib3, so other modules import it at the first use.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.connection import HTTPSConnection

from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.store import RetryableError
from hashscan.web_address import WebAddress
from hashscan.web_transport import (
    RedirectError,
    TimedConnection,
    TimedTlsSocket,
    TooSlowError,
    close_pools,
    follow_redirects,
    pool_classes,
    send,
)

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""Timeout for each next piece of an answer."""
ANSWER_SECONDS = 60.0
"""Timeout for the whole header of an answer."""
DEAD_AFTER = 6
"""Number of consecutive failed connections to a host, after which no connection is tried for a while, so that
a thousand URLs of a dead host don't take a thousand times as long as one."""
_DEAD_SECONDS = 60.0

_TARGET = "x-hashscan-target"


class _Asking(TimedConnection):
    """A connection with a deadline that sends the request's target unchanged.

    urllib3 would resolve dots in a path, and read a host into a path that begins with two slashes.
    """

    @property
    def answer_seconds(self) -> float:
        return ANSWER_SECONDS

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        headers = dict(headers)
        super().request(method, headers.pop(_TARGET), body, headers, **options)


class _AskingSafely(_Asking, HTTPSConnection):
    pass


class WebClient:
    """The connections to web servers, for all threads of a process."""

    def __init__(self, connections: int) -> None:
        """Create a client without connecting; it keeps at most so many connections for each host."""
        context = ssl.create_default_context()
        context.sslsocket_class = TimedTlsSocket
        self._anywhere = urllib3.PoolManager(maxsize=connections, ssl_context=context)
        self._anywhere.pool_classes_by_scheme = pool_classes(_Asking, _AskingSafely)
        self._public = urllib3.PoolManager(maxsize=connections, ssl_context=context)
        self._public.pool_classes_by_scheme = pool_classes(_Asking, _AskingSafely, public_only=True)
        self._lock = threading.Lock()
        self._failures: dict[bytes, tuple[int, float]] = {}

    def ask(self, method: str, address: WebAddress, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Send a request and follow redirects; return an answer that is not a redirect, whatever its status,
        with its body unread."""
        try:
            return follow_redirects(
                address,
                lambda target, public_only: self._ask_once(method, target, headers, public_only=public_only),
                lambda response: response.close(),
            )
        except RedirectError as error:
            raise FileError(Reason.IO_ERROR, str(error)) from None

    def reach(self, address: WebAddress) -> None:
        self._ask_once("HEAD", address, {}, public_only=False).drain_conn()

    def _ask_once(
        self, method: str, address: WebAddress, headers: Mapping[str, str], *, public_only: bool
    ) -> urllib3.BaseHTTPResponse:
        self._refuse_dead(address.origin)
        manager = self._public if public_only else self._anywhere
        try:
            pool = manager.connection_from_host(address.host, address.port, address.scheme)
            response = send(
                pool,
                method,
                "/",
                {**headers, _TARGET: address.request_target},
                urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )
        except TooSlowError:
            raise FileError(
                Reason.SLOW, f"an answer's header took more than {ANSWER_SECONDS:.0f} seconds"
            ) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # Their texts contain the URL, which may be signed.
            trouble = trouble_of(error)
            if isinstance(trouble, _ConnectionError):
                self._note_failure(address.origin)
            raise trouble from None
        with self._lock:
            self._failures.pop(address.origin, None)
        return response

    def _refuse_dead(self, origin: bytes) -> None:
        with self._lock:
            count, last = self._failures.get(origin, (0, 0.0))
        if count >= DEAD_AFTER and time.monotonic() - last < _DEAD_SECONDS:
            raise FileError(Reason.IO_ERROR, f"no connection to its host, {count} times in a row")

    def _note_failure(self, origin: bytes) -> None:
        with self._lock:
            self._failures[origin] = (self._failures.get(origin, (0, 0.0))[0] + 1, time.monotonic())

    def close(self) -> None:
        close_pools(self._anywhere)
        close_pools(self._public)


def next_piece(response: urllib3.BaseHTTPResponse, size: int) -> bytes:
    """Return the next bytes of an answer's body; empty at its end. Bytes that come too slowly are an
    error."""
    connected = getattr(response, "timed_socket", None)
    if connected is not None:
        connected.allow(READ_SECONDS)
    try:
        return response.read1(size, decode_content=False)
    except TooSlowError:
        raise FileError(Reason.SLOW, f"nothing whole came for {READ_SECONDS:.0f} seconds") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise trouble_of(error) from None


class _ConnectionError(RetryableError):
    """The error that a host can't be reached at all."""


def trouble_of(error: BaseException) -> RetryableError | FileError:
    """Return our own error for an error of urllib3 or of a socket."""
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, urllib3.exceptions.SSLError | ssl.SSLError):
        # urllib3 wraps the error of the standard library.
        if any(isinstance(one, ssl.SSLCertVerificationError) for one in (error, *error.args)):
            return FileError(Reason.IO_ERROR, "its host's certificate is not trusted")
        return _ConnectionError("TLS with its host failed")
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return _ConnectionError("its host has no address")
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
        return _ConnectionError("no connection to its host")
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return RetryableError(f"no answer for {READ_SECONDS:.0f} seconds")
    return RetryableError("the connection was lost")
