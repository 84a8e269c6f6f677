"""Nodes of a hub in threads of a test, with lists and keys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette

from hashscan.hub.accounts.keys import RIGHTS, Right, add_key
from hashscan.hub.accounts.organisations import add_organisation, organisations
from hashscan.hub.checks.lookup import Lookup
from hashscan.hub.storage.database import Database
from hashscan.hub.web.application import make_application
from hashscan.hub.web.requests import Context, HubSettings, SlowAnswers
from hashscan.service.doors.http.door import AsgiDoor
from hashscan.settings.service import TcpAddress
from hashscan.state_dir import StateDir
from tests.service.doors.http.serving import Answered, ask


@dataclass(frozen=True)
class Node:
    """A node that serves on loopback."""

    context: Context
    port: int
    app: Starlette

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Database:
        return self.context.database

    def ask(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Answered:
        """Send a request on a connection of its own; `_` in the name of a header stands for `-`."""
        return ask(self.port, method, path, body, key, **headers)


@contextmanager
def node(database: Database, state: StateDir, **settings: Any) -> Iterator[Node]:
    """A node on the lists of a state folder; `settings` are those of `HubSettings`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with Lookup(state, settings.get("lists")) as lookup:
            chosen = HubSettings(state, "", TcpAddress("127.0.0.1", 0), **settings)
            # No count is kept, so that a page shows what a test has just changed.
            context = Context(chosen, database, lookup, slow_answers=SlowAnswers(60))
            door = AsgiDoor(chosen.door, app := make_application(context))
            asyncio.run_coroutine_threadsafe(door.open(), loop).result(60)
            try:
                assert isinstance(door.address, TcpAddress)
                yield Node(context, door.address.port, app)
            finally:
                asyncio.run_coroutine_threadsafe(door.close(5), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def new_key(
    database: Database, organisation: str = "alpha", *rights: Right, name: str = "k", **options: Any
) -> str:
    """Make a key without limits, and its organisation if there is none; `options` are those of `add_key`."""
    options = {"digests_per_day": 0, "requests_per_minute": 0, **options}
    with database.transaction() as connection:
        if all(each.name != organisation for each in organisations(connection)):
            add_organisation(connection, "cli me", organisation)
        return add_key(connection, "cli me", organisation, name, rights or RIGHTS, **options)
