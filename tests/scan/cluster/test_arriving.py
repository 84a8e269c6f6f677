"""The order in which workers of a cluster register, answer, refuse and die before a scan begins.

The event loop's clock jumps to what comes next, so nothing here takes time or depends on it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("distributed")

from distributed.client import FutureCancelledError

from hashscan.scan.cluster.dispatch import Dispatcher
from hashscan.scan.cluster.messages import Busy, PrepareAnswer, Ready, Refused, pack_greeting
from hashscan.scan.cluster.pool import ARRIVE_SECONDS, READY_SECONDS, wait_for_workers

A, B, C = (f"tls://10.0.0.{number}:1" for number in (1, 2, 3))
REFUSED = Refused("a", "it has other lists")
READY = Ready("n", "b", "0.1.0", "p")


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that waits for nothing: its clock goes on at once."""

    def __init__(self) -> None:
        super().__init__(JumpingSelector())

    def time(self) -> float:
        return self._selector.now  # type: ignore[attr-defined, no-any-return]


class JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left that could happen"
        self.now += max(0.0, timeout)
        return super().select(0)


class Answer:
    """A future of Dask's."""

    def __init__(self, seconds: float, greetings: list[PrepareAnswer]) -> None:
        self._future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(seconds, self._answer, greetings)

    def _answer(self, greetings: list[PrepareAnswer]) -> None:
        if not self._future.done():
            self._future.set_result(pack_greeting(greetings.pop(0)))

    async def result(self) -> bytes:
        return await self._future

    def release(self) -> None:
        if not self._future.done():
            self._future.set_exception(FutureCancelledError("released", "released"))


class Scheduler:
    """Dask's client and its scheduler, for the calls that are made before a scan begins."""

    status = "running"

    def __init__(self) -> None:
        self.workers: dict[str, tuple[float, list[PrepareAnswer]]] = {}
        """By address, seconds until it answers, and its answers one after another."""
        self.seconds = 0.0
        """Until the scheduler answers."""
        self.scheduler = self

    async def ncores(self) -> dict[str, int]:
        found = dict.fromkeys(self.workers, 1)
        await asyncio.sleep(self.seconds)
        return found

    def submit(self, function: Callable[..., bytes], *arguments: Any, workers: list[str], **_: Any) -> Answer:
        return Answer(*self.workers[workers[0]])

    def register(self, when: float, address: str, seconds: float, *greetings: PrepareAnswer) -> None:
        asyncio.get_running_loop().call_later(
            when, self.workers.__setitem__, address, (seconds, list(greetings))
        )

    def die(self, when: float, address: str) -> None:
        asyncio.get_running_loop().call_later(when, self.workers.pop, address)


def after(events: Callable[[Scheduler], None]) -> tuple[Dispatcher, float]:
    """The state when it was decided to begin or to give up, and when that was."""

    async def run() -> tuple[Dispatcher, float]:
        scheduler = Scheduler()
        events(scheduler)
        await asyncio.sleep(0)
        dispatcher = Dispatcher(scheduler, "token", b"", lambda _: None, lambda: None)  # type: ignore[arg-type]
        await wait_for_workers(dispatcher)
        return dispatcher, asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(run())


def test_nodes_that_register_after_another_has_refused_take_part() -> None:
    def events(scheduler: Scheduler) -> None:
        scheduler.register(0, A, 0, REFUSED)
        scheduler.register(ARRIVE_SECONDS - 1, B, 1, READY)

    dispatcher, _ = after(events)
    assert list(dispatcher.slots) == [B]


def test_all_refusals_are_collected_however_late_they_come() -> None:
    def events(scheduler: Scheduler) -> None:
        scheduler.register(0, A, 0, REFUSED)
        scheduler.register(0, B, READY_SECONDS / 3, Refused("b", "other lists"))
        scheduler.register(READY_SECONDS / 3 + 1, C, READY_SECONDS / 3, Refused("c", "other lists"))

    dispatcher, _ = after(events)
    assert sorted(host for host, _ in dispatcher.preparing.refused) == ["a", "b", "c"]


def test_a_worker_that_dies_as_it_prepares_is_waited_for() -> None:
    """Its node starts another, which has another address."""

    def events(scheduler: Scheduler) -> None:
        scheduler.register(0, A, 0, REFUSED)
        scheduler.register(0, B, 60, READY)
        scheduler.die(1, B)
        scheduler.register(ARRIVE_SECONDS - 1, B.replace(":1", ":2"), 1, READY)

    dispatcher, _ = after(events)
    assert list(dispatcher.slots) == [B.replace(":1", ":2")]


@pytest.mark.parametrize("refused", [[], [A]], ids=["nobody", "one"])
def test_a_scheduler_that_is_slow_to_answer_uses_up_nobody_s_time(refused: list[str]) -> None:
    """At most one worker is registered when it is asked, and has refused by the time that it has answered."""

    def events(scheduler: Scheduler) -> None:
        scheduler.seconds = ARRIVE_SECONDS + 1
        scheduler.workers |= {address: (0, [REFUSED]) for address in refused}
        scheduler.register(1, B, 0, READY)

    dispatcher, _ = after(events)
    assert list(dispatcher.slots) == [B]


def test_a_busy_worker_is_waited_for_where_another_refuses() -> None:
    def events(scheduler: Scheduler) -> None:
        scheduler.register(0, A, 0, REFUSED)
        scheduler.register(0, B, 0, *[Busy("b")] * 5, READY)

    dispatcher, _ = after(events)
    assert list(dispatcher.slots) == [B]


def test_it_ends_where_all_refuse() -> None:
    dispatcher, seconds = after(lambda scheduler: scheduler.register(0, A, 0, REFUSED))
    assert dispatcher.preparing.troubles() == "a: it has other lists"
    assert ARRIVE_SECONDS <= seconds <= ARRIVE_SECONDS + 2


def test_workers_that_did_not_answer_or_were_lost_are_named() -> None:
    def events(scheduler: Scheduler) -> None:
        scheduler.register(0, A, 0, REFUSED)
        scheduler.register(0, B, 10 * READY_SECONDS, READY)
        scheduler.register(0, C, 10 * READY_SECONDS, READY)
        scheduler.die(1, C)

    dispatcher, seconds = after(events)
    assert READY_SECONDS <= seconds <= READY_SECONDS + 2
    assert dispatcher.preparing.troubles() == (
        "a: it has other lists; 10.0.0.2: a worker did not answer; 10.0.0.3: a worker was lost as it prepared"
    )
