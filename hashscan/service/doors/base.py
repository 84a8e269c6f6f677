"""The base of all doors: who may connect, limits of connections, clients that leave, and the orderly end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import resource
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from hashscan.service.doors.connection import FLUSH_SECONDS, Connection, ConnectionOwner
from hashscan.service.doors.listening import Listener, describe, may_connect, open_listener, peer
from hashscan.service.engine.contents import DescriptorCloser
from hashscan.service.engine.uploads import Client
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress

if TYPE_CHECKING:
    from hashscan.service.engine.engine import Engine

_ACCEPTS = 64  # connections accepted before the loop does something else
_RETRY_SECONDS = 1.0
_WARN_SECONDS = 60.0

_IPV6_PREFIX = 64  # bits of an address that one client is given at least

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)


class Waiting(NamedTuple):
    """A connection for which nothing is done: it is idle, or its client sends or reads slowly."""

    client: str
    """The client as `client_of` returns it."""
    served: bool
    """True if a request of it was answered: it is ended after those of which none was."""
    since: float
    """The loop's time since which no request of it was complete."""
    end: Callable[[], None]
    """Ends it, and counts it no more."""


class Door(ABC):
    """One place where clients connect."""

    protocol: ClassVar[str]

    def __init__(self, settings: DoorSettings) -> None:
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


class ListeningDoor(Door):
    """A door that admits the clients that connect to its socket.

    Connections from networks that are not allowed are answered by `refusal` and closed at once. A connection
    beyond `connections_max`, or that leaves few descriptors for uploads, takes the place of one that waits,
    of the client that has most of them: the longest waiting one of which no request was answered, else the
    longest waiting one. It is refused only if all of them are at work. If the process has no descriptor at
    all, new clients wait.
    """

    def __init__(self, settings: DoorSettings) -> None:
        super().__init__(settings)
        self.closing = False
        self.refused = 0
        """Connections that were refused."""
        self.evicted = 0
        """Waiting connections that were ended in favour of new ones."""
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

    @abstractmethod
    def waiting_connections(self) -> Iterator[Waiting]:
        """Yield the connections that wait."""

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
            ended = self.evicted
            self._admit(accepted, name)
            if self.evicted > ended:
                # Its descriptor may be free only after this call.
                return

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
        few = few_descriptors(accepted.fileno(), self.connections)
        if few:
            self.warn("descriptors", "the descriptors that are left are for uploads; raise LimitNOFILE=")
        if (few or self.connections >= self.settings.connections_max) and not self._evict():
            self._refuse(accepted, "connections", "too many connections")
            return
        owner = describe(self.settings.address) if self.settings.one_owner else ""
        client = Client(self.protocol, address, next(_numbers), owner)
        accepted.setblocking(False)
        self.begin(accepted, client, credentials)

    def _evict(self) -> bool:
        """End a waiting connection of the client that has most of them; return False if none is."""
        by_client: dict[str, list[Waiting]] = {}
        for each in self.waiting_connections():
            by_client.setdefault(each.client, []).append(each)
        if not by_client:
            return False
        first = {client: min(each.since for each in own) for client, own in by_client.items()}
        client = max(by_client, key=lambda each: (len(by_client[each]), -first[each]))
        self.evicted += 1
        self.warn("evict", f"too many connections: end those of {client} that wait, the oldest first")
        min(by_client[client], key=lambda each: (each.served, each.since)).end()
        return True

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


@lru_cache(maxsize=10_000)
def client_of(address: str) -> str:
    """Return the client that an address belongs to: of IPv6 its network, since it can choose the rest."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    # At a socket of both families, as the service manager opens them, IPv4 has such addresses.
    return str(found.ipv4_mapped or ip_network((found, _IPV6_PREFIX), strict=False))


def few_descriptors(descriptor: int, connections: int) -> bool:
    """Return True if a new descriptor is in the last quarter of those that this process may open. Idle
    connections must leave some to the uploads of others, to workers, lists and records. Where connections
    were ended, lower numbers are free although many are in use, so that all `connections` of the door are
    counted."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return False
    most = allowed - allowed // 4
    if descriptor >= most or connections <= most // 4:
        return descriptor >= most
    try:
        return len(os.listdir("/proc/self/fd")) > most
    except OSError:
        return True


class StreamDoor(ListeningDoor, ConnectionOwner):
    """A door whose protocol is served by one task for each connection."""

    def __init__(self, engine: Engine, settings: DoorSettings) -> None:
        super().__init__(settings)
        self.engine = engine
        self.closer = DescriptorCloser()
        self._connections: dict[Connection, asyncio.Task[None]] = {}

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
            await asyncio.wait(tasks, timeout=2 * FLUSH_SECONDS)

    def waiting_connections(self) -> Iterator[Waiting]:
        """Yield the connections that wait, as the base class says."""
        for each in self._connections:
            if each.is_waiting:
                client = client_of(each.client.address)
                yield Waiting(client, each.served, each.since, partial(self._end, each))

    def _end(self, connection: Connection) -> None:
        task = self._connections[connection]
        self._ended(connection)
        task.cancel()

    def begin(self, accepted: socket.socket, client: Client, peer: tuple[int, int, int] | None) -> None:
        """Begin to serve a connection, as the base class says."""
        connection = Connection(self, accepted, client, peer)
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
        if self._connections.pop(connection, None) is not None:
            connection.close()


def allow_descriptors(number: int) -> None:
    """Let this process open so many descriptors, or as many as it may allow itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        allowed = number if hard == resource.RLIM_INFINITY else min(hard, number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
