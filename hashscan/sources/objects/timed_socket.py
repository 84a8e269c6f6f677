"""Sockets that read until a moment, however little comes at a time.

A socket's own timeout begins anew with each byte. A server that sends one now and then, in a header or in the
frame of a body's piece, would be read from for ever.
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
    """What was to be read had not come by then.

    No OSError, or the libraries between here and who waits would ask the server again.
    """


class _Timed(_Base):
    """What both kinds have in common; to be mixed in before them."""

    _deadline: float | None = None
    _dripped = False

    def allow(self, seconds: float) -> None:
        """Let so much time pass until all was read that is wanted now."""
        self._deadline = time.monotonic() + seconds
        self._dripped = False

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Read what has come by then.

        Raises:
            TooSlowError: something came, but not all.
            TimeoutError: nothing came.
        """
        if self._deadline is None:
            return super().recv_into(*arguments, **options)
        left = self._deadline - time.monotonic()
        before = self.gettimeout()
        # Nought would mean not to wait at all, which ends in another error.
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
    """Plain."""


class TimedTlsSocket(_Timed, ssl.SSLSocket):
    """Over TLS. Handshakes need nothing: the library takes the timeout for all of one."""


def timed(connected: socket.socket) -> TimedSocket:
    """The same connection, timed; the socket given can't be used any more."""
    timeout = connected.gettimeout()
    made = TimedSocket(fileno=connected.detach())
    made.settimeout(timeout)
    return made
