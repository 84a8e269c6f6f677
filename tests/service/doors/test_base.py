"""Checks the base of all doors with a door that answers each line, over Unix sockets and TCP."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import stat
import struct
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest

from hashscan.errors import UsageError
from hashscan.service.doors.base import StreamDoor, Waiting, client_of
from hashscan.service.doors.connection import Connection
from hashscan.service.doors.listening import may_connect, open_listener
from hashscan.service.engine.engine import Engine
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress

TCP = DoorSettings("clamd", TcpAddress("127.0.0.1", 0), {})


class LineDoor(StreamDoor):
    """Answers each line by itself; `wait` is answered when `released` is set."""

    protocol = "line"
    half_close = True
    passes_descriptors = True

    def __init__(self, settings: DoorSettings) -> None:
        super().__init__(cast("Engine", None), settings)
        self.waiting = asyncio.Event()
        self.released = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.clients: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []
        """The streams of the test's own clients."""

    async def serve(self, connection: Connection) -> None:
        self.clients.append(connection.client.address)
        pending = b""
        while data := await connection.read():
            pending += data
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                with connection.request():
                    await connection.send(await self.answer(line, connection) + b"\n")

    async def answer(self, line: bytes, connection: Connection) -> bytes:
        """Return the answer to a line."""
        if line == b"wait":
            self.waiting.set()
            try:
                with connection.working():
                    await self.released.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if line == b"descriptor":
            descriptor = connection.take_descriptor(0)
            if descriptor is None:
                return b"none"
            with open(descriptor, "rb") as file:
                return file.read()
        if line == b"defect":
            raise ZeroDivisionError
        return line

    def refusal(self, reason: str) -> bytes:
        return f"refused: {reason}\n".encode()


class PlainDoor(LineDoor):
    """A door for clients that don't close one side only."""

    half_close = False


class DroppingDoor(LineDoor):
    """Drops all that is sent after the time for the request has passed."""

    async def serve(self, connection: Connection) -> None:
        with connection.request():
            await asyncio.sleep(2 * self.settings.request_seconds)
            self.waiting.set()
            if await connection.drop_rest(30, 1 << 20):
                self.released.set()


@asynccontextmanager
async def opened(
    settings: DoorSettings, kind: Callable[[DoorSettings], LineDoor] = LineDoor
) -> AsyncIterator[LineDoor]:
    """Open a door, and close it at the end."""
    door = kind(settings)
    await door.open()
    try:
        yield door
    finally:
        await door.close(0)
        await close_clients(door)


