"""Each death of a worker that prepares counts once, however Dask reports it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

pytest.importorskip("distributed")

from distributed import KilledWorker
from distributed.client import FutureCancelledError

from hashscan.scan.cluster.dispatch import DEATHS_MAX, WorkerPreparation

KILLED = KilledWorker("key", None, 0)  # type: ignore[arg-type]
HERE = "tcp://10.0.0.1:1"
PRESENT, NOBODY = frozenset({HERE}), frozenset[str]()


class Answer:
    """Dask's future of an answer."""

    def __init__(self) -> None:
        self.result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.releases = 0

    def release(self) -> None:
        """Only note it: Dask cancels the task some time later."""
        self.releases += 1


class ScriptedTasks:
    """Workers that answer as a test has it."""

    def __init__(self) -> None:
        self.sent: list[Answer] = []

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.ensure_future(work)

    def send(self, *_: object) -> Answer:
        self.sent.append(Answer())
        return self.sent[-1]

    async def answer(self, future: Answer) -> bytes:
        return await future.result


class Preparing:
    """The preparation under test, with what its workers do."""

    def __init__(self) -> None:
        self.tasks = ScriptedTasks()
        self.of = WorkerPreparation(self.tasks, "", b"", lambda *_: None, lambda _: None)  # type: ignore[arg-type]

    async def check(self, present: frozenset[str]) -> None:
        self.of.refresh(present)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self, error: Exception) -> None:
        # A machine that is given up was not asked again.
        if not self.tasks.sent[-1].result.done():
            self.tasks.sent[-1].result.set_exception(error)
        for _ in range(3):
            await asyncio.sleep(0)


async def reported_then_absent(made: Preparing) -> None:
    await made.check(PRESENT)
    await made.end(KILLED)
    # Dask still lists it, so that it is asked again.
    await made.check(PRESENT)
    await made.check(NOBODY)
    await made.end(FutureCancelledError("key", "lost"))
    await made.check(NOBODY)


async def absent_then_reported(made: Preparing) -> None:
    await made.check(PRESENT)
    await made.check(NOBODY)
    await made.check(NOBODY)
    await made.end(KILLED)
    await made.check(NOBODY)


async def reported_alone(made: Preparing) -> None:
    await made.check(PRESENT)
    await made.end(KILLED)


@pytest.mark.parametrize("death", [reported_then_absent, absent_then_reported, reported_alone])
def test_a_death_counts_once(death: Any) -> None:
    async def die() -> list[bool]:
        made, given_up = Preparing(), []
        for _ in range(DEATHS_MAX):
            await death(made)
            await made.check(NOBODY)
            given_up.append(bool(made.of.dying))
        return given_up

    assert asyncio.run(die()) == [False] * (DEATHS_MAX - 1) + [True]
