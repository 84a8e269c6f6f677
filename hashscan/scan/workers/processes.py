"""Processes that run tasks, each with pipes of its own, so that none can block another by dying.

The messages that a process has written before its death are received before its death is noticed: the end of
its pipe comes last. So it is always known which task it died of, and there is no shared lock that a killed
process could leave locked.

A process that is stuck in the kernel (`watchdog`) is killed. If it doesn't die, another process takes its
place, and nothing waits for it any more: neither for its end, nor for the pipes that it has open.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import pickle
import selectors
import signal
import struct
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import DupFd
from typing import Any

from hashscan.errors import WorkersError
from hashscan.scan.workers.watchdog import Progress, StuckLimits

FAILED_STARTS_ALLOWED = 8
"""The number of processes in a row that may end before they are ready. If they can't start, they must not
be replaced for ever."""

_START_PAUSES = (0.2, 1.0)
"""Seconds between attempts to start a process; there is one attempt more."""

END_SECONDS = 2.0
"""The seconds in which a process must end that was asked to, or was killed, or whose pipe has ended."""

_BUSY_SECONDS = 1.0
"""The time after which no task waits behind the one that a process is running."""

_READY, _TAKEN_BACK = b"", b"-"
"""Messages of a process: it can take tasks; it has not run one, which was taken back."""

_NUMBER = struct.Struct(">Q")
"""The number of a task, before its bytes. As bytes, numbers compare as they are."""


class ProcessDied(Exception):
    """The process that had a task ended before it had answered."""

    def __init__(self, exit_code: int | None) -> None:
        """Store how it ended: an exit code, or the negative number of a signal."""
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class ProcessStuck(Exception):
    """The process that had a task was stuck in it, and was ended or given up."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no progress for {seconds:.0f} s")
        self.seconds = seconds


class TaskRefused(Exception):
    """A task had no patience left when its turn came."""


@dataclass(slots=True)
class _Task:
    payload: bytes
    light: bool
    future: Future[Any]
    patience: Callable[[], float]


def _no_patience() -> float:
    """Return the patience for a task that another process has taken over."""
    return 0.0


class _LastTakenBack:
    """The number of the last task that a process is not to run, in memory that both sides have open."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Begin with 0; without a descriptor, in memory of its own."""
        self._descriptor = os.memfd_create("hashscan-tasks") if descriptor is None else descriptor
        if descriptor is None:
            self.set(0)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self._descriptor),)

    def set(self, number: int) -> None:
        os.pwrite(self._descriptor, _NUMBER.pack(number), 0)

    def has(self, task: bytes) -> bool:
        """Return True if a task, with its number before it, was taken back."""
        return task[: _NUMBER.size] <= os.pread(self._descriptor, _NUMBER.size, 0)

    def close(self) -> None:
        os.close(self._descriptor)


def _received(passed: Any) -> _LastTakenBack:
    return _LastTakenBack(passed.detach())


@dataclass(slots=True, eq=False)
class _Process:
    """One process and its unanswered tasks; it runs the first of these."""

    process: ForkServerProcess
    tasks: Connection
    results: Connection
    progress: Progress
    capacity: int
    """The bytes of tasks that may be unread in its pipe without blocking the sender."""
    taken_back: _LastTakenBack
    since: float = 0.0
    """The time when it could begin with its first task (monotonic clock)."""
    sent: int = 0
    """The number of tasks that it was given."""
    ready: bool = False
    gone: bool = False
    """True if it accepts nothing any more; the end of its results is still to come."""
    killed: float | None = None
    """The time when it was killed because it was stuck (monotonic clock)."""
    given: deque[_Task] = field(default_factory=deque)

    def takes(self, task: _Task) -> bool:
        """Return True if a task may be queued behind the one that it is running."""
        return (
            task.light
            and len(self.given) == 1
            and not self.progress.stalled_seconds
            and time.monotonic() - self.since < _BUSY_SECONDS
            and len(self.given[0].payload) + len(task.payload) <= self.capacity
        )


