"""The base of all doors: who may connect, limits of connections, clients that leave, and the orderly end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import resource
import select
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

from hashscan.service.doors.listening import Listener, describe, may_connect, open_listener, peer
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.uploads import Client
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress

READ_BYTES = 1 << 16
"""Most bytes that one read of a connection returns; at most three times as many wait in its buffer."""

_ACCEPTS = 64  # connections accepted before the loop does something else
_RETRY_SECONDS = 1.0
_WARN_SECONDS = 60.0
_FLUSH_SECONDS = 5.0
_POLL_SECONDS = 0.1
_DESCRIPTORS = 4  # most in one message; the kernel closes more
_MESSAGES = 16  # messages with descriptors that may wait before no more is read
_UNLIMITED = 1 << 40

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)


class Door(ABC):
    """One place where clients connect."""

    protocol: ClassVar[str]

    def __init__(self, engine: Engine, settings: DoorSettings) -> None:
        self.engine = engine
        self.settings = settings

    @abstractmethod
    async def open(self, inherited: socket.socket | None = None) -> None:
        """Listen; at the socket that the service manager has opened, if one is given.

        Raises:
            UsageError: the address can't be used, or may not without an allowed network.
        """

    @abstractmethod
    async def close(self, seconds: float) -> None:
        """Accept no more connections, let requests in progress end, and close all after `seconds`."""


class _Socket(socket.socket):
    """A client's socket, of which asyncio reads at most READ_BYTES at a time."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive bytes, as the base class."""
        return super().recv(min(size, READ_BYTES), flags)


