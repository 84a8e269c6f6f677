"""Send batches to the workers of a cluster, detect new and lost workers, and retry lost batches.

Every batch is sent to one named worker, so Dask never moves it: a file that kills its worker must not go from
one worker to the next.

All of this runs in one thread with an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from hashscan.model import BatchResult
from hashscan.scan.cluster import node
from hashscan.scan.cluster.backlog import Backlog
from hashscan.scan.cluster.messages import AnswerError, Defect, Ready, Refused, Unprepared
from hashscan.scan.cluster.preparing import WorkerPreparation
from hashscan.scan.cluster.results import Answer, unpack_answer
from hashscan.scan.cluster.tasks import Tasks, first_line
from hashscan.scan.cluster.work import Slot, Work
from hashscan.scan.workers.wire import pack_batch

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
        """Start without workers.

        Args:
            client: the connected client.
            token: the scan's name on the cluster.
            job: the message that each worker gets first.
            say: called with messages for the operator.
            changed: called whenever the number of workers changes.
        """
        self.slots: dict[str, Slot] = {}
        """Workers that are ready, by address."""
        self.met: dict[str, Ready] = {}
        """Every worker that was ever ready, by address."""
        self.lost = 0
        """The number of those that were lost."""
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
        """Find new and lost workers.

        Raises:
            OSError, TimeoutError: the scheduler can't be reached.
        """
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
        """Remove a worker, and return the batches that it had."""
        self.slots.pop(slot.address, None)
        works = list(slot.busy)
        for future in slot.busy.values():
            future.release()
        slot.busy.clear()
        self._changed()
        return works

    def _worker_lost(self, slot: Slot) -> None:
        """Handle the loss of a worker."""
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
        """Queue a batch to be checked."""
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
                work.settle(answer)
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
            return Refused(slot.ready.host, f"its answer makes no sense: {error}")
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
