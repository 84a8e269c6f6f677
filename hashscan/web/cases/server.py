"""Serve the pages about cases until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from hashscan.errors import EXIT_CLEAN
from hashscan.service.doors.http.door import AsgiDoor
from hashscan.service.doors.listening import describe
from hashscan.service.service_manager import notify
from hashscan.settings.service import UnixAddress
from hashscan.web.cases.access import Access, CasePagesSettings
from hashscan.web.cases.pages import make_application

_STOP_SECONDS = 5.0


def serve(settings: CasePagesSettings, say: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        UsageError, OutputError: it can't be started.
    """
    return asyncio.run(_serve(settings, say))


async def _serve(settings: CasePagesSettings, say: Callable[[str], None]) -> int:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    access = Access(settings)
    door = AsgiDoor(settings.door, make_application(settings, access))
    await door.open()
    notify("READY=1")
    say(f"the pages about cases are at {_address(settings, door, access)}")
    try:
        await stopping.wait()
        notify("STOPPING=1")
    finally:
        await door.close(_STOP_SECONDS)
    return EXIT_CLEAN


def _address(settings: CasePagesSettings, door: AsgiDoor, access: Access) -> str:
    """Return the address that a person opens; with the token, unless a proxy names people."""
    listening = describe(door.address)
    if isinstance(door.address, UnixAddress) and not settings.public_url:
        return listening + ("" if settings.trust_user_header else f", /?token={access.token}")
    base = settings.public_url or listening.replace("tcp:", "http://", 1)
    return f"{base}/" + ("" if settings.trust_user_header else f"?token={access.token}")