class _PassingSocket(_Socket):
    """A client's Unix socket, which keeps the descriptors that the client passes, in their order.

    asyncio's streams know nothing of descriptors, and drop them. Its transport calls this method.
    """

    def __init__(self, *, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._received = 0
        self._messages: deque[tuple[int, int, list[int]]] = deque()

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive bytes, and keep descriptors that come with them."""
        data, descriptors, _, _ = socket.recv_fds(
            self, min(size, READ_BYTES), _DESCRIPTORS, flags | socket.MSG_CMSG_CLOEXEC
        )
        start = self._received
        self._received += len(data)
        if descriptors:
            self._messages.append((start, self._received, descriptors))
        return data

    def is_ahead(self, position: int) -> bool:
        """Return True if enough has been received for a reader that has got so many bytes."""
        return self._received - position > 2 * READ_BYTES or len(self._messages) >= _MESSAGES

    def take(self, position: int) -> int | None:
        """Return the one descriptor that came with a byte of the connection; close those before it."""
        self.drop(position)
        if self._messages and self._messages[0][0] <= position and len(self._messages[0][2]) == 1:
            return self._messages.popleft()[2][0]
        return None

    def drop(self, position: int) -> None:
        """Close the descriptors that came with bytes before this one."""
        while self._messages and self._messages[0][1] <= position:
            for descriptor in self._messages.popleft()[2]:
                os.close(descriptor)

    def close(self) -> None:
        """Close the socket, and the descriptors that nobody has taken."""
        super().close()
        self.drop(self._received)


class Connection:
    """A client's connection: its streams, limits of time, and what is cancelled when the client leaves."""

    def __init__(
        self, door: StreamDoor, sock: socket.socket, client: Client, peer: tuple[int, int, int] | None
    ) -> None:
        self.client = client
        self.peer = peer
        """Process id, uid and gid of the client of a Unix socket, as of when it connected."""
        self.socket = sock
        self.position = 0
        """Bytes that `read` has returned."""
        # Where descriptors are passed, they have to be counted too before more is received.
        self._passing = sock if isinstance(sock, _PassingSocket) else None
        self.reader = asyncio.StreamReader(_UNLIMITED if self._passing else READ_BYTES)
        self.writer: asyncio.StreamWriter
        self.left = False
        """True if the client is known to have left, so that nobody waits for an answer."""
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[object]] = set()
        self._requests = 0
        self._deadline: float | None = None

    async def read(self, size: int = READ_BYTES) -> bytes:
        """Return the next bytes, at most `size`; empty at the end.

        Raises:
            TimeoutError: none came within the door's idle seconds, or before the end of the request's time.
            ConnectionError: the client is gone.
        """
        if self._passing is not None and self.position:
            self._passing.drop(self.position)  # descriptors that came with bytes that expect none
            self.pace()
        async with asyncio.timeout_at(self.until()):
            data = await self.reader.read(size)
        self.position += len(data)
        self.pace()
        return data

    def pace(self) -> None:
        """Receive no more while the client is far ahead of what is read."""
        if self._passing is None:
            return
        transport = self.writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        if self._passing.is_ahead(self.position):
            transport.pause_reading()
        elif not transport.is_closing():
            transport.resume_reading()

    def until(self) -> float:
        """Return the loop's time until which the next bytes must have arrived."""
        idle = self._loop.time() + self._door.settings.idle_seconds
        return idle if self._deadline is None else min(idle, self._deadline)

    async def send(self, data: bytes) -> None:
        """Send bytes; if the client doesn't take what was sent before, wait for it.

        Raises:
            TimeoutError: it has taken nothing for the door's idle seconds.
            ConnectionError: it is gone.
        """
        self.writer.write(data)
        async with asyncio.timeout(self._door.settings.idle_seconds):
            await self.writer.drain()

    @contextmanager
    def request(self, *, arrived: bool = False) -> Iterator[None]:
        """Count the block as one request: it must arrive in time, and is not interrupted by an orderly end.

        Requests of one connection may overlap; `arrived` ends the time limit of arrival.

        Args:
            arrived: True if it has arrived in whole already.
        """
        self._requests += 1
        deadline = None
        if not arrived:
            deadline = self._deadline = self._loop.time() + self._door.settings.request_seconds
        try:
            yield
        finally:
            self._requests -= 1
            if deadline is not None and self._deadline == deadline:
                self._deadline = None
            self.end_if_idle()

    def arrived(self) -> None:
        """Note that the request has arrived in whole, so that its time limit no longer counts."""
        self._deadline = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Cancel the current task if the client leaves during the block.

        Raises:
            ConnectionResetError: it has left already.
        """
        if self.left:
            raise ConnectionResetError("the client has left")
        task = asyncio.current_task()
        assert task is not None
        self._working.add(task)
        try:
            yield
        finally:
            self._working.discard(task)

    async def drop_rest(self, seconds: float, size: int) -> bool:
        """Read on and drop what comes, at most for `seconds` and `size` bytes; return True at the end.

        A client that writes when its connection is closed may lose the answer that it was sent before.
        """
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(seconds):
                while size > 0:
                    data = await self.reader.read(READ_BYTES)
                    if not data:
                        return True
                    size -= len(data)
        return False

    def take_descriptor(self, position: int) -> int | None:
        """Return the descriptor that the client has passed with a byte, which is the caller's to close.

        None if none came with this byte, or several did. Descriptors that came before are closed.

        Args:
            position: number of the byte among all that the client has sent, from 0.
        """
        if self._passing is None:
            return None
        taken = self._passing.take(position)
        self.pace()
        return taken

    def end_if_idle(self) -> None:
        """End the connection if the door closes and no request is in progress."""
        if self._door.closing and not self._requests and self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        """End the connection, whatever is in progress."""
        if self._task is not None:
            self._task.cancel()

    def lost(self) -> None:
        """Note that the client has left: cancel what is done for it."""
        self.left = True
        for task in self._working:
            task.cancel()

    def ended_sending(self) -> None:
        """Note that the client sends nothing more; it may wait for answers all the same."""
        if not self._door.half_close:
            self.lost()
        elif self.peer is not None:
            self._poll()

    def _poll(self) -> None:
        """Look again and again if the client of a Unix socket has closed it for both directions."""
        if self.left or self.socket.fileno() < 0:
            return
        poll = select.poll()
        poll.register(self.socket.fileno(), 0)
        if poll.poll(0):
            self.lost()
        else:
            self._loop.call_later(_POLL_SECONDS, self._poll)

    async def run(self) -> None:
        """Serve the connection until it ends."""
        self._task = asyncio.current_task()
        protocol = _Protocol(self)
        transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, self.socket)
        self.writer = asyncio.StreamWriter(transport, protocol, self.reader, self._loop)
        try:
            await self._door.serve(self)
        finally:
            await self._finish()

    def release(self) -> None:
        """Refer no more to what refers to this object: the garbage collector would free it late."""
        self._task = None
        self.__dict__.pop("writer", None)

    async def _finish(self) -> None:
        """Send what is left to be sent, for some seconds, and close."""
        self.writer.close()
        try:
            async with asyncio.timeout(min(_FLUSH_SECONDS, self._door.settings.idle_seconds)):
                await self.writer.wait_closed()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self.writer.transport.abort()


class _Protocol(asyncio.StreamReaderProtocol):
    """The streams' protocol, which says when the client leaves."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.reader)
        self._connection = connection

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._connection.pace()

    def eof_received(self) -> bool | None:
        keep = super().eof_received()
        self._connection.ended_sending()
        return keep

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connection.lost()