class Processes:
    """A fixed number of processes; those that die are replaced."""

    def __init__(
        self,
        number: int,
        function: Callable[[Any], Any],
        start: Callable[..., None],
        arguments: tuple[Any, ...],
        context: ForkServerContext,
        limits: StuckLimits,
    ) -> None:
        """Start the processes. `function` and `start`, which is called once in each process, must be
        importable there."""
        self._number = number
        self._parts = (function, start, arguments)
        self._context = context
        self._limits = limits
        self._looked = time.monotonic()
        self._workers: list[_Process] = []
        self._waiting: deque[_Task] = deque()
        self._failed_starts = 0
        self._closing = False
        self._broken: Exception | None = None
        self._heard, self._call = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._heard, selectors.EVENT_READ)
        # A daemon thread is not joined when the interpreter exits early; the processes end with their pipes.
        self._thread = threading.Thread(target=self._run, name="processes", daemon=True)
        self._thread.start()

    def submit(
        self, task: Any, *, light: bool, patience: Callable[[], float] = lambda: math.inf
    ) -> Future[Any]:
        """Run a task in one of the processes; a light one may wait behind another while a process is busy.
        `patience` returns for how many seconds a process may make no progress with the task; it is called
        repeatedly, in the thread that runs the callbacks. A task that starts with 0 is refused. The future
        fails with ProcessDied or ProcessStuck because of the task, or with WorkersError if there are no
        processes any more."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._waiting.append(_Task(pickle.dumps(task), light, future, patience))
        if self._broken is not None:
            self._refuse(self._broken)
        self._wake()
        return future

    def pids(self) -> list[int]:
        return [pid for worker in list(self._workers) if (pid := worker.process.pid) is not None]

    def close(self) -> None:
        """End the processes at once; tasks that aren't done are given up and never answered."""
        self._closing = True
        self._wake()
        self._thread.join()
        os.close(self._call)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # it is awake, or has ended
            os.write(self._call, b"!")

    def _run(self) -> None:
        try:
            while not self._closing:
                while len(self._workers) < self._number:
                    self._add()
                self._hand_out()
                for key, _ in self._selector.select(self._seconds_to_look()):
                    if key.data is None:
                        os.read(self._heard, 4096)
                    else:
                        self._receive(key.data)
                self._check_progress()
        except Exception as error:  # the callers that wait for a result must receive the error
            self._broken = error
            for worker in self._workers:
                self._waiting.extend(worker.given)
            self._refuse(error)
        finally:
            self._end()

    def _add(self) -> None:
        """Start one more process, or continue with fewer if the system refuses it."""
        for pause in (*_START_PAUSES, 0.0):
            try:
                self._start()
            except (OSError, EOFError) as error:
                # No descriptor, process or memory is left; or the fork server was killed.
                failure = error
                time.sleep(pause)
            else:
                return
        if not self._workers:
            raise WorkersError(f"no worker can be started: {failure}") from failure
        self._number = len(self._workers)

    def _start(self) -> None:
        tasks, gives = self._context.Pipe(duplex=False)
        try:
            takes, results = self._context.Pipe(duplex=False)
        except OSError:
            tasks.close()
            gives.close()
            raise
        taken_back = None
        try:
            taken_back = _LastTakenBack()
            process = self._context.Process(
                target=_serve, args=(tasks, results, taken_back, *self._parts), name="worker", daemon=True
            )
            process.start()
        except (OSError, EOFError):
            gives.close()
            takes.close()
            if taken_back is not None:
                taken_back.close()
            raise
        finally:
            tasks.close()
            results.close()
        # Half of it, because data that was written in parts takes more space than its bytes.
        capacity = fcntl.fcntl(gives.fileno(), fcntl.F_GETPIPE_SZ) // 2
        worker = _Process(process, gives, takes, Progress(self._limits), capacity, taken_back)
        self._workers.append(worker)
        self._selector.register(takes, selectors.EVENT_READ, worker)

    def _hand_out(self) -> None:
        while self._waiting:
            if self._waiting[0].patience() <= 0:
                self._waiting.popleft().future.set_exception(TaskRefused())
                continue
            if (worker := self._free_for(self._waiting[0])) is None:
                break
            task = self._waiting.popleft()
            if not worker.given:
                worker.progress.begin()
                worker.since = time.monotonic()
            try:
                worker.tasks.send_bytes(_NUMBER.pack(worker.sent + 1) + task.payload)
            except OSError:
                # It is dead, as the end of its pipe will show, and never received this task.
                worker.gone = True
                self._waiting.appendleft(task)
                continue
            worker.sent += 1
            worker.given.append(task)

    def _free_for(self, task: _Task) -> _Process | None:
        ready = [worker for worker in self._workers if worker.ready and not worker.gone]
        idle = next((worker for worker in ready if not worker.given), None)
        return idle or next((worker for worker in ready if worker.takes(task)), None)

    def _receive(self, worker: _Process) -> None:
        try:
            message = worker.results.recv_bytes()
        except (EOFError, OSError):
            self._remove_dead(worker)
            return
        if message == _READY:
            worker.ready = True
            self._failed_starts = 0
            return
        task = worker.given.popleft()
        worker.progress.begin()
        worker.since = time.monotonic()
        if message == _TAKEN_BACK:
            if task.patience is not _no_patience:
                # The process had not begun with its first task either, as where it was stopped meanwhile.
                self._waiting.appendleft(task)
            self._hand_out()
            return
        # Before anything else: while this result is processed, the process should have work.
        self._hand_out()
        value, error = pickle.loads(message)  # noqa: S301 - of our own process
        if error is None:
            task.future.set_result(value)
        else:
            task.future.set_exception(error)

    def _seconds_to_look(self) -> float | None:
        """Return the longest time to wait for results."""
        if any(worker.killed is not None for worker in self._workers):
            return min(END_SECONDS, self._limits.look_seconds)
        if any(len(worker.given) > 1 for worker in self._workers):
            return min(_BUSY_SECONDS, self._limits.look_seconds)
        busy = any(worker.given for worker in self._workers)
        return self._limits.look_seconds if busy else None

    def _check_progress(self) -> None:
        """Find the processes that are stuck, if the interval has passed, and end them."""
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.killed is not None and now - worker.killed >= END_SECONDS:
                self._remove_dead(worker, 0.0)
        for worker in self._workers:
            if len(worker.given) > 1 and now - worker.since >= _BUSY_SECONDS:
                self._take_back(worker)
        elapsed = now - self._looked
        if elapsed < self._limits.look_seconds:
            return
        self._looked = now
        # If more time has passed, this process was stopped itself, or had nothing to watch.
        elapsed = min(elapsed, 2 * self._limits.look_seconds)
        for worker in self._workers:
            if not worker.given or worker.killed is not None or worker.process.pid is None:
                continue
            worker.progress.check(worker.process.pid, elapsed)
            # A task that was started gets at least the smallest patience, even if no other is to be started.
            if worker.progress.stalled_seconds >= max(worker.given[0].patience(), self._limits.again_seconds):
                worker.killed = now
                worker.gone = True
                send_signal(worker.process, signal.SIGKILL)

    def _take_back(self, worker: _Process) -> None:
        """Give the tasks behind the one that a process is busy with to other processes.

        It may have begun with them just now; their results are dropped then.
        """
        worker.taken_back.set(worker.sent)
        for place in range(1, len(worker.given)):
            task = worker.given[place]
            if task.patience is not _no_patience:
                self._waiting.appendleft(task)
                worker.given[place] = _Task(task.payload, task.light, Future(), _no_patience)

    def _remove_dead(self, worker: _Process, seconds: float = END_SECONDS) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.results)
        worker.taken_back.close()
        exit_code = _ended([worker], seconds)[0]
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > FAILED_STARTS_ALLOWED:
                raise WorkersError(f"workers end before they are ready: exit code {exit_code}")
        if worker.given:
            task = worker.given.popleft()
            self._waiting.extendleft(reversed(worker.given))
            stuck = worker.killed is not None
            task.future.set_exception(
                ProcessStuck(worker.progress.stalled_seconds) if stuck else ProcessDied(exit_code)
            )

    def _refuse(self, error: Exception) -> None:
        """Answer all waiting tasks with an error; each once, whichever thread takes it first."""
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.popleft().future.set_exception(error)

    def _end(self) -> None:
        for worker in self._workers:
            send_signal(worker.process, signal.SIGTERM)
        _ended(self._workers, END_SECONDS)
        for worker in self._workers:
            worker.taken_back.close()
        self._workers.clear()
        self._selector.close()
        os.close(self._heard)


