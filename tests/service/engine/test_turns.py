"""Clients with many connections and many or heavy uploads: they delay others by a turn; and workers that hang
while they get ready."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from hashscan.model import Verdict
from hashscan.service.engine import workers as workers_module
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.uploads import Client, Overloaded, Turn
from hashscan.service.engine.waiting import Task, WaitingTasks
from tests.scan.hostile import MARKS
from tests.service.engine.serving import (
    PDQ_ENTRY,
    check,
    entry_of,
    picture,
    run,
    serving,
    settings_of,
    store_list,
    until,
)
from tests.service.engine.test_attacks import decoding_by


def of(address: str, connection: int, customer: str = "") -> Client:
    """Return a client; a customer is the owner of all its uploads."""
    return Client("icap", address, connection, f"name:{customer}" if customer else "", customer)


async def order(engine: Engine, clients: Sequence[Client]) -> list[Client]:
    """Have uploads of clients wait until all have come, and return the clients as they were answered."""
    (pid,) = engine.pool.pids()
    os.kill(pid, signal.SIGSTOP)
    answered: list[Client] = []

    async def upload(client: Client) -> None:
        await check(engine, b"text", client)
        answered.append(client)

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(upload(client))
        await until(lambda: engine.pool.queued == len(clients) - 1)
        os.kill(pid, signal.SIGCONT)
    return answered


def test_clients_take_turns_however_many_connections_they_have(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(b"listed"))
    crowd, few = [of("10.0.0.1", number) for number in range(40)], [of("10.0.0.2", n) for n in range(40, 43)]

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            answered = await order(engine, crowd + few)
            # One of the crowd was running when the others came.
            assert [answered.index(client) for client in few] == [2, 4, 6]
            assert [client for client in answered if client in crowd] == crowd

    run(test)


@pytest.mark.parametrize(("streak_seconds", "last"), [(60.0, 17), (0.0, 4)])
def test_customers_of_a_client_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streak_seconds: float, last: int
) -> None:
    """A decoder is used again for a few uploads, unless these take long."""
    store_list(tmp_path, entry_of(b"listed"))
    monkeypatch.setattr(workers_module, "STREAK_SECONDS", streak_seconds)
    many, one = of("10.0.0.1", 1, "many"), of("10.0.0.1", 1, "one")

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            answered = await order(engine, [many] * 40 + [one] * 2)
            assert [place for place, client in enumerate(answered) if client is one][-1] <= last

    run(test)


def test_a_client_with_slow_uploads_leaves_the_last_worker_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_list(tmp_path, entry_of(b"listed"), PDQ_ENTRY)
    monkeypatch.setattr(workers_module, "SLOW_SECONDS", 0.0)
    looping = picture(1) + MARKS["loop"]

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=3)) as engine:
            pool = engine.pool
            await until(lambda: len(pool.idle()) == 3)
            other = of("10.0.0.2", 9)
            assert (await check(engine, b"listed", other)).verdict is Verdict.MATCH
            heavy = [asyncio.create_task(check(engine, looping, of("10.0.0.1", n))) for n in range(8)]
            await until(lambda: pool.queued == 6)
            for _ in range(3):
                assert (await check(engine, b"listed", other)).verdict is Verdict.MATCH
            assert (pool.running, pool.queued) == (2, 6)
            for task in heavy:
                task.cancel()

    with decoding_by(monkeypatch, "tests.scan.hostile:load", seconds=1000.0):
        run(test)


def test_a_client_that_is_alone_gets_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes of the service itself are no client."""
    store_list(tmp_path, entry_of(b"listed"), PDQ_ENTRY)
    monkeypatch.setattr(workers_module, "SLOW_SECONDS", 0.0)
    looping = picture(1) + MARKS["loop"]

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=3)) as engine:
            await until(lambda: len(engine.pool.idle()) == 3)
            await check(engine, b"probe", Client("probe", "", 0, "probe"))
            heavy = [asyncio.create_task(check(engine, looping, of("10.0.0.1", n))) for n in range(8)]
            await until(lambda: (engine.pool.running, engine.pool.queued) == (3, 5))
            for task in heavy:
                task.cancel()

    with decoding_by(monkeypatch, "tests.scan.hostile:load", seconds=1000.0):
        run(test)