class ListeningDoor(Door):
    """A door that admits the clients that connect to its socket.

    Connections beyond `connections_max`, and those from networks that are not allowed, are answered by
    `refusal` and closed at once, as are those that would leave few descriptors for uploads. If the process
    has none at all, new clients wait.
    """

    def __init__(self, engine: Engine, settings: DoorSettings) -> None:
        super().__init__(engine, settings)
        self.closing = False
        self.refused = 0
        """Connections that were refused."""
        self._listener: Listener | None = None
        self._resuming: asyncio.TimerHandle | None = None
        self._warned: dict[str, float] = {}

    @abstractmethod
    def begin(self, accepted: socket.socket, client: Client, peer: tuple[int, int, int] | None) -> None:
        """Begin to serve an admitted connection, whose socket is the door's now.

        Args:
            accepted: the client's socket; it does not block.
            client: its description.
            peer: process id, uid and gid of the client of a Unix socket, as of when it connected.
        """

    @abstractmethod
    def refusal(self, reason: str) -> bytes:
        """Return the bytes that tell a client that it can't be served now."""

    @property
    @abstractmethod
    def connections(self) -> int:
        """The number of open connections."""

    @property
    def address(self) -> UnixAddress | TcpAddress:
        """The address at which it listens, or is to listen."""
        return self._listener.address if self._listener else self.settings.address

    async def open(self, inherited: socket.socket | None = None) -> None:
        """Listen, as the base class says."""
        self._listener = open_listener(self.settings, inherited)
        self._resume()

    def stop_listening(self) -> None:
        """Accept no more connections."""
        self.closing = True
        if self._resuming is not None:
            self._resuming.cancel()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.socket)
            self._listener.close()
            self._listener = None

    def _resume(self) -> None:
        self._resuming = None
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener.socket, self._accept, self._listener.socket)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                accepted, name = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # No descriptors or memory: the client stays in the queue, and the socket readable.
                self.warn("accept", f"can't accept connections now: {error.strerror}; raise LimitNOFILE=")
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                self._resuming = loop.call_later(_RETRY_SECONDS, self._resume)
                return
            self._admit(accepted, name)

    def _admit(self, accepted: socket.socket, name: object) -> None:
        """Start to serve a connection, or refuse it."""
        credentials = None
        try:
            if accepted.family == socket.AF_UNIX:
                credentials = peer(accepted)
                host, address = "", f"uid={credentials[1]}"
            else:
                assert isinstance(name, tuple)
                host = address = str(name[0])
                # asyncio leaves it unset for such sockets, and an answer in two pieces would wait.
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            accepted.close()
            return
        if credentials is None and not may_connect(host, self.settings.allow):
            self._refuse(accepted, "network", f"{address} is in no allowed network")
            return
        if few_descriptors(accepted.fileno()):
            self.warn("descriptors", "the descriptors that are left are for uploads; raise LimitNOFILE=")
            self._refuse(accepted, "connections", "too many connections")
            return
        if self.connections >= self.settings.connections_max:
            self._refuse(accepted, "connections", "too many connections")
            return
        owner = describe(self.settings.address) if self.settings.one_owner else ""
        client = Client(self.protocol, address, next(_numbers), owner)
        accepted.setblocking(False)
        self.begin(accepted, client, credentials)

    def _refuse(self, accepted: socket.socket, kind: str, reason: str) -> None:
        self.refused += 1
        self.warn(kind, f"refuse connection: {reason}")
        with accepted, suppress(OSError):
            accepted.setblocking(False)
            accepted.send(self.refusal(reason))
            accepted.shutdown(socket.SHUT_WR)

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, at most one of a kind in a minute."""
        now = asyncio.get_running_loop().time()
        if now >= self._warned.get(kind, -_WARN_SECONDS) + _WARN_SECONDS:
            self._warned[kind] = now
            _log.warning("%s door at %s: %s", self.protocol, describe(self.settings.address), text)


def few_descriptors(descriptor: int) -> bool:
    """Return True if a new descriptor is one of the last quarter that this process may open.

    Idle connections must leave some to the uploads of others, to workers, lists and records.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return allowed != resource.RLIM_INFINITY and descriptor >= allowed - allowed // 4


