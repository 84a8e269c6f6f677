"""Hands batches to the workers of a cluster, watches who comes and goes, and tries again what was lost.

Every batch is given to one worker by name, so Dask never moves it: a file that kills its worker must not go
from one to the next. When a worker is lost, each file of its batches is tried alone, by a worker that has
nothing else. If that is lost as well, it is the file that did it, provided that the node starts another
worker; a node that is silent instead has gone as a whole, and the file is tried elsewhere.

All of this runs in one thread with an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from hashscan.model import BatchResult
from hashscan.scan.cluster import node
from hashscan.scan.cluster.messages import (
    Answer,
    AnswerError,
    Defect,
    Ready,
    Refused,
    Unprepared,
    unpack_answer,
    unpack_greeting,
)
from hashscan.scan.cluster.tasks import Tasks
from hashscan.scan.cluster.work import Slot, Suspect, Work
from hashscan.scan.wire import pack_batch

BATCHES_PER_WORKER = 2
LOOK_SECONDS = 0.5
"""Between two looks at who is there."""
ANSWER_SECONDS = 60.0
"""For the scheduler to say who is there."""
LONELY_SECONDS = 60.0
"""How long a sweep that has begun waits for a worker when there is none left."""
RETURN_SECONDS = 30.0
"""For a node to start another worker in place of one that died."""
SCHEDULER_SECONDS = 20.0
"""How long a scheduler may be out of reach before the sweep ends without it."""
LOSSES_MAX = 3
"""Machines that may go away over a file before it is given up."""
RELEASE_SECONDS = 3.0


class ClusterDefect(Exception):
    """Something in hashscan broke on a node; the message ends with the node's traceback."""


