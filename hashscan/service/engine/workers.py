"""Keep the worker processes of the engine, and hand out requests to them, from an asyncio loop.

Each worker has a socket of its own, which the loop reads itself: a thread in between would cost more than
matching does. So it is always known which request a process died of, and there is no shared lock that it
could leave locked. A request whose worker died is tried once more by another worker. A process that is stuck
in the kernel (`scan.workers.watchdog`) is killed, and given up if it doesn't die.

Clients take turns, and so do the parties of each (`waiting`). A worker goes on with the owner that its
decoder knows for a few requests, since a new decoder takes longer than a small picture. A client or a party
that holds workers for long doesn't get the last one.

A worker that doesn't get ready, or doesn't open new lists, within `PREPARE_SECONDS` is killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence, Set
from contextlib import suppress
from multiprocessing.context import ForkServerContext

from hashscan import errors
from hashscan.errors import HashscanError, WorkersError
from hashscan.model import SandboxLevel
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.process_setup import warm_up
from hashscan.scan.workers.processes import (
    END_SECONDS,
    FAILED_STARTS_ALLOWED,
    send_signal,
)
from hashscan.scan.workers.watchdog import Progress, StuckLimits
from hashscan.service.engine.messages import (
    Channel,
    Failed,
    GivenUp,
    Ready,
    Reply,
    Unusable,
    Used,
    decode_reply,
)
from hashscan.service.engine.setup_changes import SetupChanges
from hashscan.service.engine.uploads import Overloaded, Turn, Unchecked
from hashscan.service.engine.waiting import Task, WaitingTasks
from hashscan.service.engine.worker_handle import WorkerHandle, best_of, reap
from hashscan.service.engine.worker_process import GIVE_UP, EngineSetup, run

_log = logging.getLogger(__name__)

LIMITS = StuckLimits(seconds=60.0, again_seconds=0.0)
"""A read that takes longer than this has no end; a service does not wait as long as a scan does."""

STREAK, STREAK_SECONDS = 8, 0.1
"""Requests of one owner that a worker takes in a row while others wait, and the time in which they begin."""

PARKED = 8
"""Decoders that each worker keeps for owners besides the one that it serves."""

LEAVE_SECONDS = 1.0
"""Time that a request gets to end when its client has left."""
GIVE_UP_SECONDS = 2.0
"""Time that a worker gets to give it up; then it is ended."""

SLOW_SECONDS = 1.0
"""A request that runs longer is slow: its party does not get the last worker meanwhile."""
SLOW_ALLOWED, OTHERS_SECONDS = 1, 60.0
"""Slow requests of one client with which it gets the last worker even if another client has asked lately, and
how long that is."""

PREPARE_SECONDS = 60.0
"""Time that a worker gets until it is ready, and to open new lists."""

_START_PAUSES = (0.0, 0.2, 1.0, 5.0, 15.0)
"""Seconds before the next start, by the number of starts that have failed in a row."""

LOST_MAX = 16
"""Workers that were given up because they don't even die; with so many, no passed descriptor is read."""


class WorkerDied(Exception):
    """The error that two workers have died of a request."""


class WorkerStuck(Exception):
    """The error that a worker was stuck in a request."""


