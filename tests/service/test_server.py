"""Parts of the server: its sockets, its service manager, what makes it reload, and its watchdog."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import weakref
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.lists.exceptions import add_exception, made_exception
from hashscan.lists.store import ListStore
from hashscan.service import server as servers
from hashscan.service.doors.base import allow_descriptors
from hashscan.service.engine.list_changes import list_state
from hashscan.service.server import DOORS, Server, door_class, with_inherited
from hashscan.service.service_manager import inherited_sockets, notify, watchdog_seconds
from hashscan.settings.legal_basis import Protocol
from hashscan.settings.service import (
    DEFAULT_ANSWERS,
    NO_ADDRESS,
    DoorSettings,
    TcpAddress,
    UnixAddress,
)
from hashscan.state_dir import StateDir
from tests.service.engine.serving import check, entry_of, run, settings_of, store_list, until


def door(protocol: Protocol, address: UnixAddress | TcpAddress = NO_ADDRESS) -> DoorSettings:
    return DoorSettings(protocol, address, DEFAULT_ANSWERS[protocol])


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def address_of(sock: socket.socket) -> TcpAddress:
    return TcpAddress(*sock.getsockname())


def test_every_protocol_has_a_door() -> None:
    assert {protocol: door_class(protocol).protocol for protocol in DOORS} == {name: name for name in DOORS}


def test_sockets_go_to_the_door_with_their_address(listening: socket.socket, tmp_path: Path) -> None:
    doors = (door("icap", address_of(listening)), door("clamd", UnixAddress(tmp_path)), door("http"))
    assert with_inherited(doors, [("", listening)]) == [(doors[0], listening), (doors[1], None)]


def test_other_sockets_are_named_by_a_protocol(listening: socket.socket) -> None:
    trusted = replace(door("http"), owner_header="X-Owner")
    made = with_inherited((door("clamd"), trusted), [("http", listening)])
    assert made == [(replace(trusted, address=address_of(listening)), listening)]
    with pytest.raises(UsageError):
        with_inherited((trusted,), [("hashscan-serve.socket", listening)])


def test_a_mode_of_the_options_does_not_matter_for_a_given_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "x.sock"))
        sock.listen()
        doors = (door("clamd", UnixAddress(tmp_path / "x.sock", 0o600)), door("clamd"))
        assert with_inherited(doors, [("", sock)]) == [(doors[0], sock)]


@pytest.mark.parametrize("pid", ["", "1", "x"])
def test_sockets_for_another_process_are_left_alone(pid: str) -> None:
    environ = {"LISTEN_PID": pid, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c", "OTHER": "1"}
    assert inherited_sockets(environ) == []
    assert environ == {"OTHER": "1"}


def test_states_reach_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notify("READY=1")
    for name, bound in ((str(tmp_path / "n"), str(tmp_path / "n")), (f"@{tmp_path}", f"\0{tmp_path}")):
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(bound)
            notify("READY=1", "STATUS=x")
            assert manager.recv(100) == b"READY=1\nSTATUS=x"


def test_the_watchdog_is_for_one_process() -> None:
    assert watchdog_seconds({}) is None
    assert watchdog_seconds({"WATCHDOG_USEC": "1500000"}) == 1.5
    assert watchdog_seconds({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}) == 1.5
    assert watchdog_seconds({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_seconds({"WATCHDOG_USEC": "never"}) is None


def test_what_a_reload_reads_changes_its_state(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    seen = [list_state(state)]

    def changed() -> bool:
        seen.append(list_state(state))
        return seen[-1] != seen[-2]

    assert not changed()
    store_list(tmp_path, entry_of(b"a"))
    assert changed()
    store_list(tmp_path, entry_of(b"b"))
    assert changed()
    now = datetime.now(UTC)
    add_exception(state, made_exception("ours", entry_of(b"b"), "wrong", now + timedelta(days=1), "me", now))
    assert changed()
    ListStore(state.lists).remove("ours")
    assert changed()
    assert not changed()


def test_the_watchdog_waits_for_an_answer_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(tmp_path, entry_of(b"a"))
    sent: list[str] = []
    monkeypatch.setattr(servers, "notify", lambda *states: sent.extend(states))

    async def test() -> None:
        server = Server(settings_of(tmp_path), lambda _: None)
        async with AsyncExitStack() as opened:
            await server._start(opened)
            let = asyncio.Event()
            answering = server._engine.check

            async def check_later(*arguments: object, **options: object) -> object:
                await let.wait()
                return await answering(*arguments, **options)  # type: ignore[arg-type]

            monkeypatch.setattr(server._engine, "check", check_later)
            feeding = asyncio.ensure_future(server._feed_watchdog(0.04))
            await asyncio.sleep(0.2)
            assert sent == []
            let.set()
            while not sent:
                await asyncio.sleep(0.01)
            assert set(sent) == {"WATCHDOG=1"}
            feeding.cancel()
            # The probes count nowhere.
            assert b'door="probe"' not in server._metrics.render()
            monkeypatch.undo()
            assert (await check(server._engine, b"a")).reference

    run(test)


def test_garbage_is_collected_without_much_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_list(tmp_path, entry_of(b"a"))
    monkeypatch.setattr(servers, "_TIDY_SECONDS", 0.01)

    class Garbage:
        itself: Garbage

    async def test() -> None:
        server = Server(settings_of(tmp_path), lambda _: None)
        async with AsyncExitStack() as opened:
            await server._start(opened)
            tasks = [asyncio.ensure_future(each) for each in server._background(None)]
            made = Garbage()
            made.itself, freed = made, weakref.ref(made)
            del made
            await until(lambda: freed() is None)
            for task in tasks:
                task.cancel()

    gc.disable()
    try:
        run(test)
    finally:
        gc.enable()


def test_as_many_descriptors_are_allowed_as_connections_need() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        for number, allowed in ((50, 100), (200, 200), (hard + 1, hard)):
            allow_descriptors(number)
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
