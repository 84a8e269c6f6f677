"""Run a node of a hub: one asyncio loop with the application, from the start to the orderly end.

Nodes keep nothing that another node needs: several of them may share a PostgreSQL database.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

from hashscan.alerts.dispatcher import Notifier
from hashscan.errors import EXIT_CLEAN, HashscanError
from hashscan.hub.accounts.privacy import prune_requests
from hashscan.hub.checks.lookup import Lookup
from hashscan.hub.checks.near_queries import prune_near_queries
from hashscan.hub.intake.servers import raise_silence
from hashscan.hub.mails.outbox import send_next
from hashscan.hub.storage.database import open_database
from hashscan.hub.web.application import make_application
from hashscan.hub.web.requests import Context, HubSettings
from hashscan.service.doors.base import allow_descriptors
from hashscan.service.doors.http.door import AsgiDoor
from hashscan.service.doors.listening import describe
from hashscan.service.service_manager import notify
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES
from hashscan.text import printable

_LOOK_SECONDS = 1.0
"""Seconds between looks for new versions of the lists."""
_WATCH_SECONDS = 60.0
"""Seconds between looks for servers that have fallen silent."""
_MAIL_SECONDS = 5.0
"""Seconds between looks for mails to be sent, and after a failure."""
_PRUNE_SECONDS = 3600.0
"""Seconds between deletions of keys of old requests."""
_DESCRIPTORS = 256
"""Descriptors besides those of connections; many more than are used."""

_log = logging.getLogger(__name__)


def serve(settings: HubSettings, say: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        UsageError, OutputError, NoUsableListError: it can't be started.
    """
    with ExitStack() as opened:
        database = opened.enter_context(open_database(settings.state, settings.database))
        database.require_schema()
        lookup = opened.enter_context(Lookup(settings.state, settings.lists))
        return asyncio.run(_serve(Context(settings, database, lookup), say))


async def _serve(context: Context, say: Callable[[str], None]) -> int:
    settings = context.settings
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    allow_descriptors(2 * settings.connections_max + _DESCRIPTORS)
    door = AsgiDoor(settings.door, make_application(context), tls=settings.tls)
    await door.open()
    repeated = [_follow_lists, _watch_servers, _prune_requests, _send_mails]
    tasks = [loop.create_task(function(context)) for function in repeated]
    notify("READY=1")
    say(f"the hub listens at {describe(door.address)}")
    try:
        await stopping.wait()
        notify("STOPPING=1")
    finally:
        for task in tasks:
            task.cancel()
        await door.close(settings.stop_seconds)
    return EXIT_CLEAN


async def _follow_lists(context: Context) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            await asyncio.to_thread(context.lookup.reload)
        except Exception:
            _log.exception("defect while looking for new lists")


async def _watch_servers(context: Context) -> None:
    settings = context.settings
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        try:
            silent, delivered = await asyncio.to_thread(
                raise_silence, context.database, settings.state, settings.alerts
            )
        except HashscanError as error:
            _log.error("can't look for silent servers: %s", error)
            continue
        except Exception:
            _log.exception("defect while looking for silent servers")
            continue
        for name in silent:
            _log.warning("server %s is silent", printable(name))
        for failure in delivered.failures if delivered is not None else ():
            _log.error("an alert was not delivered by %s", failure)


async def _send_mails(context: Context) -> None:
    settings = context.settings
    channels = Notifier(settings.alerts, DEFAULT_DEADLINES).letters
    if not channels or settings.reporter is None:
        return
    while True:
        attempt = None
        try:
            attempt = await asyncio.to_thread(
                send_next, context.database, channels[0], settings.reporter, time.time
            )
        except HashscanError as error:
            _log.error("can't send mails: %s", error)
        except Exception:
            _log.exception("defect while sending mails")
        if attempt is not None and attempt.trouble:
            _log.error("a mail to %s was not accepted: %s", attempt.recipient, attempt.trouble)
        elif attempt is not None:
            continue
        await asyncio.sleep(_MAIL_SECONDS)


async def _prune_requests(context: Context) -> None:
    def prune() -> None:
        with context.database.transaction() as connection:
            prune_requests(connection, int(time.time()))
            prune_near_queries(connection, int(time.time()))

    while True:
        try:
            await asyncio.to_thread(prune)
        except HashscanError as error:
            _log.error("can't delete keys of old requests: %s", error)
        except Exception:
            _log.exception("defect while deleting keys of old requests")
        await asyncio.sleep(_PRUNE_SECONDS)
