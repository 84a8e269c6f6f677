"""HTTP doors with a real engine, in a thread with its own loop, and requests as they go over the wire."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from hashscan.service.doors.http.app import HttpDoor
from hashscan.service.doors.http.keys import Right, changing, make_key
from hashscan.service.engine.engine import Engine
from hashscan.settings.service import AnswerTo, AnswerWith, DoorSettings, ServeSettings, TcpAddress
from tests.service.engine.serving import settings_of

T = TypeVar("T")

DOOR = DoorSettings(
    "http",
    TcpAddress("127.0.0.1", 0),
    {"match": "refuse", "held": "allow", "review": "allow", "undecoded": "allow", "trouble": "error"},
    show_entries=True,
)


@dataclass(frozen=True)
class Answered:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error."""
        return str(self.document["code"])


def ask(port: int, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Answered:
    """Send a request to a port of this machine, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        chunked = body is not None and not isinstance(body, bytes)
        connection.request(method, path, body, sent, encode_chunked=chunked)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answered(response.status, found, response.read())
    finally:
        connection.close()


class HttpServer:
    """A running engine, with one door after another."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self._loop = loop

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 120.0) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    @contextmanager
    def door(self, settings: DoorSettings = DOOR, **options: Any) -> Iterator[Site]:
        """A door; `options` are those of `HttpDoor`."""

        async def opened() -> HttpDoor:
            door = HttpDoor(self.engine, settings, **options)
            await door.open()
            return door

        door = self.call(opened())
        try:
            yield Site(self, door)
        finally:
            self.call(door.close(5))


class Site:
    """An open door, as its clients see it."""

    def __init__(self, server: HttpServer, door: HttpDoor) -> None:
        self.server = server
        self.door = door
        assert isinstance(door.address, TcpAddress)
        self.port = door.address.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Answered:
        """Send a request on a connection of its own."""
        return ask(self.port, method, path, body, key, **headers)

    def connect(self) -> socket.socket:
        """A connection of which a test sends the bytes."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def send(self, *pieces: bytes) -> bytes:
        """All that is answered to some bytes until the server closes the connection."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    """The bytes that are sent until the connection is closed or reset."""
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


@contextmanager
def http_server(state: Path, settings: ServeSettings | None = None, **limits: Any) -> Iterator[HttpServer]:
    """An engine on the lists of a state folder."""
    chosen = settings or replace(settings_of(state, **limits), doors=(DOOR,))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        engine = Engine(chosen)
        server = HttpServer(engine, loop)
        server.call(engine.start())
        try:
            yield server
        finally:
            server.call(engine.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def add_key(path: Path, *rights: Right, name: str = "k", owner: str = "", rate: float = 0.0) -> str:
    """A new key in a file."""
    secret, key = make_key(name, rights, owner, rate, None)
    with changing(path) as keys:
        keys[:] = [*(each for each in keys if each.name != name), key]
    return secret


def form(*files: tuple[str, bytes], boundary: str = "x0x") -> tuple[bytes, str]:
    """A form with files, and its content type."""
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def with_answers(**answers: AnswerWith) -> DoorSettings:
    """Settings of a door with some answers of their own."""
    return replace(DOOR, answers={**DOOR.answers, **cast("dict[AnswerTo, AnswerWith]", answers)})
