"""Tells the system's log, which often goes to another machine, what may not be forgotten here."""

from __future__ import annotations

import os
import socket

_ADDRESS = "/dev/log"
_PRIORITY = 10 << 3 | 5  # authpriv.notice
_SECONDS = 2


def tell_system_log(words: str) -> bool:
    """Send a line to syslog or the journal.

    Returns:
        Whether anything listens there.
    """
    line = f"<{_PRIORITY}>hashscan[{os.getpid()}]: {words}".encode()
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC) as connection:
            # One whose queue is full must not hold up what is done.
            connection.settimeout(_SECONDS)
            try:
                connection.connect(_ADDRESS)
                connection.sendall(line if kind == socket.SOCK_DGRAM else line + b"\0")
            except OSError:  # of the other kind, or nothing is there
                continue
            return True
    return False
