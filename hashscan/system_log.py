"""Send a line to the system log (syslog or journal), which is often kept on another machine."""

from __future__ import annotations

import os
import socket
from enum import IntEnum

ADDRESS = "/dev/log"
_FACILITY = 10 << 3  # authpriv
_SECONDS = 2


class Severity(IntEnum):
    """The severity of a message, as a syslog number."""

    ALERT = 1
    CRIT = 2
    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


def write_system_log(message: str, *, severity: Severity = Severity.NOTICE, address: str = ADDRESS) -> bool:
    """Send one printable line to syslog or the journal, by its socket; return True if it was sent."""
    line = f"<{_FACILITY | severity}>hashscan[{os.getpid()}]: {message}".encode()
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC) as connection:
            # A log with a full queue must not block the operation.
            connection.settimeout(_SECONDS)
            try:
                connection.connect(address)
                connection.sendall(line if kind == socket.SOCK_DGRAM else line + b"\0")
            except OSError:  # the socket is of the other kind, or nothing listens
                continue
            return True
    return False
