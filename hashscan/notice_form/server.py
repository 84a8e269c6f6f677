"""Run the public form: one asyncio loop, from the start to the orderly end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from hashscan.atomic_files import output_errors
from hashscan.attribution.customers import Customers
from hashscan.attribution.sites import Sites
from hashscan.cases.form_spool import Spool
from hashscan.errors import EXIT_CLEAN
from hashscan.notice_form.application import FormContext, make_application
from hashscan.notice_form.rates import Rates
from hashscan.service.doors.base import allow_descriptors
from hashscan.service.doors.http.door import AsgiDoor
from hashscan.service.doors.listening import describe
from hashscan.service.service_manager import notify
from hashscan.settings.notice_form import FormSettings

_DESCRIPTORS = 256
"""Descriptors besides those of connections; many more than are used."""


def make_context(settings: FormSettings) -> FormContext:
    """Return the parts of a server.

    Raises:
        OutputError: the spool can't be used.
        UsageError: a rule can't be used.
    """
    limits = settings.limits
    with output_errors(f"the spool {settings.state.form} can't be used"):
        spool = Spool(settings.state, limits.waiting, limits.waiting_bytes)
    rates = Rates(limits.per_client, limits.per_hour)
    return FormContext(settings, spool, Sites(settings.sites), Customers(settings.customers), rates)


def serve(settings: FormSettings, say: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        UsageError, OutputError: it can't be started.
    """
    return asyncio.run(_serve(make_context(settings), say))


async def _serve(context: FormContext, say: Callable[[str], None]) -> int:
    settings = context.settings
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    allow_descriptors(2 * settings.connections_max + _DESCRIPTORS)
    door = AsgiDoor(settings.door, make_application(context), tls=settings.tls)
    await door.open()
    notify("READY=1")
    say(f"the form listens at {describe(door.address)}")
    try:
        await stopping.wait()
        notify("STOPPING=1")
    finally:
        await door.close(settings.stop_seconds)
    return EXIT_CLEAN