async def close_clients(door: LineDoor) -> None:
    """Close the clients of a door."""
    for writer in door.writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def connect(door: LineDoor) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a door."""
    address = door.address
    if isinstance(address, UnixAddress):
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    door.writers.append(writer)
    return reader, writer


async def ask(door: LineDoor, line: bytes) -> bytes:
    """Send a line over a connection of its own, and return all that comes back."""
    reader, writer = await connect(door)
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def write_for_ever(writer: asyncio.StreamWriter) -> None:
    """Write lines until the door closes the connection."""
    while True:
        writer.write(b"x" * 1000 + b"\n")
        await writer.drain()


def unix(folder: Path, **settings: Any) -> DoorSettings:
    """Return settings of a door at a Unix socket."""
    return DoorSettings("clamd", UnixAddress(folder / "door.sock"), {}, **settings)


@pytest.fixture(params=["unix", "tcp"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> DoorSettings:
    """Return the settings of each kind of door."""
    return unix(tmp_path) if request.param == "unix" else TCP


def test_lines_are_answered(settings: DoorSettings) -> None:
    async def run() -> None:
        async with opened(settings) as door:
            assert await ask(door, b"one\ntwo\n") == b"one\ntwo\n"
            is_unix = isinstance(settings.address, UnixAddress)
            assert door.clients == [f"uid={os.getuid()}" if is_unix else "127.0.0.1"]
            await until(lambda: not door.connections)

    asyncio.run(run())


def test_beyond_loopback_only_with_a_network(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(UsageError, match="no network is allowed"):
            open_listener(replace(TCP, address=TcpAddress(host, 0)))
    with pytest.raises(UsageError, match="not an IP address"):
        open_listener(replace(TCP, address=TcpAddress("localhost", 0)))
    allowed = replace(TCP, address=TcpAddress("0.0.0.0", 0), allow=(ip_network("192.0.2.0/24"),))
    open_listener(allowed).close()
    with socket.socket() as inherited:
        inherited.bind(("0.0.0.0", 0))
        with pytest.raises(UsageError, match="does not listen"):
            open_listener(TCP, inherited)
        inherited.listen()
        with pytest.raises(UsageError, match="no network is allowed"):
            open_listener(TCP, inherited)
        with pytest.raises(UsageError, match="another family"):
            open_listener(unix(tmp_path), inherited)


def test_networks() -> None:
    allow = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7%eth0"):
        assert may_connect(host, allow), host
    for host in ("192.0.3.7", "::ffff:192.0.3.7", "2001:db9::7", "::", "0.0.0.0", "", "name"):
        assert not may_connect(host, allow), host


def test_mode_and_file_of_a_unix_socket(tmp_path: Path) -> None:
    settings = unix(tmp_path)
    assert isinstance(settings.address, UnixAddress)
    path = settings.address.path
    for mode in (0o600, 0o666):
        listener = open_listener(replace(settings, address=UnixAddress(path, mode)))
        assert stat.S_IMODE(path.stat().st_mode) == mode
        listener.close()
        assert not path.exists()


def test_only_the_socket_of_an_ended_server_is_replaced(tmp_path: Path) -> None:
    settings = unix(tmp_path)
    path = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(path))
    first = open_listener(settings)
    with pytest.raises(UsageError, match="another process listens"):
        open_listener(settings)
    path.unlink()
    second = open_listener(settings)
    first.close()
    assert path.is_socket(), "the second one's socket was removed"
    second.close()
    (tmp_path / "target").write_text("kept")
    path.symlink_to("target")
    with pytest.raises(UsageError, match="something else than a socket"):
        open_listener(settings)
    path.unlink()
    path.write_text("kept")
    with pytest.raises(UsageError, match="something else than a socket"):
        open_listener(settings)
    assert path.read_text() == "kept"
    with pytest.raises(UsageError, match="can't listen"):
        open_listener(unix(tmp_path / ("x" * 120)))


def test_inherited_socket_stays(tmp_path: Path) -> None:
    async def run() -> None:
        settings = unix(tmp_path)
        with socket.socket(socket.AF_UNIX) as inherited:
            inherited.bind(str(tmp_path / "door.sock"))
            inherited.listen()
            door = LineDoor(settings)
            await door.open(inherited)
            assert await ask(door, b"one\n") == b"one\n"
            await door.close(0)
            await close_clients(door)
        assert (tmp_path / "door.sock").is_socket(), "it is the service manager's"

    asyncio.run(run())


def test_connections_beyond_the_limit_are_refused(settings: DoorSettings) -> None:
    async def run() -> None:
        async with opened(replace(settings, connections_max=2)) as door:
            busy = [await connect(door), await connect(door)]
            for _, each in busy:
                each.write(b"wait\n")
            await until(lambda: not list(door.waiting_connections()) and door.connections == 2)
            reader, writer = await connect(door)
            assert await reader.read() == b"refused: too many connections\n"
            assert (door.refused, door.evicted) == (1, 0)
            door.released.set()
            for answered, each in busy:
                assert await answered.readline() == b"wait\n"
                each.close()
            writer.close()
            await until(lambda: not door.connections)
            assert await ask(door, b"one\n") == b"one\n"

    asyncio.run(run())


def test_waiting_connections_make_room_the_oldest_first(settings: DoorSettings) -> None:
    async def run() -> None:
        async with opened(replace(settings, connections_max=3)) as door:
            busy, oldest, newer = [await connect(door) for _ in range(3)]
            busy[1].write(b"wait\n")
            oldest[1].write(b"half a li")
            await until(lambda: len(list(door.waiting_connections())) == 2 and door.connections == 3)
            assert await ask(door, b"one\n") == b"one\n"
            assert await oldest[0].read() == b""
            assert (door.refused, door.evicted) == (0, 1)
            newer[1].write(b"two\n")
            assert await newer[0].readline() == b"two\n"
            door.released.set()
            assert await busy[0].readline() == b"wait\n"
            for _, each in (busy, oldest, newer):
                each.close()

    asyncio.run(run())


def test_the_client_with_most_waiting_connections_loses_one(settings: DoorSettings) -> None:
    ended: list[str] = []

    class Crowded(LineDoor):
        def waiting_connections(self) -> Iterator[Waiting]:
            waiting = (("a", 1.0), ("b", 3.0), ("b", 1.0), ("b", 2.0), ("c", 0.0))
            for client, since in waiting:
                # An honest client keeps its connection from before the others came.
                served = (client, since) == ("b", 1.0)
                yield Waiting(client, served, since, partial(ended.append, f"{client} {since}"))

    async def run() -> None:
        async with opened(replace(settings, connections_max=0), Crowded) as door:
            assert await ask(door, b"one\n") == b"one\n"

    asyncio.run(run())
    assert ended == ["b 2.0"]
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff") != client_of("2001:db8:0:1::1")
    for prefix in ("", "::ffff:"):
        assert client_of(f"{prefix}192.0.2.1") == "192.0.2.1"
    assert client_of("uid=7") == "uid=7"


def test_idle_connections_and_slow_requests_end(settings: DoorSettings) -> None:
    async def run() -> None:
        async with opened(replace(settings, idle_seconds=0.1)) as door:
            reader, writer = await connect(door)
            assert await reader.read() == b""
            writer.close()

    asyncio.run(run())


def test_the_rest_is_dropped_after_the_time_for_a_request(settings: DoorSettings) -> None:
    async def run() -> None:
        async with opened(replace(settings, request_seconds=0.01), DroppingDoor) as door:
            _, writer = await connect(door)
            await door.waiting.wait()
            writer.write(b"late")
            writer.write_eof()
            async with asyncio.timeout(30):
                await door.released.wait()

    asyncio.run(run())


def leave(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close a connection; with a reset, if it is of TCP."""
    if reset:
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.close()


