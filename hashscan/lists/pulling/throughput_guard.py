"""The floor on speed: a web server that is slower than it is not waited for.

Timeouts of sockets start anew with each byte, so a server that drips could hold a pull for ever. The speed is
that of all downloads together: several share a slow line, and one that drips is alone in the end.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import urllib3.connection
import urllib3.exceptions
from tuf.api.exceptions import DownloadError

WINDOW = 60.0
"""Seconds over which speed is measured."""
FLOOR = 10_000
"""Bytes a second."""


class TooSlowError(DownloadError):
    """A server sent less than the floor."""


class Pace:
    """Watches all connections of one fetcher."""

    def __init__(self) -> None:
        pace = self

        class Plain(urllib3.connection.HTTPConnection):
            def connect(self) -> None:
                with pace._connecting(self):
                    super().connect()

        class Encrypted(urllib3.connection.HTTPSConnection):
            def connect(self) -> None:
                with pace._connecting(self):
                    super().connect()

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Encrypted

        self.pools = {"http": PlainPool, "https": EncryptedPool}
        """Classes of connections that can be watched, for urllib3's managers."""
        self._connections: weakref.WeakSet[urllib3.connection.HTTPConnection] = weakref.WeakSet()
        # A connection lets go of its socket when the server said that it will close it, while the answer
        # still reads from it.
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._received = 0
        self._resting = 0
        self._rests = 0
        """Beginnings and ends of rests."""
        self._given_up = threading.Event()
        self._too_slow = False

    def got(self, count: int) -> None:
        """Count bytes of an answer."""
        with self._lock:
            self._received += count

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Don't measure while the body waits, as a server asked to."""
        self._rest(1)
        try:
            yield
        finally:
            self._rest(-1)

    def give_up(self) -> None:
        """End all connections, for good."""
        self._given_up.set()
        self._end()

    @contextmanager
    def kept(self, url: str) -> Iterator[None]:
        """End all connections when less than the floor comes while the body asks and reads an answer.

        Raises:
            TooSlowError: less did.
        """
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over,), daemon=True)
        watch.start()
        try:
            yield
        except (urllib3.exceptions.HTTPError, OSError):
            if not self._too_slow:
                raise
        finally:
            over.set()
            watch.join()
        if self._too_slow:
            raise TooSlowError(f"{url} comes slower than {FLOOR // 1000} kB a second")

    @contextmanager
    def _connecting(self, connection: urllib3.connection.HTTPConnection) -> Iterator[None]:
        """Know a connection while the body makes it, and from then on."""
        if self._given_up.is_set():
            # urllib3 tries once more, on a connection of its own, when one was ended under its hands.
            raise urllib3.exceptions.NewConnectionError(connection, "given up")
        with self._lock:
            self._connections.add(connection)
        yield
        with self._lock:
            self._sockets.add(_innermost(connection.sock))
        if self._given_up.is_set():
            self._end()

    def _watch(self, over: threading.Event) -> None:
        """Compare what came in each window with the floor."""
        before, rests = self._received, self._rests
        while not over.wait(WINDOW):
            rested = self._resting or self._rests != rests
            if self._received - before < FLOOR * WINDOW and not rested:
                self._too_slow = True
                self.give_up()
                return
            before, rests = self._received, self._rests

    def _rest(self, change: int) -> None:
        with self._lock:
            self._resting += change
            self._rests += 1

    def _end(self) -> None:
        """Shut all sockets down, so that whoever waits on one is woken."""
        with self._lock:
            waiting = {_innermost(connection.sock) for connection in self._connections if connection.sock}
            waiting |= set(self._sockets)
        for each in waiting:
            with suppress(OSError):
                # Not a TLS socket's own method, which would forget the encryption under the reader's hands.
                socket.socket.shutdown(each, socket.SHUT_RDWR)


def _innermost(found: object) -> socket.socket:
    """The socket itself, where TLS to a server runs within TLS to a proxy."""
    inner = getattr(found, "socket", found)
    assert isinstance(inner, socket.socket)
    return inner