def send_signal(process: ForkServerProcess, number: signal.Signals) -> None:
    """Send a signal to a process, unless it has ended."""
    if process.pid is not None and process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _ended(workers: Sequence[_Process], seconds: float) -> list[int | None]:
    """Return the exit codes of processes that should end, and kill those that take longer than `seconds`, all
    together. A process that doesn't end even after a signal has None, and is not waited for any more."""
    for worker in workers:
        worker.tasks.close()
        worker.results.close()
    for number in (signal.SIGKILL, None):
        deadline = time.monotonic() + seconds
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        if number is not None:
            for worker in workers:
                send_signal(worker.process, number)
    return [release_process(worker.process) for worker in workers]


def release_process(process: ForkServerProcess) -> int | None:
    """Forget a process that was joined; return its exit code, or None if it has not ended."""
    exit_code = process.exitcode
    if exit_code is None:
        # When the interpreter exits, multiprocessing joins each of its processes without a time limit.
        process.join = _not_joined  # type: ignore[method-assign]
    else:
        process.close()
    return exit_code


def _not_joined(timeout: float | None = None) -> None:
    """Do nothing, in the place of `join`."""


def _serve(
    tasks: Connection,
    results: Connection,
    taken_back: _LastTakenBack,
    function: Callable[[Any], Any],
    start: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    # A terminal sends it to all processes; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start(*arguments)
    close_inherited()
    # Both pipes end when the other side has ended.
    with contextlib.suppress(EOFError, BrokenPipeError):
        results.send_bytes(_READY)
        while True:
            task = tasks.recv_bytes()
            if taken_back.has(task):
                results.send_bytes(_TAKEN_BACK)
            else:
                results.send_bytes(_done(function, task[_NUMBER.size :]))


def close_inherited() -> None:
    """Close the files whose end other processes wait for: a stuck process holds them as long as it is stuck.

    A program that reads the scan's output through a pipe waits for the pipe's end; so does cron. The resource
    tracker of multiprocessing ends with its pipe, and from Python 3.12 on the interpreter waits for it.
    """
    null = os.open(os.devnull, os.O_RDWR)
    tracker: int = resource_tracker.getfd()  # type: ignore[assignment]  # typeshed says that it may be None
    for descriptor in (0, 1, 2, tracker):
        os.dup2(null, descriptor, inheritable=descriptor < 3)
    os.close(null)


def _done(function: Callable[[Any], Any], payload: bytes) -> bytes:
    try:
        return pickle.dumps((function(pickle.loads(payload)), None))  # noqa: S301 - of our own scan
    except Exception as error:  # a defect, which the scan should receive
        error.add_note(traceback.format_exc())
        try:
            return pickle.dumps((None, error))
        except Exception:  # an exception that can't be sent as it is
            return pickle.dumps((None, RuntimeError(traceback.format_exc())))
