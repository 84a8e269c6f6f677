"""Have the workers of a cluster prepare, send them batches, detect new and lost workers, and retry lost
batches.

Every batch is sent to one named worker, so Dask never moves it: a file that kills its worker must not go from
one worker to the next.

All of this runs in one thread with an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from hashscan.model import BatchResult
from hashscan.scan.cluster import node
from hashscan.scan.cluster.backlog import Backlog, Slot, Work
from hashscan.scan.cluster.messages import (
    Answer,
    AnswerError,
    Busy,
    Defect,
    Ready,
    Refused,
    Unprepared,
    unpack_answer,
    unpack_greeting,
)
from hashscan.scan.workers.wire import pack_batch


class Tasks:
    """The tasks that were sent, and those that wait for their answers; for one event loop."""

    def __init__(self, client: Client, name: str, broken: Callable[[BaseException], None]) -> None:
        self._client = client
        self._name = name
        self._broken = broken
        self._number = 0
        self._again = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    def send(self, address: str, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function on one worker, and nowhere else."""
        self._number += 1
        return self._client.submit(
            function,
            *arguments,
            key=f"{self._name}-{self._number}",
            workers=[address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )

    async def answer(self, future: Future[Any]) -> Any:
        """Return the result of a function.

        A wait here is never cancelled: Dask requests several answers at once, and all would be cancelled.
        Releasing the future ends the wait as well.
        """
        try:
            return await future.result()
        except (KilledWorker, FutureCancelledError):
            raise
        except Exception:
            # An answer that can't be read makes the other answers of the same request fail, once.
            async with self._again:
                return await future.result()
        finally:
            future.release()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error)


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


PREPARE_SECONDS = 600.0
"""The time limit for a worker to prepare, including its tasks for other scans."""
BUSY_SECONDS = 5.0
"""The time until a worker is asked again that has as many scans as it can."""
DEATHS_MAX = 3
"""The number of times that workers of one machine may die while preparing, before no more of them are
asked."""


