"""Hold what all routes of a node share; admit requests by their keys, receive bodies, answer with JSON.

The database and the lists are used in threads, since both block; the loop only receives and sends.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
import zlib
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.accounts.keys import MINUTE, HubKey, Right, count_requests, find_key, note_use
from hashscan.hub.checks.lookup import Lookup
from hashscan.hub.storage.database import (
    Database,
    DatabaseAwayError,
    DeletedMeanwhileError,
    UnstorableTextError,
)
from hashscan.hub.web.limits import Refusals, RequestLeases, Reserved, Room, Turns, leave_room
from hashscan.model import Reporter
from hashscan.schema import InvalidDocumentError
from hashscan.service.doors.http.bodies import Body
from hashscan.service.doors.http.description import described as described_with
from hashscan.service.doors.http.documents import AnyErrorCode, ErrorCode, RequestError
from hashscan.service.doors.http.keys import digest_of
from hashscan.service.doors.http.routing import Endpoint, answering
from hashscan.service.engine.uploads import TooLarge
from hashscan.settings.cases_and_alerts import NO_ALERTS, AlertSettings
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress
from hashscan.state_dir import StateDir

T = TypeVar("T")
_KEPT_SECONDS_MAX = 60.0
"""Longest time for which an answer is used again, however slow the database was."""
_NOT_VALID = "the key is not valid, or not any more"
DATABASE_SECONDS = 5
"""Seconds after which a client may try again while the database can't be reached."""

_log = logging.getLogger(__name__)


class HubErrorCode(AnyErrorCode):
    """The errors that requests to a hub have besides those of `hashscan serve`."""

    CONFLICT = "conflict", 409
    """A request that contradicts an earlier one."""
    NEWER_SCHEMA = "newer_schema", 422
    """Records of a version that the hub does not know yet."""
    QUOTA_EXCEEDED = "quota_exceeded", 429
    DATABASE_AWAY = "database_away", 503


described = functools.partial(described_with, unavailable=HubErrorCode.DATABASE_AWAY)
"""Returns how OpenAPI describes a route of a hub."""


@dataclass(frozen=True, slots=True)
class HubSettings:
    """All settings of a node of a hub."""

    state: StateDir
    """The state folder, with the lists, and SQLite's database."""
    database: str
    """Address of a PostgreSQL database; empty for SQLite."""
    address: UnixAddress | TcpAddress
    allow: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks beyond loopback whose clients may connect."""
    tls: tuple[Path, Path] | None = None
    """Certificate and key."""
    lists: tuple[str, ...] | None = None
    """The names of the lists that are compared; None is every list of the state folder."""
    filter: tuple[str, str] | None = None
    """Address and root, as SHA-256, of a repository with filters of the lists, for clients."""
    public_url: str = ""
    """Address of the pages as browsers see it, such as `https://hub.example.net`; empty if it is loopback's,
    or the node has TLS of its own."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Addresses of reverse proxies whose headers about clients are believed; those at a Unix socket are."""
    trust_user_header: str = ""
    """Header in which a trusted proxy names the user; then nobody signs in by password. Empty for none."""
    alerts: AlertSettings = NO_ALERTS
    """Channels of alerts about servers that have fallen silent."""
    reporter: Reporter | None = None
    """The sender of mails to organisations; None if this node sends none."""
    connections_max: int = 1000
    idle_seconds: float = 120.0
    request_seconds: float = 300.0
    stop_seconds: float = 30.0
    """Seconds for which requests in progress may go on after SIGTERM."""

    @property
    def door(self) -> DoorSettings:
        """The settings of the node's door."""
        return DoorSettings(
            "http",
            self.address,
            {},
            allow=self.allow,
            connections_max=self.connections_max,
            idle_seconds=self.idle_seconds,
            request_seconds=self.request_seconds,
        )


class _Kept(NamedTuple):
    until: float
    gone: float
    answer: Any


