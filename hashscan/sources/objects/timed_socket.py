"""Sockets with a deadline for a whole read, however few bytes arrive at a time.

A socket's own timeout starts again with each byte. A server that sends a byte now and then, in a header or in
the framing of a body's chunk, could keep a reader busy without end.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Base = socket.socket
else:
    _Base = object


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
        """Read the bytes that arrive before the deadline.

        Raises:
            TooSlowError: something arrived, but not everything.
            TimeoutError: nothing arrived.
        """
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
