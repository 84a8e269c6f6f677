"""Look at a URL as the world sees it: at several addresses of its host, past caches and as it is.

Hostile are the URL, the name server, the web servers, and caches between. Each connection goes to an IP
address that was checked before, so a name that changes its address gains nothing. Bytes are digested while
they arrive, and only those of a picture are kept, in memory, for its decoder.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus

import urllib3
from urllib3.connection import HTTPSConnection

from hashscan.errors import TargetError, UsageError
from hashscan.locking import ClosedOnExit
from hashscan.outside.permission import Permission, permission_by_proxy, permission_for
from hashscan.settings.outside import OutsideSettings
from hashscan.web_address import WebAddress, ip_of, parse, split_url
from hashscan.web_connection import tls_context
from hashscan.web_transport import (
    REDIRECTS_MAX,
    PrivateAddressError,
    RedirectError,
    TimedConnection,
    TimedSocket,
    TimedTlsSocket,
    TooSlowError,
    redirect_target,
    send,
)

ADDRESSES_MAX = 4
"""Addresses of a host that are asked."""
ANSWER_SECONDS, BODY_SECONDS = 30.0, 120.0
BODY_MAX = 256 << 20
PICTURE_MAX = 32 << 20
"""Bytes of a body up to which its picture is digested, too."""
SILENT_MAX = 4
"""Requests that a server leaves unanswered, after which it is not asked any more."""
_PIECE = 1 << 16
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FRESH = {"Cache-Control": "no-cache", "Pragma": "no-cache"}

PDQ_BITS = 31
"""Distance within which a picture is the one of the baseline; that of a match by PDQ."""

DigestPicture = Callable[[bytes], Sequence[tuple[str, str]]]
"""A function that returns algorithm and digest in hex of a picture, or nothing."""


class Outcome(StrEnum):
    """The state of a URL, as one server or all show it."""

    THERE = "there"
    """The content of the baseline: equal bytes, or a picture within `PDQ_BITS`."""
    CHANGED = "changed"
    ANSWERS = "answers"
    """It answers 200; there is no baseline, or nobody may fetch the content."""
    GONE = "gone"
    UNCLEAR = "unclear"


class Cause(StrEnum):
    """The reason for an outcome."""

    STATUS = "status"
    BYTES = "bytes"
    PICTURE = "picture"
    NO_NAME = "no_name"
    """The host's name has no address any more."""
    NAME_SERVER = "name_server"
    """No name server answers."""
    REFUSED = "refused"
    """The connection is refused; see `web_looks` for when that means that it is gone."""
    NO_ANSWER = "no_answer"
    TLS = "tls"
    PRIVATE = "private"
    """It is in a private network that is not the operator's own, and was not asked."""
    REDIRECT = "redirect"
    TOO_LONG = "too_long"
    """The body is too long, or takes too long."""
    ENCODED = "encoded"
    ADDRESS = "address"
    """The URL can't be asked for."""


@dataclass(frozen=True, slots=True)
class Content:
    """Digests of a content."""

    sha256: bytes
    pdq: bytes | None = None
    undecoded: bool = False
    """True if it may be a picture, but was not decoded."""


@dataclass(frozen=True, slots=True)
class Look:
    """One answer, or why there is none."""

    server: str
    """IP address; `proxy` for the proxy's answer, and empty if none was asked."""
    fresh: bool
    """True for a request that no cache can answer."""
    outcome: Outcome
    cause: Cause
    status: int | None = None
    content: Content | None = None


