"""A hub's application without a network, and a browser that asks it, with cookies and forms."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import pyotp

from hashscan.hub.accounts.sessions import begin_session
from hashscan.hub.accounts.users import Role, add_user
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import USERS
from hashscan.hub.web.application import make_application
from hashscan.hub.web.requests import Context, HubSettings, SlowAnswers
from hashscan.model import ListInfo, TrustState
from hashscan.service.doors.http.door import AsgiDoor
from hashscan.settings.service import DoorSettings, TcpAddress
from hashscan.state_dir import StateDir

LISTS = (ListInfo("national", next(iter(TrustState)), 7, 1000, (("pdq", 1000),), ("csam",)),)
PASSWORD = "correct horse battery"


def make_context(database: Database, state: StateDir, **settings: Any) -> Context:
    chosen: dict[str, Any] = {"address": TcpAddress("127.0.0.1", 8480), **settings}
    lookup: Any = SimpleNamespace(infos=LISTS, version="0123456789abcdef")
    # No count is kept, so that a page shows what a test has just changed.
    return Context(HubSettings(state, "", **chosen), database, lookup, slow_answers=SlowAnswers(60))


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return next((value for name, value in self.headers if name == "location"), "")

    def header(self, name: str) -> str:
        return next((value for each, value in self.headers if each == name), "")

    @property
    def cookies(self) -> list[str]:
        return [value for name, value in self.headers if name == "set-cookie"]

    def hidden(self, name: str) -> str:
        """The value of a hidden field; of the first, if there are several."""
        found = re.search(rf'type="hidden" name="{name}" value="([^"]*)"', self.text)
        assert found is not None, (name, self.text)
        return unescape(found[1])


@dataclass
class Browser:
    """Somebody's browser; `peer` is its address as the node sees it, None by a Unix socket."""

    context: Context
    host: str = "127.0.0.1:8480"
    origin: str = "http://127.0.0.1:8480"
    peer: str | None = "127.0.0.1"
    cookies: dict[str, str] = field(default_factory=dict)
    app: Any = None

    def __post_init__(self) -> None:
        self.app = self.app or make_application(self.context)

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        parts = urlsplit(path)
        sent = {"host": self.host, **(headers or {})}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": quote(parts.path).encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in sent.items()],
            "client": None if self.peer is None else (self.peer, 50000),
            "server": ("127.0.0.1", 8480),
            "state": {},
        }
        answer = Answer(0, [], b"")

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = [(k.decode(), v.decode("latin-1")) for k, v in message["headers"]]
            else:
                answer.body += message.get("body", b"")

        asyncio.run(self.app(scope, receive, send))
        for line in answer.cookies:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, fields: Any = (), **headers: str) -> Answer:
        """Send a form, as a page of the hub does, without the token."""
        kind = {"origin": self.origin, "content-type": "application/x-www-form-urlencoded"}
        body = urlencode(fields, doseq=True).encode()
        return self.ask("POST", path, body, {**kind, "content-length": str(len(body)), **headers})

    def send(self, page: str, path: str, /, **fields: Any) -> Answer:
        """Send a form of a page, with the token of that page."""
        return self.post(path, {"csrf": self.get(page).hidden("csrf"), **fields})

    def sign_in(self, name: str, password: str = PASSWORD, code: str = "", **fields: str) -> Answer:
        return self.send("/sign-in", "/sign-in", name=name, password=password, code=code, **fields)


def user(database: Database, name: str, role: Role = "viewer", organisation: str = "", totp: str = "") -> int:
    """Add a user who has chosen `PASSWORD`; return the id."""
    with database.transaction() as connection:
        add_user(connection, "cli me", name, role, organisation, password=PASSWORD)
        stored = connection.execute(USERS.select().where(USERS.c.name == name)).one()
        own = stored.password.split(" ", 2)[2]
        connection.execute(USERS.update().where(USERS.c.id == stored.id).values(password=own, totp=totp))
    return int(stored.id)


def signed_in(context: Context, name: str, role: Role, organisation: str = "", app: Any = None) -> Browser:
    """The browser of a new user who is signed in."""
    import time

    number = user(context.database, name, role, organisation, pyotp.random_base32())
    with context.database.transaction() as connection:
        token = begin_session(connection, number, int(time.time()))
    return Browser(context, cookies={"hashscan-session": token}, app=app)


@contextmanager
def serving(context: Context) -> Iterator[str]:
    """A node on loopback in a thread, for a real browser; the address of its pages."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        settings = DoorSettings("http", TcpAddress("127.0.0.1", 0), {})
        door = AsgiDoor(settings, make_application(context))
        asyncio.run_coroutine_threadsafe(door.open(), loop).result(60)
        try:
            assert isinstance(door.address, TcpAddress)
            yield f"http://127.0.0.1:{door.address.port}"
        finally:
            asyncio.run_coroutine_threadsafe(door.close(5), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