class SlowAnswers:
    """Answers of the database that took long; each is used again for a time in proportion, at most a minute.

    To count a million cases that have not ended takes a tenth of a second, and more beside incoming reports.
    For the same time after that, the old answer is still given, and renewed after the page has been sent, so
    that no page waits while pages are in use.
    """

    def __init__(self, slow_seconds: float = 0.02, times: float = 50.0, most: int = 1000) -> None:
        """Keep answers that take longer than `slow_seconds`, for `times` as long, and `most` of them."""
        self._slow_seconds = slow_seconds
        self._times = times
        self._most = most
        self._kept: dict[Hashable, _Kept] = {}
        self._due: dict[Hashable, Callable[[Connection], Any]] = {}

    def get(self, key: Hashable, connection: Connection, ask: Callable[[Connection], T]) -> T:
        """Return what `ask` returns, or has returned for an equal key."""
        now = time.monotonic()
        kept = self._kept.get(key)
        if kept is None or now >= kept.gone:
            return self._asked(key, connection, ask)
        if now >= kept.until:
            self._kept[key] = kept._replace(until=kept.gone)
            self._due[key] = ask
        found: T = kept.answer
        return found

    def renew(self, database: Database) -> None:
        """Ask again for the answers that were given too late.

        Raises:
            DatabaseError: the database can't be read.
        """
        # A snapshot, since threads of other answers take from it, too.
        for key in tuple(self._due):
            ask = self._due.pop(key, None)
            if ask is None:
                continue
            with database.reading() as connection:
                self._asked(key, connection, ask)

    def _asked(self, key: Hashable, connection: Connection, ask: Callable[[Connection], T]) -> T:
        begun = time.monotonic()
        found = ask(connection)
        took = time.monotonic() - begun
        if len(self._kept) >= self._most:
            self._kept.clear()
        if took > self._slow_seconds:
            lasts = min(self._times * took, _KEPT_SECONDS_MAX)
            self._kept[key] = _Kept(begun + lasts, begun + 2 * lasts, found)
        return found


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a node."""

    settings: HubSettings
    database: Database
    lookup: Lookup
    room: Room = field(default_factory=Room)
    refusals: Refusals = field(default_factory=Refusals)
    leases: RequestLeases = field(default_factory=RequestLeases)
    turns: Turns = field(default_factory=Turns)
    reserved: Reserved = field(default_factory=Reserved)
    slow_answers: SlowAnswers = field(default_factory=SlowAnswers)


def api(context: Context) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that has the errors of a route answered as JSON documents with stable codes."""
    answered = answering(context.settings.door, request_error)

    def decorated(route: Endpoint) -> Endpoint:
        @functools.wraps(route)
        async def leaving(request: Request) -> Response:
            try:
                return await route(request)
            finally:
                leave_room(request)

        return answered(leaving)

    return decorated


def request_error(error: Exception) -> RequestError:
    """Return how an error is answered; raise it again if it is a defect."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, InvalidDocumentError):
        return RequestError(ErrorCode.INVALID_DOCUMENT, str(error))
    if isinstance(error, UnstorableTextError):
        return RequestError(ErrorCode.INVALID_DOCUMENT, str(error))
    if isinstance(error, TooLarge):
        return RequestError(ErrorCode.TOO_LARGE, str(error))
    if isinstance(error, DatabaseAwayError):
        _log.error("%s", error)
        return RequestError(HubErrorCode.DATABASE_AWAY, "the database can't be reached now", DATABASE_SECONDS)
    if isinstance(error, DeletedMeanwhileError):  # the organisation, and with it the key
        return RequestError(ErrorCode.KEY_INVALID, _NOT_VALID)
    raise error


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run a function that uses the database or the lists."""
    return await asyncio.to_thread(function, *args)


