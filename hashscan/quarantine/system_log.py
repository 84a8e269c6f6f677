"""Tells the system's log, which often goes to another machine, what may not be forgotten here."""

from __future__ import annotations

import os
import socket
from enum import IntEnum

ADDRESS = "/dev/log"
_FACILITY = 10 << 3  # authpriv
_SECONDS = 2


class Severity(IntEnum):
    """How grave it is, in the log's own numbers."""

    ALERT = 1
    CRIT = 2
    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


def tell_system_log(words: str, *, severity: Severity = Severity.NOTICE, address: str = ADDRESS) -> bool:
    """Send a line to syslog or the journal.

    Args:
        words: printable, and no more than a line.
        severity: how grave it is.
        address: the socket of the log.

    Returns:
        Whether anything listens there.
    """
    line = f"<{_FACILITY | severity}>hashscan[{os.getpid()}]: {words}".encode()
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC) as connection:
            # One whose queue is full must not hold up what is done.
            connection.settimeout(_SECONDS)
            try:
                connection.connect(address)
                connection.sendall(line if kind == socket.SOCK_DGRAM else line + b"\0")
            except OSError:  # of the other kind, or nothing is there
                continue
            return True
    return False