class WorkerPool:
    """The workers, and the requests that wait for one."""

    def __init__(
        self,
        setup: EngineSetup,
        workers: int,
        queue_max: int,
        queue_seconds: float,
        limits: StuckLimits = LIMITS,
        unused: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare the fork server; `unused` is called when a worker has ceased to use a setup; see
        `setups`."""
        self.sandbox: SandboxLevel | None = None
        """The sandbox level of the worker that was started last."""
        self.lost = 0
        """Processes that were given up, since the kernel can't end them."""
        self.deaths = 0
        """Workers that died."""
        self.number = workers
        self._queue_max = queue_max
        self._queue_seconds = queue_seconds
        self._limits = limits
        self._unused = unused
        self._setups = SetupChanges(setup, self, unused)
        self._context: ForkServerContext = warm_up(["hashscan.service.engine.worker_process"])
        self._decode_cache = DecodeCache()
        self._loop = asyncio.get_running_loop()
        self.workers: list[WorkerHandle] = []
        self._waiting = WaitingTasks()
        self._asked: OrderedDict[str, float] = OrderedDict()
        """The two clients that have asked last, and when."""
        self._failed_starts = 0
        self._starting_works = asyncio.Event()
        """Set when a worker is ready after the last failed start, or the pool closes: no pause is needed."""
        self._filling: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._looking: asyncio.TimerHandle | None = None
        self._looked = time.monotonic()
        self._background: set[asyncio.Task[None]] = set()
        self.closing = False

    @property
    def running(self) -> int:
        return sum(worker.task is not None for worker in self.workers)

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def setup(self) -> EngineSetup:
        """The setup by which requests that are handed out now are answered."""
        return self._setups.current

    def setups(self) -> list[EngineSetup]:
        return self._setups.in_use()

    async def use(self, setup: EngineSetup) -> str:
        return await self._setups.use(setup)

    def pids(self) -> list[int]:
        return [pid for worker in self.workers if (pid := worker.process.pid) is not None]

    async def start(self) -> None:
        self._fill()
        self._look_later()
        await self._ready

    # Requests

    def submit(self, turn: Turn, owner: int, message: bytes, descriptor: int = -1) -> Task:
        """Hand a request to a worker, or put it into the queue; the task's future gets the reply, or
        WorkerDied, WorkerStuck, Overloaded or Unchecked. `turn` says who asks (`Client.turn`), the owner
        which decoder is chosen; the descriptor is sent with it, and must stay open until the future is done.
        If the queue is full, the client with the most requests in it loses one to a client with fewer."""
        task = Task(turn, owner, message, descriptor, self._loop.create_future())
        if self.closing or (not self.workers and self._failed_starts > FAILED_STARTS_ALLOWED):
            raise Unchecked("there are no workers")
        self._note_asked(turn[0])
        idle = self.idle() if not self._waiting else ()
        if idle and self._held_back(idle).isdisjoint((turn, turn[0])):
            self._give(best_of(idle, owner), task)
            return task
        if self.queued >= self._queue_max:
            self._make_room(turn[0])
        self._enqueue(task)
        self._hand_out()
        return task

    def leave(self, task: Task) -> None:
        """Give a request up, since its client has left: at once if it waits, else after a second."""
        if not task.future.cancel() and not task.future.cancelled() and task.future.exception() is None:
            # The client has left after the answer came, and before it was taken.
            _, descriptor = task.future.result()
            if descriptor >= 0:
                os.close(descriptor)
        _end_timer(task)
        if (worker := self._worker_of(task)) is not None:
            task.timer = self._loop.call_later(LEAVE_SECONDS, self._interrupt, task, worker)
        else:
            self._waiting.remove(task)

    def _enqueue(self, task: Task, *, first: bool = False) -> None:
        self._waiting.add(task, first=first)
        # Also when it waits once more, since its worker has died: there may be no other for long.
        task.timer = self._loop.call_later(self._queue_seconds, self._expire, task)

    def _make_room(self, client: str) -> None:
        """Take a request of another client out of a full queue; Overloaded if no other client has more
        requests in it."""
        full = Overloaded(f"{self.queued} uploads wait already")
        if (task := self._waiting.too_many(client)) is None:
            raise full
        self._waiting.remove(task)
        _end_timer(task)
        if not task.future.done():
            task.future.set_exception(full)

    def _expire(self, task: Task) -> None:
        task.timer = None
        self._waiting.remove(task)
        if not task.future.done():
            task.future.set_exception(Overloaded(f"no worker was free within {self._queue_seconds:g} s"))

    def _worker_of(self, task: Task) -> WorkerHandle | None:
        return next((worker for worker in self.workers if worker.task is task), None)

    def idle(self) -> list[WorkerHandle]:
        return [m for m in self.workers if m.ready and m.task is None and m.killed is None]

    def _note_asked(self, client: str) -> None:
        if not client:
            return  # a probe of the service itself
        self._asked[client] = time.monotonic()
        self._asked.move_to_end(client)
        if len(self._asked) > 2:
            self._asked.popitem(last=False)

    def _hand_out(self) -> None:
        while self._waiting and (idle := self.idle()):
            worker, task = self._pair(idle, self._held_back(idle))
            if task is None:
                return
            self._waiting.take(task)
            _end_timer(task)
            self._give(worker, task)

    def _held_back(self, idle: Sequence[WorkerHandle]) -> frozenset[Turn | str]:
        """Return the parties and the clients that hold workers for long, and so must leave the last one."""
        if len(idle) > 1 or len(self.workers) == 1:
            return frozenset()
        now = time.monotonic()
        slow = [m.task.turn for m in self.workers if m.task is not None and m.begun < now - SLOW_SECONDS]
        clients = {
            client
            for client, number in Counter(client for client, _ in slow).items()
            if number > SLOW_ALLOWED
            and any(who != client and now - at < OTHERS_SECONDS for who, at in self._asked.items())
        }
        return frozenset((*slow, *clients))

    def _pair(self, idle: list[WorkerHandle], slow: Set[Turn | str]) -> tuple[WorkerHandle, Task | None]:
        """Return the worker and the request that are next; nothing of `slow` is."""
        late = time.monotonic() - STREAK_SECONDS
        for worker in idle:
            task = self._waiting.of_owner(worker.owner)
            goes_on = worker.streak < STREAK and worker.streak_begun > late
            if goes_on and task is not None and slow.isdisjoint((task.turn, task.turn[0])):
                return worker, task
        task = self._waiting.next(slow)
        return (idle[0] if task is None else best_of(idle, task.owner)), task

    def _give(self, worker: WorkerHandle, task: Task) -> None:
        worker.owner, worker.task, worker.begun, before = task.owner, task, time.monotonic(), worker.owner
        worker.streak = worker.streak + 1 if before == task.owner else 1
        if worker.streak == 1:
            worker.streak_begun = worker.begun
        worker.known[task.owner] = None
        worker.known.move_to_end(task.owner)
        if len(worker.known) > PARKED + 1:
            worker.known.popitem(last=False)
        worker.progress.begin()
        try:
            worker.channel.send(task.message, task.descriptor)
        except OSError as error:
            # It has ended, or it will be; it never received this request.
            _log.debug("a worker takes nothing: %s", error)
            worker.task = None
            self.kill(worker)
            self._enqueue(task, first=True)

    def _interrupt(self, task: Task, worker: WorkerHandle) -> None:
        """Have a worker give a request up; end it if it doesn't."""
        task.timer = None
        if worker.task is task:
            send_signal(worker.process, GIVE_UP)
            task.timer = self._loop.call_later(GIVE_UP_SECONDS, self._end_left, task, worker)

    def _end_left(self, task: Task, worker: WorkerHandle) -> None:
        task.timer = None
        if worker.task is task:
            self.kill(worker)

    # Replies

    def _receive(self, worker: WorkerHandle) -> None:
        try:
            message, descriptor = worker.channel.receive()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._remove(worker)
            return
        reply = decode_reply(message)
        if isinstance(reply, Used):
            self._setups.note_used(worker, reply)
        elif isinstance(reply, Ready):
            worker.ready = True
            self.end_preparing(worker)
            self.sandbox = reply.sandbox
            self._failed_starts = 0
            self._starting_works.set()
            if not self._ready.done():
                self._ready.set_result(None)
            self._setups.note_ready(worker)
        elif isinstance(reply, Unusable):
            worker.failure = _error_of(reply)
        else:
            self._conclude(worker, reply, descriptor)
        if worker.ready and worker.task is None:
            self._setups.take(worker)
            self._hand_out()

    def _conclude(self, worker: WorkerHandle, reply: Reply, descriptor: int) -> None:
        task, worker.task = worker.task, None
        assert task is not None
        _end_timer(task)
        if task.future.done():
            if descriptor >= 0:
                os.close(descriptor)
        elif isinstance(reply, GivenUp):
            # The signal came late, and met this request instead of the one before.
            self._enqueue(task, first=True)
        elif isinstance(reply, Failed):
            _log.error("a worker met a defect:\n%s", reply.traceback)
            task.future.set_exception(Unchecked("a defect was met; see the log"))
        else:
            task.future.set_result((reply, descriptor))

    # Processes

    def _fill(self) -> None:
        if self._filling is None and not self.closing:
            self._filling = self._loop.create_task(self._start_missing())

    async def _start_missing(self) -> None:
        try:
            while not self.closing and len(self.workers) < self.number and await self._pause():
                if len(self.workers) >= self.number:
                    break  # One was started meanwhile to try other lists.
                try:
                    await self.start_one(self.setup)
                except (OSError, EOFError) as error:
                    # No descriptor, process or memory is left; or the fork server was killed.
                    self.count_failed_start(WorkersError(f"no worker can be started: {error}"))
        finally:
            self._filling = None

    async def _pause(self) -> bool:
        """Wait before the next start; return False if the pool is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_PAUSES[min(self._failed_starts, len(_START_PAUSES) - 1)]):
                await self._starting_works.wait()
        return not self.closing

    async def start_one(self, setup: EngineSetup) -> WorkerHandle:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            process = self._context.Process(
                target=run, args=(theirs, setup, self._decode_cache), name="worker", daemon=True
            )
            # Not in the loop: the fork server may be busy, and has to be started again if it was killed.
            await asyncio.to_thread(process.start)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        worker = WorkerHandle(process, Channel(ours), setup, Progress(self._limits))
        self.workers.append(worker)
        self.begin_preparing(worker)
        if self.closing:
            self._remove(worker)
        else:
            self._loop.add_reader(ours, self._receive, worker)
        return worker

    def begin_preparing(self, worker: WorkerHandle) -> None:
        worker.preparing = self._loop.call_later(PREPARE_SECONDS, self._end_unprepared, worker)

    def end_preparing(self, worker: WorkerHandle) -> None:
        if worker.preparing is not None:
            worker.preparing.cancel()
            worker.preparing = None

    def _end_unprepared(self, worker: WorkerHandle) -> None:
        """End a worker that takes too long to be ready, or to open lists."""
        worker.failure = WorkersError(f"a worker is not ready within {PREPARE_SECONDS:g} s")
        _log.warning("%s, and is ended", worker.failure)
        self.kill(worker)

    def kill(self, worker: WorkerHandle) -> None:
        if worker.killed is None:
            worker.killed = time.monotonic()
            send_signal(worker.process, signal.SIGKILL)
            self._loop.call_later(END_SECONDS, self._give_up_on, worker)

    def in_background(self, work: Coroutine[object, object, None]) -> None:
        """Do work beside the requests; `close` waits for it."""
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _give_up_on(self, worker: WorkerHandle) -> None:
        """Let a process that doesn't die go."""
        if worker in self.workers:
            self.lost += 1
            self._remove(worker)

    def _remove(self, worker: WorkerHandle) -> None:
        """Forget a worker that has ended, or is given up; its request is tried once more."""
        self.workers.remove(worker)
        self.end_preparing(worker)
        self._loop.remove_reader(worker.channel.socket)
        worker.channel.socket.close()
        self.in_background(asyncio.to_thread(reap, worker.process))
        if self.closing:
            return
        self.deaths += 1
        self._setups.note_ended(worker)
        task, worker.task = worker.task, None
        if task is not None:
            self._try_again(task, worker)
        self._unused()
        self._fill()
        self._hand_out()
        self._setups.try_candidate()

    def _try_again(self, task: Task, worker: WorkerHandle) -> None:
        _end_timer(task)
        if task.future.done():
            return
        if worker.progress.stalled_seconds >= self._limits.seconds:
            task.future.set_exception(WorkerStuck(f"no progress for {self._limits.seconds:g} s"))
            return
        # One that was to open lists before has not begun with the request.
        task.deaths += not worker.uses
        if task.deaths >= 2:
            task.future.set_exception(WorkerDied())
        else:
            self._enqueue(task, first=True)

    def count_failed_start(self, error: HashscanError) -> None:
        self._failed_starts += 1
        self._starting_works.clear()
        if not self._ready.done() and (
            not isinstance(error, WorkersError) or self._failed_starts > FAILED_STARTS_ALLOWED
        ):
            self._ready.set_exception(error)
        elif self._failed_starts > FAILED_STARTS_ALLOWED:
            if self._failed_starts == FAILED_STARTS_ALLOWED + 1:
                _log.error("%s. %s", error, error.remedy)
            if not any(worker.ready for worker in self.workers):
                self._fail(self._waiting.clear(), f"there are no workers: {error}")

    def _fail(self, tasks: Iterable[Task], reason: str) -> None:
        for task in tasks:
            _end_timer(task)
            if not task.future.done():
                task.future.set_exception(Unchecked(reason))

    def _look_later(self) -> None:
        self._looking = self._loop.call_later(self._limits.look_seconds, self._look)

    def _look(self) -> None:
        """Find the workers that are stuck, and end them."""
        now = time.monotonic()
        # If more time has passed, this process was stopped itself.
        elapsed = min(now - self._looked, 2 * self._limits.look_seconds)
        self._looked = now
        for worker in list(self.workers):
            if worker.task is None or worker.killed is not None or worker.process.pid is None:
                continue
            worker.progress.check(worker.process.pid, elapsed)
            if worker.progress.stalled_seconds >= self._limits.seconds:
                self.kill(worker)
        self._look_later()

    async def close(self) -> None:
        """End the workers at once; requests in progress raise Unchecked."""
        self.closing = True
        if self._looking is not None:
            self._looking.cancel()
        running = [m.task for m in self.workers if m.task is not None]
        self._fail([*self._waiting.clear(), *running], "the service stops")
        self._starting_works.set()
        if self._filling is not None:
            # A process that it has begun to start is ended like the others.
            await asyncio.wait([self._filling])
        for worker in list(self.workers):
            self._remove(worker)
        if self._background:
            await asyncio.wait(self._background)
        self._decode_cache.close()


def _end_timer(task: Task) -> None:
    if task.timer is not None:
        task.timer.cancel()
        task.timer = None


def _error_of(reply: Unusable) -> HashscanError:
    kind = getattr(errors, reply.kind, WorkersError)
    error: HashscanError = kind(reply.message, advice=reply.remedy)
    return error