async def admitted(context: Context, request: Request, right: Right, *, kind: str = "") -> HubKey:
    """Return the key of a request, which must have a right.

    Args:
        kind: the kind of requests that `refusing` is about, too.

    Raises:
        RequestError: there is no key, it is not valid, has not the right, or is used too often.
        DatabaseError: the keys can't be read.
    """
    secret = _secret(request)
    name = digest_of(secret)
    context.refusals.require_none((name, ""))
    context.refusals.require_none((name, kind))
    with refusing(context, request):
        return await in_thread(_admitted, context, secret, right)


@contextmanager
def refusing(context: Context, request: Request, kind: str = "") -> Iterator[None]:
    """Refuse further requests of a key without any work, once the block has refused one for some time.

    Args:
        kind: the kind of requests that are refused; empty for all.
    """
    try:
        yield
    except RequestError as error:
        if error.error in {ErrorCode.RATE_LIMITED, HubErrorCode.QUOTA_EXCEEDED}:
            context.refusals.add((digest_of(_secret(request)), kind), error)
        raise


def _secret(request: Request) -> str:
    values = request.headers.getlist("authorization")
    kind, _, secret = (values[0] if len(values) == 1 else "").partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise RequestError(ErrorCode.KEY_MISSING, "send a key: Authorization: Bearer KEY")
    return secret.strip()


def _admitted(context: Context, secret: str, right: Right) -> HubKey:
    now = int(time.time())
    with context.database.reading() as connection:
        key = find_key(connection, secret, now)
    if key is None:
        raise RequestError(ErrorCode.KEY_INVALID, _NOT_VALID)
    if right not in key.rights:
        raise RequestError(ErrorCode.RIGHT_MISSING, f"the key has no right {right}")
    minute = now - now % MINUTE
    is_counted = not key.requests_per_minute or context.leases.take(key.id, minute)
    if is_counted and key.used == now - now % 86_400:
        return key
    with context.database.transaction() as connection:
        note_use(connection, key, now)
        if is_counted:
            return key
        number = context.leases.size(key.requests_per_minute)
        if count_requests(connection, key, now, number):
            context.leases.add(key.id, minute, number - 1)
        elif number == 1 or not count_requests(connection, key, now):
            if find_key(connection, secret, now) is None:
                raise RequestError(ErrorCode.KEY_INVALID, _NOT_VALID)
            text = f"the key may send {key.requests_per_minute} requests a minute"
            raise RequestError(ErrorCode.RATE_LIMITED, text, MINUTE - now % MINUTE)
    return key


async def body_of(
    context: Context, request: Request, size_max: int, organisation: int | None = None
) -> bytes:
    """Return the body of a request, decompressed.

    Args:
        organisation: the sender, of whom a node holds so much at most; None for a body that is small.
        size_max: most bytes, both as they are sent and when they are decompressed.

    Raises:
        RequestError: it comes too slowly, or in an encoding that is not accepted, or there is no room for it.
        TooLarge: it has too many bytes.
        ClientLeftError: the client has left.
    """
    encodings = request.headers.getlist("content-encoding")
    if encodings not in ([], ["identity"], ["gzip"]):
        raise RequestError(ErrorCode.ENCODED, "send the body as it is, or with Content-Encoding: gzip")
    request.state.body = body = Body(request, context.settings.door)
    body.accept(size_max, encoded=encodings == ["gzip"])
    pieces = []
    async for piece in body.pieces():
        if organisation is not None:
            context.room.take(request, organisation, len(piece))
        pieces.append(piece)
    data = b"".join(pieces)
    if encodings != ["gzip"]:
        return data
    found = await in_thread(_decompressed, data, size_max)
    if organisation is not None:
        context.room.take(request, organisation, len(found))
    return found


def _decompressed(data: bytes, size_max: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        found = decompressor.decompress(data, size_max + 1)
    except zlib.error:
        raise RequestError(ErrorCode.INVALID_REQUEST, "the body is not valid gzip") from None
    if len(found) > size_max:
        raise TooLarge(f"the body has more than {size_max} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise RequestError(ErrorCode.INVALID_REQUEST, "the body is not one whole gzip stream")
    return found