@pytest.mark.parametrize("kind", [LineDoor, PlainDoor])
def test_work_is_cancelled_if_the_client_leaves(settings: DoorSettings, kind: type[LineDoor]) -> None:
    async def run() -> None:
        async with opened(settings, kind) as door:
            _, writer = await connect(door)
            writer.write(b"wait\n")
            await door.waiting.wait()
            leave(writer, reset=kind.half_close)
            async with asyncio.timeout(30):
                await door.cancelled.wait()
            await until(lambda: not door.connections)

    asyncio.run(run())


def test_client_that_has_closed_one_side_is_answered(settings: DoorSettings) -> None:
    async def run() -> None:
        async with opened(settings) as door:
            asked = asyncio.create_task(ask(door, b"wait\n"))
            await door.waiting.wait()
            await asyncio.sleep(0.3)  # longer than the door takes to look for a client that has left
            door.released.set()
            assert await asked == b"wait\n"

    asyncio.run(run())


def test_descriptors_are_passed_and_never_leak(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"content")

    def send(client: socket.socket, line: bytes, count: int) -> None:
        with content.open("rb") as file:
            socket.send_fds(client, [line], [file.fileno()] * count)

    def opened_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def run() -> None:
        async with opened(unix(tmp_path)) as door:
            before = opened_files()
            for count in (1, 3, 4, 50):
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(tmp_path / "door.sock"))
                client.setblocking(False)
                send(client, b"descriptor\n", count)
                loop = asyncio.get_running_loop()
                assert await loop.sock_recv(client, 100) == (b"content\n" if count == 1 else b"none\n")
                client.close()
                await until(lambda: not door.connections)
                assert opened_files() == before
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(tmp_path / "door.sock"))
            client.setblocking(False)
            with suppress(BlockingIOError):
                for _ in range(5000):
                    send(client, b"x", 1)
            assert opened_files() < before + 50
            await asyncio.sleep(0.2)
            assert opened_files() < before + 50, "descriptors that nobody takes are not limited"
            client.close()
            await until(lambda: not door.connections)
            assert opened_files() == before

    asyncio.run(run())