class Dispatcher:
    """The event loop's side of a pool."""

    def __init__(
        self, client: Client, token: str, job: bytes, say: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        """Begin with nobody.

        Args:
            client: connected.
            token: names the sweep.
            job: what each worker is to be told first.
            say: takes messages for a person.
            changed: called whenever there are more or fewer workers.
        """
        self.slots: dict[str, Slot] = {}
        """Workers that are ready, by address."""
        self.refused: dict[tuple[str, str], int] = {}
        """Host and reason of workers that can't take part, and how many there are."""
        self.met: dict[str, Ready] = {}
        """Every worker that was ever ready, by address."""
        self.lost = 0
        """How many of those went away."""
        self.failure = ""
        self._client = client
        self._tasks = Tasks(client, f"hashscan-{token}", self._broken)
        self._token = token
        self._job = job
        self._say = say
        self._changed = changed
        self._waiting: deque[Work] = deque()
        self._alone: deque[Work] = deque()
        self._suspects: list[Suspect] = []
        self._known: set[str] = set()
        """Addresses of all workers of the scheduler at the last look."""
        self._preparing: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, Future[Any]] = {}
        """Who is asked to prepare, and Dask's word for the answer."""
        self._closing = False

    # Who is there ---------------------------------------------------------------------------------------

    async def look(self) -> None:
        """See which workers came and which went.

        Raises:
            OSError, TimeoutError: the scheduler can't be reached.
        """
        if self._client.status != "running":
            raise OSError("the connection to it is lost")
        scheduler: Any = self._client.scheduler
        present = set(await asyncio.wait_for(scheduler.ncores(), ANSWER_SECONDS))
        for address in self._known - present:
            self._lose(address)
        for address in present - self._known:
            task = self._tasks.start(self._prepare(address))
            self._preparing[address] = task
        self._known = present

    async def settle_in(self, seconds: float) -> None:
        """Wait until the workers that were seen are ready or refused."""
        if self._preparing:
            await asyncio.wait(set(self._preparing.values()), timeout=seconds)

    def begin(self) -> asyncio.Task[None]:
        """Go on to watch; the task is to be cancelled at the end."""
        return self._tasks.start(self._watch())

    async def _watch(self) -> None:
        """Look again and again, until the cluster is lost or the task is cancelled."""
        loop = asyncio.get_running_loop()
        here = with_worker = loop.time()
        while not self.failure:
            await asyncio.sleep(LOOK_SECONDS + len(self._known) / 1000)
            now = loop.time()
            try:
                await self.look()
                here = now
            except (OSError, TimeoutError) as error:
                # Dask goes on to connect; a scheduler that was started again is as good as ever.
                if now - here > SCHEDULER_SECONDS or self._client.status not in {"running", "connecting"}:
                    self._give_up(f"the scheduler is gone: {error or type(error).__name__}")
                continue
            self._judge_suspects(now)
            if self.slots or self._preparing:
                with_worker = now
            elif now - with_worker > LONELY_SECONDS:
                self._give_up("no worker is left")
            self._hand_out()

    async def _prepare(self, address: str) -> None:
        future = self._tasks.send(address, node.prepare, self._token, self._job)
        self._asked[address] = future
        try:
            answer = unpack_greeting(await self._tasks.answer(future))
        except AnswerError as error:
            answer = Refused(address, f"its answer makes no sense: {error}")
        except (KilledWorker, FutureCancelledError):
            # Its worker or the scheduler went away. Where it is still there, it is asked again.
            self._known.discard(address)
            return
        except Exception as error:
            answer = Refused(address, f"it can't run hashscan's tasks: {_first_line(error)}")
        finally:
            del self._preparing[address], self._asked[address]
        if address not in self._known:
            return
        if isinstance(answer, Refused):
            self._refuse(answer)
            return
        self.slots[address] = Slot(address, answer)
        self.met[address] = answer
        self._changed()
        for suspect in [s for s in self._suspects if s.node == answer.node]:
            # The machine is well, so it was the file.
            self._suspects.remove(suspect)
            suspect.work.give_up("the worker that had it died, and so did one that had nothing else")
        self._hand_out()

    def _refuse(self, refused: Refused) -> None:
        key = refused.host, refused.why
        self.refused[key] = self.refused.get(key, 0) + 1
        if self.refused[key] == 1:
            self._say(f"node {refused.host} takes no part: {refused.why}")

    def _lose(self, address: str) -> None:
        """A worker is gone, or must not be asked again."""
        if address in self._asked:
            self._asked[address].release()
        slot = self.slots.pop(address, None)
        if slot is None:
            return
        self.lost += 1
        self._say(f"node {slot.ready.host} lost a worker; its files are tried again")
        loop = asyncio.get_running_loop()
        for work, future in slot.busy.items():
            future.release()
            if work.alone:
                self._suspects.append(Suspect(work, slot.ready.node, loop.time() + RETURN_SECONDS))
            else:
                self._alone.extend(work.apart())
        slot.busy.clear()
        self._changed()

    def _leave_out(self, slot: Slot, refused: Refused) -> None:
        """A worker that answers, but can't do its work: nothing it had is to blame."""
        self.slots.pop(slot.address, None)
        self._refuse(refused)
        for work, future in slot.busy.items():
            future.release()
            (self._alone if work.alone else self._waiting).appendleft(work)
        slot.busy.clear()
        self._changed()

    def _disconnected(self) -> None:
        """The scheduler went away, and all it knew with it; nothing that was under way is to blame."""
        self._say("the scheduler is out of reach; waiting for it")
        for slot in self.slots.values():
            for work, future in slot.busy.items():
                future.release()
                (self._alone if work.alone else self._waiting).append(work)
            slot.busy.clear()
        self.slots.clear()
        self._known.clear()
        self._changed()

    def _judge_suspects(self, now: float) -> None:
        for suspect in [s for s in self._suspects if s.deadline < now]:
            self._suspects.remove(suspect)
            suspect.work.losses += 1
            if suspect.work.losses >= LOSSES_MAX:
                suspect.work.give_up(f"{LOSSES_MAX} machines were lost while they had it")
            else:
                self._alone.append(suspect.work)

    # Who has what ---------------------------------------------------------------------------------------

    def take(self, work: Work) -> None:
        """Have a batch checked."""
        if self.failure:
            work.give_up(self.failure)
            return
        self._waiting.append(work)
        self._hand_out()

    def _hand_out(self) -> None:
        if self._client.status != "running":
            # What is sent now would be sent later, when there may be other workers.
            return
        while self._alone and (idle := next((s for s in self.slots.values() if not s.busy), None)):
            self._give(idle, self._alone.popleft())
        free = [s for s in self.slots.values() if len(s.busy) < BATCHES_PER_WORKER and not s.reserved]
        if self._alone and not any(slot.reserved for slot in self.slots.values()) and free:
            # One of them gets nothing new until it is idle, or files to be tried alone would wait for ever.
            free.remove(min(free, key=lambda slot: len(slot.busy)))
        while self._waiting and free:
            slot = min(free, key=lambda slot: len(slot.busy))
            self._give(slot, self._waiting.popleft())
            if len(slot.busy) == BATCHES_PER_WORKER:
                free.remove(slot)

    def _give(self, slot: Slot, work: Work) -> None:
        future = self._tasks.send(slot.address, node.check, self._token, pack_batch(work.batch))
        slot.busy[work] = future
        self._tasks.start(self._receive(slot, work, future))

    async def _receive(self, slot: Slot, work: Work, future: Future[Any]) -> None:
        answer: Answer
        try:
            data = await self._tasks.answer(future)
            answer = unpack_answer(data, work.batch)
        except (KilledWorker, FutureCancelledError):
            answer = Unprepared()
        except AnswerError as error:
            answer = Refused(slot.ready.host, f"its answer makes no sense: {error}")
        except Exception as error:
            answer = Refused(slot.ready.host, f"its answer can't be used: {_first_line(error)}")
        if work not in slot.busy or self._closing:
            # The worker was found to be lost meanwhile, and the batch is in other hands.
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
                self._leave_out(slot, answer)
            case Unprepared():
                self._lose(slot.address)
                # Where the address is still in use, another process is behind it, which isn't prepared.
                self._known.discard(slot.address)
        self._hand_out()

    def _broken(self, error: BaseException) -> None:
        """A defect of ours, handed to whoever waits."""
        self._give_up(f"{type(error).__name__}: {error}", error)

    def _give_up(self, why: str, error: BaseException | None = None) -> None:
        """Owe nothing any more: all is unreadable, or ends with an error."""
        self.failure = f"the cluster is lost: {why}"
        self._say(self.failure)
        every = [*self._waiting, *self._alone, *(s.work for s in self._suspects)]
        for slot in self.slots.values():
            every += slot.busy
            for future in slot.busy.values():
                future.release()
            slot.busy.clear()
        self._waiting.clear()
        self._alone.clear()
        self._suspects.clear()
        self.slots.clear()
        self._changed()
        for work in every:
            if error is None:
                work.give_up(self.failure)
            else:
                work.fail(error)

    async def close(self) -> None:
        """Have the workers let go of the sweep, as far as they answer."""
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


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