def test_a_client_that_fills_the_queue_leaves_room_for_others(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1, queue=4)) as engine:
            (pid,) = engine.pool.pids()
            os.kill(pid, signal.SIGSTOP)
            crowd = [asyncio.create_task(check(engine, b"%d" % n, of("10.0.0.1", n))) for n in range(5)]
            await until(lambda: engine.pool.queued == 4)
            few = [asyncio.create_task(check(engine, b"listed", of("10.0.0.2", n))) for n in range(9, 12)]
            await until(lambda: sum(task.done() for task in (*crowd, *few)) == 3)
            os.kill(pid, signal.SIGCONT)
            outcomes = await asyncio.gather(*crowd, *few, return_exceptions=True)
            # Two of each wait in the end; the crowd's last ones have left, and the third of the few.
            assert [isinstance(outcome, Overloaded) for outcome in outcomes] == [
                False, False, False, True, True, False, False, True,
            ]  # fmt: skip

    run(test)


def test_the_order_of_waiting_requests() -> None:
    waiting = WaitingTasks()

    def add(turn: Turn, owner: int, *, first: bool = False) -> Task:
        task = Task(turn, owner, b"", -1, asyncio.Future(loop=loop))
        waiting.add(task, first=first)
        return task

    loop = asyncio.new_event_loop()
    try:
        a1, a2 = add(("a", "x"), 1), add(("a", "x"), 1)
        a3, b1 = add(("a", "y"), 2), add(("b", "z"), 3)
        again = add(("b", "again"), 4, first=True)
        taken = []
        while (task := waiting.next(frozenset())) is not None:
            waiting.take(task)
            taken.append(task)
        assert taken == [again, a1, b1, a3, a2]
        assert len(waiting) == 0
        for task in taken:
            waiting.add(task)
        assert waiting.next({"b"}) is a1
        assert waiting.next({"b", ("a", "x")}) is a3
        assert waiting.next({"a", "b"}) is None
        assert waiting.of_owner(1) is a1
        waiting.remove(a1)
        waiting.remove(a1)
        assert waiting.of_owner(1) is a2
        assert waiting.of_owner(None) is None
        assert len(waiting) == len(waiting.clear()) == 4
        assert not waiting
    finally:
        loop.close()


def hang(*_: object) -> None:
    """Take the place of a worker that is never ready."""
    while True:
        time.sleep(1)


def test_a_worker_that_is_never_ready_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        engine = Engine(settings_of(tmp_path, workers=1))
        with monkeypatch.context() as patch:
            patch.setattr(workers_module, "run", hang)
            patch.setattr(workers_module, "PREPARE_SECONDS", 0.1)
            starting = asyncio.create_task(engine.start())
            await until(lambda: engine._pool is not None and engine.pool.deaths)
        try:
            await starting
            assert (await check(engine, b"listed")).verdict is Verdict.MATCH
        finally:
            await engine.close()

    run(test)


def test_a_worker_that_never_opens_new_lists_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store_list(tmp_path, entry_of(b"listed"))

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            (pid,) = engine.pool.pids()
            os.kill(pid, signal.SIGSTOP)
            store_list(tmp_path, entry_of(b"new"))
            with monkeypatch.context() as patch:
                patch.setattr(workers_module, "PREPARE_SECONDS", 0.1)
                assert not await engine.reload()
            assert (await check(engine, b"listed")).verdict is Verdict.MATCH
            assert pid not in engine.pool.pids()
            assert await engine.reload()
            assert (await check(engine, b"new")).verdict is Verdict.MATCH

    run(test)
