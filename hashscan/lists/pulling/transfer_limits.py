"""Limits on the transfers from a list's web servers: concurrent requests, and a minimum speed.

Some servers count connections as a rate limit, and would refuse several at a time for ever.

Socket timeouts start anew with each byte, so a server that sends single bytes could hold up a pull for ever.
The measured speed is that of all downloads together: several downloads share a slow line, and a download from
such a server is the only one left in the end.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import urllib3.connection
import urllib3.exceptions
from tuf.api.exceptions import DownloadError

from hashscan.web_transport import CheckedConnection


class RequestSlots:
    """A limit on concurrent requests, shared by all downloads of one fetcher."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken = 0
        self._until = time.monotonic()
        self._put_off = 0.0
        self._given_up = False
        self._changed = threading.Condition()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a request slot while the body runs; wait for a free one."""
        self.resume()
        try:
            yield
        finally:
            self._leave()

    def put_off(self, seconds: float) -> float:
        """Stop all requests for `seconds`, then allow one at a time; return the total of such seconds."""
        with self._changed:
            now = time.monotonic()
            before, self._until = max(self._until, now), max(self._until, now + seconds)
            self._put_off += max(self._until - before, 0.0)
            self._at_once = 1
            return self._put_off

    def rest(self) -> None:
        """Release the slot, and wait until requests are allowed again."""
        self._leave()
        with self._changed:
            while (left := self._until - time.monotonic()) > 0 and not self._given_up:
                self._changed.wait(left)

    def give_up(self) -> None:
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Wait for a slot, again after `rest`."""
        with self._changed:
            while not self._given_up:
                left = self._until - time.monotonic()
                if left <= 0 and self._taken < self._at_once:
                    break
                self._changed.wait(left if left > 0 else None)
            # Counted in any case: a thread that waits again is still in the body of `taken`, which will
            # release the slot.
            self._taken += 1
            if self._given_up:
                raise DownloadError("given up")

    def _leave(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()


WINDOW = 60.0
"""Seconds over which the speed is measured."""
FLOOR = 10_000
"""Minimum speed in bytes per second."""


class TooSlowError(DownloadError):
    """A server is slower than the minimum speed."""


class ThroughputGuard:
    """A monitor of all connections of one fetcher."""

    def __init__(self) -> None:
        guard = self

        class Plain(CheckedConnection):
            def connect(self) -> None:
                if guard._given_up.is_set():
                    # If a connection is ended during a request, urllib3 tries once more on a new connection.
                    raise urllib3.exceptions.NewConnectionError(self, "given up")
                with guard._lock:
                    guard._connections.add(self)
                super().connect()
                with guard._lock:
                    guard._sockets.add(_innermost(self.sock))
                if guard._given_up.is_set():
                    guard._end()

        class Encrypted(Plain, urllib3.connection.HTTPSConnection):
            pass

        self.connections = Plain, Encrypted
        """Classes of monitored connections, for http and https."""
        self._connections: weakref.WeakSet[urllib3.connection.HTTPConnection] = weakref.WeakSet()
        # A connection drops its socket if the server announced that it will close it, while the answer is
        # still read from that socket.
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._received = 0
        self._resting = 0
        self._rests = 0
        """Number of starts and ends of pauses."""
        self._given_up = threading.Event()
        self._too_slow = False

    def got(self, count: int) -> None:
        with self._lock:
            self._received += count

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Suspend the measurement while the body waits because a server asked for it."""
        self._rest(1)
        try:
            yield
        finally:
            self._rest(-1)

    def give_up(self) -> None:
        """End all connections; no new ones can be opened."""
        self._given_up.set()
        self._end()

    @contextmanager
    def kept(self, url: str) -> Iterator[None]:
        """Enforce the minimum speed while the body sends a request and reads the answer. If the speed is
        lower, all connections are ended, and TooSlowError is raised."""
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

    def _watch(self, over: threading.Event) -> None:
        """Compare the bytes received in each window with the minimum."""
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
        """Shut down all sockets, to wake the threads that wait on them."""
        with self._lock:
            waiting = {_innermost(connection.sock) for connection in self._connections if connection.sock}
            waiting |= set(self._sockets)
        for each in waiting:
            with suppress(OSError):
                # Not the method of a TLS socket, which would drop the encryption while another thread is
                # still reading.
                socket.socket.shutdown(each, socket.SHUT_RDWR)


def _innermost(found: object) -> socket.socket:
    """Return the plain socket if TLS to a server runs within TLS to a proxy."""
    inner = getattr(found, "socket", found)
    assert isinstance(inner, socket.socket)
    return inner
