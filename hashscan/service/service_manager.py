"""Speak with systemd: notify it of the state (sd_notify(3)), and take over its sockets (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

from hashscan.errors import UsageError

_FIRST_DESCRIPTOR = 3


def notify(*states: str) -> None:
    """Send states such as `READY=1` to the service manager, if there is one that waits for them."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    # A service manager that is gone, or does not read, must not end the service.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto("\n".join(states).encode(), f"\0{path[1:]}" if path.startswith("@") else path)


def notify_reloading() -> None:
    """Say that the service reloads; `READY=1` ends that."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds(environ: MutableMapping[str, str]) -> float | None:
    """Return the seconds after which the service manager ends a service that sends no `WATCHDOG=1`."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


def inherited_sockets(environ: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """Return the sockets that the service manager has opened, each with its name (FileDescriptorName=).

    Their variables are removed, so that no child takes them for its own.
    """
    pid, number, names = (environ.pop(f"LISTEN_{key}", "") for key in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not number.isdigit():
        return []
    found: list[tuple[str, socket.socket]] = []
    named = names.split(":") if names else []
    for place in range(int(number)):
        descriptor = _FIRST_DESCRIPTOR + place
        try:
            os.set_inheritable(descriptor, False)
            sock = socket.socket(fileno=descriptor)
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise UsageError(
                f"descriptor {descriptor} of the service manager is no socket: {error.strerror}",
                advice="Name sockets alone in the socket unit.",
            ) from error
        if not listens or sock.type != socket.SOCK_STREAM:
            raise UsageError(
                f"the service manager's socket {descriptor} does not listen for streams",
                advice="Use ListenStream= and Accept=no in the socket unit.",
            )
        sock.setblocking(False)
        found.append((named[place] if place < len(named) else "", sock))
    return found