class WorkerPreparation:
    """The workers that are asked to prepare; for one event loop."""

    def __init__(
        self,
        tasks: Tasks,
        token: str,
        job: bytes,
        ready: Callable[[str, Ready], None],
        say: Callable[[str], None],
    ) -> None:
        self.refused: dict[tuple[str, str], int] = {}
        """Host and reason of workers that can't take part, and the number of such workers."""
        self.busy: dict[str, str] = {}
        """The hosts of workers that have no room for this scan now, by address."""
        self.dying: set[str] = set()
        """The machines whose workers are not asked any more, because workers died while preparing."""
        self._tasks = tasks
        self._token = token
        self._job = job
        self._ready = ready
        self._say = say
        self._running: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, Future[Any]] = {}
        """The workers that are asked to prepare, and Dask's future of each answer."""
        self._present: frozenset[str] = frozenset()
        self._answered: set[str] = set()
        """The present workers that need not be asked: they are ready, refused or busy."""
        self._deaths: dict[str, int] = {}
        """By machine: the number of checks that found workers dead while preparing, since one was ready."""
        self._died: set[str] = set()
        """The machines with such deaths since the last check."""
        self._lost: set[str] = set()
        """The workers whose death was seen by their absence, before Dask ended their task."""
        self._killed: set[str] = set()
        """The workers whose death Dask reported while they were still listed as present."""

    def __bool__(self) -> bool:
        return bool(self._running)

    @property
    def unanswered(self) -> bool:
        """True if a present worker is still to answer, or to be asked again."""
        return bool(self._unanswered())

    def refresh(self, present: frozenset[str]) -> None:
        for address in self._asked.keys() - present - self._lost:
            self._lost.add(address)
            if address not in self._killed:
                self._died.add(machine_of(address))
            self._asked[address].release()
        self._killed &= present
        for machine in self._died:
            # Counted once, however many died at a time, for example when the machine fails.
            self._count_death(machine)
        self._died.clear()
        self._present = present
        self._answered &= present
        self.busy = {address: host for address, host in self.busy.items() if address in present}
        for address in present - self._answered - self._running.keys():
            if machine_of(address) not in self.dying:
                self._running[address] = self._tasks.start(self._prepare(address))

    def retry(self, address: str) -> None:
        self._answered.discard(address)

    def forget_all(self) -> None:
        """Forget all workers after the loss of the scheduler; workers that are present afterwards are new."""
        self._answered.clear()
        self.busy.clear()

    async def wait_for_answers(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(set(self._running.values()), timeout=seconds)

    def refuse(self, refused: Refused) -> None:
        """Record that a worker can't take part, and report each reason once."""
        key = refused.host, refused.why
        self.refused[key] = self.refused.get(key, 0) + 1
        if self.refused[key] == 1:
            self._say(f"node {refused.host} takes no part: {refused.why}")

    def troubles(self) -> str:
        reasons = [f"{host}: {why}" for host, why in self.refused]
        reasons += [f"{host}: busy with other scans" for host in sorted(set(self.busy.values()))]
        reasons += [f"{machine}: a worker did not answer" for machine in sorted(self._unanswered())]
        reasons += [
            f"{machine}: a worker was lost as it prepared"
            for machine in sorted(self._deaths.keys() - self.dying)
        ]
        return "; ".join(reasons)

    def _unanswered(self) -> set[str]:
        """Return the machines of workers that are present and have not answered."""
        return {machine_of(address) for address in self._present - self._answered} - self.dying

    async def _prepare(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        future = self._tasks.send(address, node.prepare, self._token, self._job)
        self._asked[address] = future
        late = loop.call_later(PREPARE_SECONDS, future.release)
        until = late.when()
        try:
            answer = unpack_greeting(await self._tasks.answer(future))
        except AnswerError as error:
            answer = Refused(address, f"its answer is not valid: {error}")
        except (KilledWorker, FutureCancelledError) as error:
            if isinstance(error, KilledWorker) and address not in self._lost:
                self._killed.add(address)
                self._died.add(machine_of(address))
            if loop.time() < until:
                # The worker or the scheduler was lost. If the worker is still present, it is asked again.
                return
            answer = Refused(address, f"it did not get ready within {PREPARE_SECONDS:.0f} s")
        except Exception as error:
            answer = Refused(address, f"it can't run hashscan's tasks: {first_line(error)}")
        finally:
            late.cancel()
            del self._running[address], self._asked[address]
            self._lost.discard(address)
        if address not in self._present:
            return
        self._answered.add(address)
        self.busy.pop(address, None)
        match answer:
            case Refused():
                self.refuse(answer)
            case Busy(host):
                self._wait(address, host)
            case Ready():
                self._killed.discard(address)
                self._deaths.pop(machine_of(address), None)
                self._ready(address, answer)

    def _wait(self, address: str, host: str) -> None:
        if host not in self.busy.values():
            self._say(f"node {host} has as many other scans as it can; it is asked again")
        self.busy[address] = host
        asyncio.get_running_loop().call_later(BUSY_SECONDS, self.retry, address)

    def _count_death(self, machine: str) -> None:
        self._deaths[machine] = self._deaths.get(machine, 0) + 1
        if self._deaths[machine] == DEATHS_MAX:
            self.dying.add(machine)
            self.refuse(Refused(machine, f"its workers died {DEATHS_MAX} times as they prepared"))


def machine_of(address: str) -> str:
    """Return the host of a worker's address; it is equal for all workers of a node."""
    return urlsplit(address).hostname or address


POLL_SECONDS = 0.5
"""The interval between two checks of the present workers."""
ANSWER_SECONDS = 60.0
"""The time limit for the scheduler to list its workers."""
NO_WORKER_SECONDS = 60.0
"""The time that a running scan waits for a worker when none is left."""
SCHEDULER_SECONDS = 20.0
"""The time that a scheduler may be unreachable before the scan ends without it."""
RELEASE_SECONDS = 3.0


class ClusterDefect(Exception):
    """A defect of hashscan on a node; the message ends with the node's traceback."""


class Dispatcher:
    """The event loop's part of a cluster pool."""

    def __init__(
        self, client: Client, token: str, job: bytes, say: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        self.slots: dict[str, Slot] = {}
        self.met: dict[str, Ready] = {}
        """Every worker that was ever ready, by address."""
        self.lost = 0
        self.failure = ""
        self._client = client
        self._tasks = Tasks(client, f"hashscan-{token}", self._broken)
        self.preparing = WorkerPreparation(self._tasks, token, job, self._ready, say)
        self._token = token
        self._say = say
        self._changed = changed
        self._backlog = Backlog()
        self._closing = False

    # Present workers --------------------------------------------------------------------------------------

    async def refresh_workers(self) -> None:
        """Find new and lost workers."""
        if self._client.status != "running":
            raise OSError("the connection to it is lost")
        scheduler: Any = self._client.scheduler
        present = frozenset(await asyncio.wait_for(scheduler.ncores(), ANSWER_SECONDS))
        for address in self.slots.keys() - present:
            self._worker_lost(self.slots[address])
        self.preparing.refresh(present)

    def begin(self) -> asyncio.Task[None]:
        """Start watching in the background; the caller cancels the task at the end."""
        return self._tasks.start(self._watch())

    async def _watch(self) -> None:
        """Check at intervals, until the cluster is lost or the task is cancelled."""
        loop = asyncio.get_running_loop()
        here = with_worker = loop.time()
        while not self.failure:
            await asyncio.sleep(POLL_SECONDS + len(self.slots) / 1000)
            now = loop.time()
            try:
                await self.refresh_workers()
                here = now
            except (OSError, TimeoutError) as error:
                # Dask continues to connect; a scheduler that was restarted works as before.
                if now - here > SCHEDULER_SECONDS or self._client.status not in {"running", "connecting"}:
                    self._give_up(f"the scheduler is gone: {error or type(error).__name__}")
                continue
            self._backlog.retry_expired_suspects(now)
            if self.slots or self.preparing:
                with_worker = now
            elif now - with_worker > NO_WORKER_SECONDS:
                troubles = self.preparing.troubles()
                self._give_up(f"no worker is left{': ' if troubles else ''}{troubles}")
            self._hand_out()

    def _ready(self, address: str, ready: Ready) -> None:
        self.slots[address] = Slot(address, ready)
        self.met[address] = ready
        self._changed()
        self._backlog.node_has_new_worker(ready.node)
        self._hand_out()

    def _remove_worker(self, slot: Slot) -> list[Work]:
        self.slots.pop(slot.address, None)
        works = list(slot.busy)
        for future in slot.busy.values():
            future.release()
        slot.busy.clear()
        self._changed()
        return works

    def _worker_lost(self, slot: Slot) -> None:
        self.lost += 1
        self._say(f"node {slot.ready.host} lost a worker; its files are tried again")
        self._backlog.lost(self._remove_worker(slot), slot.ready.node, asyncio.get_running_loop().time())

    def _disconnected(self) -> None:
        """Handle the loss of the scheduler and all its data; none of the running batches is the cause."""
        self._say("the scheduler is out of reach; waiting for it")
        for slot in list(self.slots.values()):
            self._backlog.requeue(self._remove_worker(slot))
        self.preparing.forget_all()

    # Assigned batches --------------------------------------------------------------------------------------

    def submit(self, work: Work) -> None:
        if self.failure:
            work.give_up(self.failure)
            return
        self._backlog.add(work)
        self._hand_out()

    def _hand_out(self) -> None:
        if self._client.status != "running":
            # A message sent now would be delivered later, when the workers may be others.
            return
        for slot, work in self._backlog.assign(self.slots.values()):
            future = self._tasks.send(slot.address, node.check, self._token, pack_batch(work.batch))
            slot.busy[work] = future
            self._tasks.start(self._receive(slot, work, future))

    async def _receive(self, slot: Slot, work: Work, future: Future[Any]) -> None:
        answer = await self._answer(slot, work, future)
        if work not in slot.busy or self._closing:
            # The worker was found to be lost meanwhile, and another worker has the batch.
            return
        if not isinstance(answer, BatchResult) and self._client.status != "running":
            self._disconnected()
            return
        match answer:
            case BatchResult():
                del slot.busy[work]
                work.finish(answer)
            case Defect(host, traceback):
                del slot.busy[work]
                work.fail(ClusterDefect(f"on node {host}:\n{traceback}"))
            case Refused():
                # It answers, but can't do its work: none of its batches is the cause.
                self._backlog.requeue(self._remove_worker(slot))
                self.preparing.refuse(answer)
            case Unprepared(process) if process == slot.ready.process:
                # It works, but has removed this scan to make room for another one.
                self._backlog.requeue(self._remove_worker(slot))
                self.preparing.retry(slot.address)
            case Unprepared():
                self._worker_lost(slot)
                # If the address is still in use, it is another process's, which isn't prepared.
                self.preparing.retry(slot.address)
        self._hand_out()

    async def _answer(self, slot: Slot, work: Work, future: Future[Any]) -> Answer:
        """Return the answer of a worker; one that can't be used counts as a refusal."""
        try:
            return unpack_answer(await self._tasks.answer(future), work.batch)
        except (KilledWorker, FutureCancelledError):
            return Unprepared()
        except AnswerError as error:
            return Refused(slot.ready.host, f"its answer is not valid: {error}")
        except Exception as error:
            return Refused(slot.ready.host, f"its answer can't be used: {first_line(error)}")

    def _broken(self, error: BaseException) -> None:
        """Handle a defect of ours, and pass it on to all callers that wait."""
        self._give_up(f"{type(error).__name__}: {error}", error)

    def _give_up(self, why: str, error: BaseException | None = None) -> None:
        """End all work: each batch becomes unreadable, or ends with the error."""
        self.failure = f"the cluster is lost: {why}"
        self._say(self.failure)
        every = self._backlog.drain()
        for slot in list(self.slots.values()):
            every += self._remove_worker(slot)
        self._changed()
        for work in every:
            if error is None:
                work.give_up(self.failure)
            else:
                work.fail(error)

    async def close(self) -> None:
        """Have the workers release the scan, if they answer."""
        self._closing = True
        for future in [f for slot in self.slots.values() for f in slot.busy.values()]:
            future.release()
        if self.slots and self._client.status == "running":
            releases = [self._tasks.send(address, node.release, self._token) for address in self.slots]
            await asyncio.wait(
                [self._tasks.start(self._released(f)) for f in releases], timeout=RELEASE_SECONDS
            )
            for future in releases:
                future.release()

    async def _released(self, future: Future[Any]) -> None:
        with contextlib.suppress(KilledWorker, FutureCancelledError):
            await self._tasks.answer(future)
