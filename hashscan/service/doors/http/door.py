"""Serve an ASGI application over HTTP by uvicorn, with our own sockets, limits and logs.

uvicorn's server runs in the service's loop, without its signal handlers; it has no listening socket, since
connections are admitted as at all doors. Headers that a reverse proxy sets are ignored, apart from those that
the application itself trusts. No request is logged, since addresses and names in it are private.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hashscan.errors import UsageError
from hashscan.secret_files import read_secret, stamp_of
from hashscan.service.doors.base import ListeningDoor, Waiting, client_of
from hashscan.service.doors.http.documents import ErrorCode, RequestError
from hashscan.service.engine.uploads import Client
from hashscan.settings.service import DoorSettings, UnixAddress

HEADER_BYTES = 32 << 10
"""Longest headers of a request, with its first line, in bytes; what comes in one read may be longer."""
HEADER_SECONDS = 20.0
"""Seconds in which the headers of a request must have arrived, from their first byte."""
HANDSHAKE_SECONDS = 10.0
_END_SECONDS = 5.0

_log = logging.getLogger(__name__)


class AsgiDoor(ListeningDoor):
    """A door for HTTP and HTTPS, and the application that answers its requests."""

    protocol: ClassVar[str] = "http"

    def __init__(
        self, settings: DoorSettings, asgi: ASGIApp, *, tls: tuple[Path, Path] | None = None
    ) -> None:
        """Make a door.

        Args:
            settings: the settings of this door.
            asgi: the application; the state of a request has its `client`.
            tls: files of certificate and key; None for HTTP without TLS. A Unix socket never has TLS.

        Raises:
            UsageError: the certificate can't be used.
        """
        super().__init__(settings)
        self._tls = None if tls is None or isinstance(settings.address, UnixAddress) else _Tls(*tls)
        self._open: set[_Protocol] = set()
        self._handshakes: dict[asyncio.Task[None], tuple[Client, float]] = {}
        self._numbers: set[int] = set()
        """Numbers of the connections, from when they are accepted until they are closed."""
        config = uvicorn.Config(
            asgi,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=HEADER_BYTES,
            timeout_keep_alive=max(1, int(settings.idle_seconds)),
        )
        config.load()
        self.server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """The number of open connections, as the base class says."""
        return len(self._numbers)

    async def open(self, inherited: socket.socket | None = None) -> None:
        """Listen, as the base class says."""
        await super().open(inherited)
        self._serving = asyncio.get_running_loop().create_task(self.server.serve(sockets=[]))

    async def close(self, seconds: float) -> None:
        """Close, as the base class says."""
        self.stop_listening()
        handshakes = list(self._handshakes)
        for handshake in handshakes:
            handshake.cancel()
        if handshakes:
            await asyncio.wait(handshakes)
        if self._serving is not None:
            self.server.config.timeout_graceful_shutdown = max(1, int(seconds))
            self.server.should_exit = True
            await self._serving
        tasks = list(self.server.server_state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_END_SECONDS)
        for connection in list(self._open):
            connection.transport.abort()

    def begin(self, accepted: socket.socket, client: Client, peer: tuple[int, int, int] | None) -> None:
        """Begin to serve a connection, as the base class says."""
        self._numbers.add(client.connection)
        task = asyncio.get_running_loop().create_task(self._connect(accepted, client))
        self._handshakes[task] = client, asyncio.get_running_loop().time()
        task.add_done_callback(lambda _: self._connected(task, accepted, client))

    async def _connect(self, accepted: socket.socket, client: Client) -> None:
        """Do the TLS handshake, and hand the connection to its protocol."""
        context = None if self._tls is None else self._tls.context()
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: _Protocol(self, client),
            accepted,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
        )

    def _connected(self, task: asyncio.Task[None], accepted: socket.socket, client: Client) -> None:
        """Close a connection that has failed, even if its task was cancelled before it began."""
        self._handshakes.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._numbers.discard(client.connection)
            accepted.close()
        if error is not None:
            level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
            _log.log(level, "http: a connection has failed: %r", error)

    def waiting_connections(self) -> Iterator[Waiting]:
        """Yield the connections that can be dropped for others."""
        for task, (client, since) in self._handshakes.items():
            end = partial(self._end_handshake, task, client.connection)
            yield Waiting(client_of(client.address), False, since, end)
        for each in self._open:
            if each.is_waiting:
                yield Waiting(each.counts_as, each.served, each.since, partial(self.drop, each))

    def _end_handshake(self, task: asyncio.Task[None], number: int) -> None:
        # At once, as others may be ended before it is.
        del self._handshakes[task]
        self._numbers.discard(number)
        task.cancel()

    def drop(self, connection: _Protocol) -> None:
        """End a connection at once."""
        self.lost(connection, connection.number)
        connection.transport.abort()

    def made(self, connection: _Protocol) -> None:
        """Note that a connection can be used."""
        self._open.add(connection)

    def lost(self, connection: _Protocol, number: int) -> None:
        """Note that a connection is closed."""
        self._open.discard(connection)
        self._numbers.discard(number)

    def refusal(self, reason: str) -> bytes:
        """Return an answer of status 503; nothing before a TLS handshake."""
        if self._tls is not None:
            return b""
        error = RequestError(ErrorCode.OVERLOADED, reason)
        return (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Retry-After: %d\r\nContent-Length: %d\r\n\r\n%b"
            % (error.retry_after, len(error.body), error.body)
        )


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the signals to the service."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


class _Protocol(H11Protocol):
    """uvicorn's protocol with limits of time, errors as JSON, and the client's description."""

    def __init__(self, door: AsgiDoor, client: Client) -> None:
        state = {"client": client, "count_as": self.count_as, "drop_body": self.drop_body}
        super().__init__(door.server.config, door.server.server_state, state)
        self._door = door
        self.number = client.connection
        self.counts_as = client_of(client.address)
        """The client that is counted when there are too many connections."""
        self.since = self.loop.time()
        """The loop's time at which its last request was answered, or it was made."""
        self.served = False
        """True if a request of it was answered."""
        self._idle_seconds = door.settings.idle_seconds
        self._header_begun = False
        self._header_timer: asyncio.TimerHandle | None = None
        self._writing_timer: asyncio.TimerHandle | None = None
        self._dropping: asyncio.Future[None] | None = None
        """Done when the bytes that are dropped have come."""
        self._to_drop = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._door.made(self)
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(self._idle_seconds, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._door.lost(self, self.number)
        self._unset_keepalive_if_required()
        self._end_dropping()
        for timer in (self._header_timer, self._writing_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._dropping is not None:
            self._to_drop -= len(data)
            if self._to_drop <= 0:
                self._end_dropping()
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self._is_answering():
            self._end_header_timer()
            self._header_begun = False
        elif not self._header_begun:
            # The first bytes of a request: all of its headers must come in time, in however many pieces.
            self._end_header_timer()
            self._header_begun = True
            seconds = min(HEADER_SECONDS, self._idle_seconds)
            self._header_timer = self.loop.call_later(seconds, self.transport.abort)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.since, self.served = self.loop.time(), True

    async def drop_body(self, size: int) -> None:
        """Wait until so many bytes of a body that the application has not received have come or the client
        has left; they are not parsed. What comes later is dropped, too: the answer has to close the
        connection."""
        self._to_drop = size - len(self.cycle.body)
        self._dropping = self.loop.create_future()
        if self._to_drop <= 0 or self.cycle.disconnected:
            self._end_dropping()
        self.flow.resume_reading()
        await self._dropping

    def _end_dropping(self) -> None:
        if self._dropping is not None and not self._dropping.done():
            self._dropping.set_result(None)

    def count_as(self, address: str) -> None:
        """Count the connection as one of another client: that for which a proxy has made it."""
        self.counts_as = client_of(address)

    @property
    def is_waiting(self) -> bool:
        """True if nothing is done for the client: it is idle, or sends or reads slowly."""
        return not self._is_answering() or self.cycle.more_body or self.flow.write_paused

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing_timer = self.loop.call_later(self._idle_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing_timer is not None:
            self._writing_timer.cancel()
            self._writing_timer = None

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        error = RequestError(ErrorCode.INVALID_REQUEST, "no valid HTTP request")
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(error.body))),
            ("Connection", "close"),
        ]
        answer: list[Any] = [
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=error.body),
            h11.EndOfMessage(),
        ]
        for event in answer:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        if self._is_answering():
            # The request whose body is not valid has this answer; the application's own would be a defect.
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class _Tls:
    """The TLS settings of a door; new files of certificate and key are used from the next connection on."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the files; a key that others may read is an error."""
        self._files = certificate, key
        self._stamp = self._stamps()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Return the settings for a new connection."""
        stamp = self._stamps()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._load()
                _log.info("the TLS certificate %s was loaded again", self._files[0])
            except UsageError as error:
                _log.error("the former TLS certificate stays in use: %s", error)
        return self._context

    def _load(self) -> ssl.SSLContext:
        certificate, key = self._files
        read_secret(key, "the TLS key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certificate, key, password="")  # a password would be asked for
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the TLS certificate {certificate} can't be used with the key {key}: {error}",
                advice="Name a certificate in PEM, with its chain, and its key without a passphrase.",
            ) from error
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _stamps(self) -> list[tuple[int, ...]]:
        return [stamp_of(path) for path in self._files]