def lingering() -> tuple[socket.socket, socket.socket]:
    """Return a socket whose closing waits, since the other one takes nothing of what was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
    one.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            one.send(bytes(1 << 16))
    return one, other


@pytest.mark.parametrize("number", [1, 3, 5, 253])
def test_descriptors_whose_closing_waits_keep_nobody_waiting(tmp_path: Path, number: int) -> None:
    async def run() -> None:
        async with opened(unix(tmp_path)) as door:
            one, other = lingering()
            with other, socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "door.sock"))
                # Before the door can receive them; then the door has the last reference.
                with one:
                    socket.send_fds(client, [b"x\n"], [one.fileno()] * number)
                await until(lambda: door.clients)
                assert await asyncio.to_thread(client.recv, 100) == b"x\n"
                client.close()
                async with asyncio.timeout(30):
                    assert await ask(door, b"one\n") == b"one\n"
                    await until(lambda: not door.connections)
            # A reset by the other side ends the wait.

    asyncio.run(run())


def test_used_up_descriptors_delay_clients(settings: DoorSettings, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with opened(settings) as door:
            assert await ask(door, b"one\n") == b"one\n"
            await until(lambda: not door.connections)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            family = socket.AF_UNIX if isinstance(door.address, UnixAddress) else socket.AF_INET
            client = socket.socket(family)
            client.setblocking(False)
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                address = door.address
                name: Any = (
                    str(address.path) if isinstance(address, UnixAddress) else (address.host, address.port)
                )
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, name)
                await loop.sock_sendall(client, b"two\n")
                await until(lambda: "LimitNOFILE" in caplog.text)
                await asyncio.sleep(0.2)
                assert len(caplog.records) == 1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert await loop.sock_recv(client, 100) == b"two\n"
            client.close()

    asyncio.run(run())


def test_connections_leave_descriptors_for_uploads(
    settings: DoorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "is_waiting", False)

    async def run() -> None:
        async with opened(settings) as door:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            # Other tests may have left descriptors with free numbers below them.
            highest = max(map(int, os.listdir("/proc/self/fd")))
            fillers = [os.dup(0)]
            while fillers[-1] <= highest:
                fillers.append(os.dup(0))
            # A connection needs two descriptors here, of both sides.
            resource.setrlimit(resource.RLIMIT_NOFILE, ((fillers[-1] + 9) * 4 // 3, hard))
            try:
                kept = [await connect(door) for _ in range(7)]
                await until(lambda: door.refused > 0)
                assert 0 < door.connections < len(kept)
                os.close(os.memfd_create("upload"))
                reader, writer = kept[0]
                writer.write(b"one\n")
                assert await reader.readline() == b"one\n"
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for filler in fillers:
                    os.close(filler)
            assert await ask(door, b"two\n") == b"two\n"

    asyncio.run(run())


def test_close_lets_requests_end_and_ends_the_idle(settings: DoorSettings) -> None:
    async def run() -> None:
        door = LineDoor(settings)
        await door.open()
        idle, _ = await connect(door)
        busy, writer = await connect(door)
        writer.write(b"wait\n")
        await door.waiting.wait()
        closing = asyncio.create_task(door.close(30))
        assert await idle.read() == b""
        assert not closing.done()
        door.released.set()
        assert await busy.read() == b"wait\n"
        await closing
        await close_clients(door)

        stuck = LineDoor(settings)
        await stuck.open()
        busy, writer = await connect(stuck)
        writer.write(b"wait\n")
        await stuck.waiting.wait()
        await stuck.close(0.1)
        assert await busy.read() == b""
        await close_clients(stuck)

    asyncio.run(run())


def test_defect_ends_one_connection(settings: DoorSettings, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with opened(settings) as door:
            assert await ask(door, b"defect\n") == b""
            assert "defect while serving" in caplog.text
            assert await ask(door, b"one\n") == b"one\n"

    asyncio.run(run())


def test_a_connection_is_freed_when_it_ends(settings: DoorSettings) -> None:
    """Without the garbage collector, which would free its buffers much later."""
    seen: list[weakref.ref[Connection]] = []

    class Watched(LineDoor):
        async def serve(self, connection: Connection) -> None:
            seen.append(weakref.ref(connection))
            await super().serve(connection)

    async def run() -> None:
        async with opened(settings, Watched) as door:
            for line in (b"one\n", b"two\n"):
                assert await ask(door, line) == line
            await until(lambda: [of() for of in seen] == [None, None])

    gc.collect()
    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()


def test_client_that_takes_no_answers_is_ended_and_its_memory_bounded(settings: DoorSettings) -> None:
    async def run() -> None:
        async with opened(replace(settings, idle_seconds=0.3)) as door:
            reader, writer = await connect(door)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            with pytest.raises(ConnectionError):
                await write_for_ever(writer)
            del reader
            await until(lambda: not door.connections)

    asyncio.run(run())
