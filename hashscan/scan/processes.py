"""Processes that do tasks, each with pipes of its own, so that none can hold up another by dying.

What a process had written before it died is heard before its death is: the end of its pipe comes last. So it
is always known which task it died of, and no lock is shared that a killed process could leave behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import selectors
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from hashscan.errors import WorkersError

_FAILED_STARTS_ALLOWED = 8
"""How many in a row may end before they are ready. Those that can't start must not be replaced for ever."""

_START_PAUSES = (0.2, 1.0)
"""Seconds between attempts to start one; there is one attempt more."""

_END_SECONDS = 2.0
"""How long one may take to end that was asked to, or whose pipe has ended."""

_READY = b""
"""The first thing that a process says."""


class ProcessDied(Exception):
    """The process that had a task ended before it had answered."""

    def __init__(self, exit_code: int | None) -> None:
        """Tell how it ended: by an exit code, or by a signal's number less than 0."""
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


@dataclass(slots=True)
class _Task:
    payload: bytes
    light: bool
    future: Future[Any]


@dataclass(slots=True, eq=False)
class _Member:
    """One process, and what it was given and has not answered; the first of these it is doing."""

    process: ForkServerProcess
    tasks: Connection
    answers: Connection
    capacity: int
    """How many bytes of tasks it may have unread without holding up who sends them."""
    ready: bool = False
    gone: bool = False
    """Whether it takes nothing any more; the end of its answers is still to come."""
    given: deque[_Task] = field(default_factory=deque)

    def takes(self, task: _Task) -> bool:
        """Whether there is room for a task behind the one it is doing."""
        return (
            task.light
            and len(self.given) == 1
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
    ) -> None:
        """Start them.

        Args:
            number: how many.
            function: what is done with each task; can be imported in the processes, as `start` can.
            start: called once in each, before its first task.
            arguments: of `start`.
            context: starts them.
        """
        self._number = number
        self._parts = (function, start, arguments)
        self._context = context
        self._members: list[_Member] = []
        self._waiting: deque[_Task] = deque()
        self._failed_starts = 0
        self._closing = False
        self._broken: Exception | None = None
        self._heard, self._call = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._heard, selectors.EVENT_READ)
        # Not joined when the interpreter ends in a hurry; the processes end with their pipes.
        self._thread = threading.Thread(target=self._run, name="processes", daemon=True)
        self._thread.start()

    def submit(self, task: Any, *, light: bool) -> Future[Any]:
        """Have a task done.

        Args:
            task: anything that can be pickled.
            light: whether it is so short that it may wait behind another while a process is busy.

        Returns:
            What the function returned or raised; ProcessDied when the process died of it, and WorkersError
            when there are no processes any more.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._waiting.append(_Task(pickle.dumps(task), light, future))
        if self._broken is not None:
            self._refuse(self._broken)
        self._wake()
        return future

    def pids(self) -> list[int]:
        """The processes that there are now."""
        return [pid for member in list(self._members) if (pid := member.process.pid) is not None]

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
                while len(self._members) < self._number:
                    self._add()
                self._hand_out()
                for key, _ in self._selector.select():
                    if key.data is None:
                        os.read(self._heard, 4096)
                    else:
                        self._hear(key.data)
        except Exception as error:  # whoever waits for an answer must hear of it
            self._broken = error
            for member in self._members:
                self._waiting.extend(member.given)
            self._refuse(error)
        finally:
            self._end()

    def _add(self) -> None:
        """Start one more, or go on with those there are where the system won't have it.

        Raises:
            WorkersError: there are none.
        """
        for pause in (*_START_PAUSES, 0.0):
            try:
                self._start()
            except (OSError, EOFError) as error:
                # No descriptor, process or memory; or the process that they are forked from was killed.
                failure = error
                time.sleep(pause)
            else:
                return
        if not self._members:
            raise WorkersError(f"no worker can be started: {failure}") from failure
        self._number = len(self._members)

    def _start(self) -> None:
        tasks, gives = self._context.Pipe(duplex=False)
        try:
            takes, answers = self._context.Pipe(duplex=False)
        except OSError:
            tasks.close()
            gives.close()
            raise
        process = self._context.Process(
            target=_serve, args=(tasks, answers, *self._parts), name="worker", daemon=True
        )
        try:
            process.start()
        except (OSError, EOFError):
            gives.close()
            takes.close()
            raise
        finally:
            tasks.close()
            answers.close()
        # Half of it, since what was written in parts takes more room than its bytes.
        capacity = fcntl.fcntl(gives.fileno(), fcntl.F_GETPIPE_SZ) // 2
        member = _Member(process, gives, takes, capacity)
        self._members.append(member)
        self._selector.register(takes, selectors.EVENT_READ, member)

    def _hand_out(self) -> None:
        while self._waiting and (member := self._free_for(self._waiting[0])):
            task = self._waiting.popleft()
            try:
                member.tasks.send_bytes(task.payload)
            except OSError:
                # It is dead, as the end of its answers will say, and never had this.
                member.gone = True
                self._waiting.appendleft(task)
                continue
            member.given.append(task)

    def _free_for(self, task: _Task) -> _Member | None:
        ready = [member for member in self._members if member.ready and not member.gone]
        idle = next((member for member in ready if not member.given), None)
        return idle or next((member for member in ready if member.takes(task)), None)

    def _hear(self, member: _Member) -> None:
        try:
            message = member.answers.recv_bytes()
        except (EOFError, OSError):
            self._bury(member)
            return
        if message == _READY:
            member.ready = True
            self._failed_starts = 0
            return
        task = member.given.popleft()
        # Before anything else: while this answer is dealt with, the process shall have something to do.
        self._hand_out()
        value, error = pickle.loads(message)  # noqa: S301 - of our own process
        if error is None:
            task.future.set_result(value)
        else:
            task.future.set_exception(error)

    def _bury(self, member: _Member) -> None:
        self._members.remove(member)
        self._selector.unregister(member.answers)
        exit_code = _ended(member)
        if not member.ready:
            self._failed_starts += 1
            if self._failed_starts > _FAILED_STARTS_ALLOWED:
                raise WorkersError(f"workers end before they are ready: exit code {exit_code}")
        if member.given:
            task = member.given.popleft()
            self._waiting.extendleft(reversed(member.given))
            task.future.set_exception(ProcessDied(exit_code))

    def _refuse(self, error: Exception) -> None:
        """Answer what waits with an error; each once, whichever thread comes to it first."""
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.popleft().future.set_exception(error)

    def _end(self) -> None:
        for member in self._members:
            member.process.terminate()
        for member in self._members:
            _ended(member)
        self._members.clear()
        self._selector.close()
        os.close(self._heard)


def _ended(member: _Member) -> int | None:
    """Wait for the end of a process and let go of it; its exit code."""
    member.tasks.close()
    member.answers.close()
    member.process.join(_END_SECONDS)
    if member.process.is_alive():
        member.process.kill()
        member.process.join()
    exit_code = member.process.exitcode
    member.process.close()
    return exit_code


def _serve(
    tasks: Connection,
    answers: Connection,
    function: Callable[[Any], Any],
    start: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    """What each process does."""
    # A terminal sends it to all; who started us decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start(*arguments)
    # Both pipes end when the other side is gone.
    with contextlib.suppress(EOFError, BrokenPipeError):
        answers.send_bytes(_READY)
        while True:
            answers.send_bytes(_done(function, tasks.recv_bytes()))


def _done(function: Callable[[Any], Any], payload: bytes) -> bytes:
    try:
        return pickle.dumps((function(pickle.loads(payload)), None))  # noqa: S301 - of our own sweep
    except Exception as error:  # a defect, which the sweep shall hear of
        error.add_note(traceback.format_exc())
        try:
            return pickle.dumps((None, error))
        except Exception:  # an exception that can't be sent as it is
            return pickle.dumps((None, RuntimeError(traceback.format_exc())))