_RANKS = (Outcome.THERE, Outcome.CHANGED, Outcome.ANSWERS, Outcome.UNCLEAR, Outcome.GONE)


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome for a URL: one server that still shows the content is enough."""
    return min(outcomes, key=_RANKS.index)


class _Plain(TimedConnection):
    """A connection to the address that was checked, and to no other."""

    @property
    def answer_seconds(self) -> float:
        return ANSWER_SECONDS

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        if self.proxy is None and ip_of(connected.getpeername()[0]) != ip_of(self.host.strip("[]")):
            connected.close()
            raise PrivateAddressError
        return connected


class _Encrypted(_Plain, HTTPSConnection):
    pass


class _Http(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _Https(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Encrypted


Resolve = Callable[[str, int], Sequence[str]]
"""A function that returns the IP addresses of a host; raises socket.gaierror."""


def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host by the system's resolver; raises socket.gaierror."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Looker(ClosedOnExit):
    """Looks at URLs with the permissions of the settings."""

    def __init__(
        self,
        settings: OutsideSettings,
        digest: DigestPicture,
        *,
        ca_file: str | None = None,
        resolve: Resolve = addresses_of,
    ) -> None:
        """Prepare to look; nothing is connected yet.

        Args:
            digest: digests a picture, in the sandbox.
            ca_file: the only authorities of the servers' certificates (PEM); None for the system's.
        """
        self._settings = settings
        self._digest = digest
        self._silent: Counter[str] = Counter()
        self._resolve = resolve
        self._tls = tls_context(ca_file)
        self._tls.sslsocket_class = TimedTlsSocket
        self._proxy = None
        if settings.proxy is not None:
            self._proxy = urllib3.ProxyManager(settings.proxy, ssl_context=self._tls)
            self._proxy.pool_classes_by_scheme = {"http": _Http, "https": _Https}

    def look(self, url: str, baseline: Content | None, now: float) -> list[Look]:
        """Ask the servers of a URL, each twice: as it is, and past caches.

        Args:
            baseline: the content that it had; None if that is not known.
            now: seconds since 1970; by it the mandate holds or not.
        """
        try:
            address = _parsed(url)
        except (UsageError, TargetError, ValueError):
            return [Look("", False, Outcome.UNCLEAR, Cause.ADDRESS)]
        looks = []
        for server in self._servers(address, now):
            for fresh in (False, True):
                if isinstance(server, Look):
                    looks.append(replace(server, fresh=fresh))
                    continue
                looks.append(self._judged(self._ask(address, *server, fresh=fresh, now=now), baseline))
        return looks

    def _servers(self, address: WebAddress, now: float) -> Iterator[tuple[str, Permission] | Look]:
        """Yield the servers with what may be asked of them, or what is known without asking."""
        _, host, port = address.endpoint
        if self._proxy is not None:
            allowed = permission_by_proxy(host, self._settings, now)
            private = Look("", False, Outcome.UNCLEAR, Cause.PRIVATE)
            yield ("proxy", allowed) if allowed else private
            return
        try:
            found = self._resolve(host, port)[:ADDRESSES_MAX]
        except socket.gaierror as error:
            if error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)}:
                yield Look("", False, Outcome.GONE, Cause.NO_NAME)
            else:
                yield Look("", False, Outcome.UNCLEAR, Cause.NAME_SERVER)
            return
        except UnicodeError:
            yield Look("", False, Outcome.UNCLEAR, Cause.ADDRESS)
            return
        if not found:
            yield Look("", False, Outcome.UNCLEAR, Cause.NAME_SERVER)
        for server in found:
            allowed = permission_for(server, self._settings, now)
            yield (server, allowed) if allowed else Look(server, False, Outcome.UNCLEAR, Cause.PRIVATE)

    def _ask(self, address: WebAddress, server: str, allowed: Permission, *, fresh: bool, now: float) -> Look:
        """Ask one server, and those to which it redirects if their content may be fetched."""
        first = server
        look = Look(server, fresh, Outcome.UNCLEAR, Cause.REDIRECT)
        for _ in range(REDIRECTS_MAX + 1):
            answer = self._answer(address, server, allowed, fresh=fresh)
            if not isinstance(answer, str):
                return replace(answer, server=first)
            try:
                address = redirect_target(address, answer)
            except RedirectError:
                return look
            following = next(self._servers(address, now))
            if isinstance(following, Look):
                return replace(following, server=first, fresh=fresh, outcome=Outcome.UNCLEAR)
            server, allowed = following
            if allowed is not Permission.BODY:
                return look
        return look

    def _answer(self, address: WebAddress, server: str, allowed: Permission, *, fresh: bool) -> Look | str:
        """Return the answer to one request; the target of a redirect that may be followed."""
        unclear = Look(server, fresh, Outcome.UNCLEAR, Cause.NO_ANSWER)
        if self._silent[server] >= SILENT_MAX:
            return unclear
        target = address.request_target
        if fresh:
            target += f"{'&' if address.query else '?'}hashscan={secrets.token_hex(8)}"
        headers = {"Host": address.origin.partition(b"//")[2].decode("ascii"), **(_FRESH if fresh else {})}
        method = "GET" if allowed is Permission.BODY else "HEAD"
        pool: urllib3.HTTPConnectionPool | urllib3.ProxyManager
        pool, url = (
            (self._proxy, address.origin.decode("ascii") + target)
            if self._proxy is not None
            else (self._pool(address, server), target)
        )
        try:
            response = send(pool, method, url, headers, urllib3.Timeout(ANSWER_SECONDS), again=False)
            try:
                if response.status in _REDIRECTS and allowed is Permission.BODY:
                    return response.headers.get("Location", "")
                return self._seen(unclear, response, body=allowed is Permission.BODY)
            finally:
                response.close()
        except PrivateAddressError:
            return replace(unclear, cause=Cause.PRIVATE)
        except TooSlowError:
            return replace(unclear, cause=Cause.TOO_LONG)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            cause = _cause_of(error)
            self._silent[server] += cause is Cause.NO_ANSWER
            return replace(unclear, cause=cause)
        finally:
            if self._proxy is None:
                pool.close() if isinstance(pool, urllib3.HTTPConnectionPool) else pool.clear()

    def _pool(self, address: WebAddress, server: str) -> urllib3.HTTPConnectionPool:
        scheme, host, port = address.endpoint
        if scheme == "http":
            return _Http(server, port)
        return _Https(server, port, ssl_context=self._tls, server_hostname=host, assert_hostname=host)

    def _seen(self, look: Look, response: urllib3.BaseHTTPResponse, *, body: bool) -> Look:
        status = response.status
        if status in _GONE:
            return replace(look, outcome=Outcome.GONE, cause=Cause.STATUS, status=status)
        if status != HTTPStatus.OK:
            return replace(look, cause=Cause.STATUS, status=status)
        answers = replace(look, outcome=Outcome.ANSWERS, cause=Cause.STATUS, status=status)
        if not body:
            return answers
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            return replace(answers, outcome=Outcome.UNCLEAR, cause=Cause.ENCODED)
        content = self._content(response)
        if content is None:
            return replace(answers, outcome=Outcome.UNCLEAR, cause=Cause.TOO_LONG)
        return replace(answers, content=content)

    def _content(self, response: urllib3.BaseHTTPResponse) -> Content | None:
        """Digest a body; None if it is too long."""
        deadline, digest, kept, length = time.monotonic() + BODY_SECONDS, hashlib.sha256(), bytearray(), 0
        timed = getattr(response, "timed_socket", None)
        if isinstance(timed, TimedSocket | TimedTlsSocket):
            timed.allow(BODY_SECONDS)
        while piece := response.read(_PIECE):
            length += len(piece)
            if length > BODY_MAX or time.monotonic() > deadline:
                return None
            digest.update(piece)
            if length <= PICTURE_MAX:
                kept += piece
        if length > PICTURE_MAX:
            return Content(digest.digest(), undecoded=True)
        picture = dict(self._digest(bytes(kept)))
        if "pdq" in picture:
            return Content(digest.digest(), bytes.fromhex(picture["pdq"]))
        return Content(digest.digest(), undecoded=bool(picture))

    def _judged(self, look: Look, baseline: Content | None) -> Look:
        """Compare a content with the baseline."""
        seen = look.content
        if seen is None or baseline is None:
            return look
        if seen.sha256 == baseline.sha256:
            return replace(look, outcome=Outcome.THERE, cause=Cause.BYTES)
        if seen.undecoded or (seen.pdq is not None and baseline.pdq is None):
            # Servers encode pictures anew for their visitors: other bytes don't show another picture.
            return look
        if seen.pdq is not None and baseline.pdq is not None:
            ours, theirs = (int.from_bytes(pdq) for pdq in (seen.pdq, baseline.pdq))
            if (ours ^ theirs).bit_count() <= PDQ_BITS:
                return replace(look, outcome=Outcome.THERE, cause=Cause.PICTURE)
        return replace(look, outcome=Outcome.CHANGED, cause=Cause.BYTES)

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.clear()


def _parsed(url: str) -> WebAddress:
    host = split_url(url.encode()).host
    return parse(url.replace(host, host.encode("idna").decode("ascii"), 1).encode())


def _cause_of(error: BaseException) -> Cause:
    """Return the cause of an error of a connection, which libraries have wrapped."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError | urllib3.exceptions.SSLError):
            return Cause.TLS
        if isinstance(seen, ConnectionRefusedError):
            return Cause.REFUSED
        inner = seen.args[-1] if seen.args else None
        seen = seen.__cause__ or (inner if isinstance(inner, BaseException) else None) or seen.__context__
    return Cause.NO_ANSWER