class StreamDoor(ListeningDoor):
    """A door whose protocol is served from an asyncio stream, one task for each connection."""

    half_close: ClassVar[bool] = False
    """True if clients may end their sending side and wait for an answer. Over TCP, such a client can't be
    distinguished from one that has left, until it answers by a reset."""
    passes_descriptors: ClassVar[bool] = False
    """True if clients of a Unix socket may pass descriptors; see `Connection.take_descriptor`."""

    def __init__(self, engine: Engine, settings: DoorSettings) -> None:
        super().__init__(engine, settings)
        self._connections: dict[Connection, asyncio.Task[None]] = {}

    @abstractmethod
    async def serve(self, connection: Connection) -> None:
        """Serve one connection until it ends; the caller closes it.

        TimeoutError and ConnectionError end it in silence. See the methods of Connection for limits of time,
        for what is cancelled when the client leaves, and for the orderly end.
        """

    @property
    def connections(self) -> int:
        """The number of open connections, as the base class says."""
        return len(self._connections)

    async def close(self, seconds: float) -> None:
        """Close, as the base class says."""
        self.stop_listening()
        for connection in list(self._connections):
            connection.end_if_idle()
        tasks = list(self._connections.values())
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for connection in list(self._connections):
            connection.end()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * _FLUSH_SECONDS)

    def begin(self, accepted: socket.socket, client: Client, peer: tuple[int, int, int] | None) -> None:
        """Begin to serve a connection, as the base class says."""
        passing = peer is not None and self.passes_descriptors
        sock = (_PassingSocket if passing else _Socket)(fileno=accepted.detach())
        connection = Connection(self, sock, client, peer)
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._connections[connection] = task
        task.add_done_callback(lambda _: self._ended(connection))

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass  # by the client that has left, or the end of the door
        except (TimeoutError, ConnectionError) as error:
            _log.debug("%s: %s: %r", self.protocol, connection.client.address, error)
        except Exception:
            _log.exception("%s: defect while serving %s", self.protocol, connection.client.address)

    def _ended(self, connection: Connection) -> None:
        """Forget a connection whose task has ended, even if it was cancelled before it began."""
        del self._connections[connection]
        connection.socket.close()
        connection.release()
