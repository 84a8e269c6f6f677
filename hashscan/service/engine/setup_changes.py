"""Change the lists and settings of the workers while they serve: one worker tries them before all do."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable, Coroutine
from typing import Protocol

from hashscan.errors import HashscanError, WorkersError
from hashscan.service.engine.messages import Use, Used, encode
from hashscan.service.engine.worker_handle import Candidate, WorkerHandle
from hashscan.service.engine.worker_process import EngineSetup

_log = logging.getLogger(__name__)


class Workers(Protocol):
    """The part of the worker pool that a change of setups uses."""

    workers: list[WorkerHandle]
    number: int
    """Workers that there should be."""
    closing: bool

    def idle(self) -> list[WorkerHandle]:
        """Return the workers that can take a request now."""

    def kill(self, worker: WorkerHandle) -> None:
        """End a worker; another is started in its place if one is missing."""

    async def start_one(self, setup: EngineSetup) -> WorkerHandle:
        """Start a worker with a setup."""

    def begin_preparing(self, worker: WorkerHandle) -> None:
        """Limit the time until a worker is ready, or has opened new lists."""

    def end_preparing(self, worker: WorkerHandle) -> None:
        """Note that it is ready, or has opened them."""

    def count_failed_start(self, error: HashscanError) -> None:
        """Note that a worker could not be started with the setup in use."""

    def in_background(self, work: Coroutine[object, object, None]) -> None:
        """Do work beside the requests; the pool is not closed before it is done."""


class SetupChanges:
    """The setup that is in use, and the one that is tried."""

    def __init__(self, setup: EngineSetup, workers: Workers, unused: Callable[[], None]) -> None:
        """Begin with a setup; `unused` is called when a worker has ceased to use one."""
        self.current = setup
        self._workers = workers
        self._unused = unused
        self._candidate: Candidate | None = None

    def in_use(self) -> list[EngineSetup]:
        """Return the setups that workers use, or may begin to use."""
        used = [self.current, *(worker.setup for worker in self._workers.workers)]
        used += [setup for worker in self._workers.workers for setup, _ in worker.uses]
        return used + ([self._candidate.setup] if self._candidate else [])

    async def use(self, setup: EngineSetup) -> str:
        """Use another setup for all requests that are handed out later.

        One worker tries it first. If it can't use it, nothing changes.

        Returns:
            The reason why it can't be used; empty if it is used from now on.
        """
        candidate = self._candidate = Candidate(setup, asyncio.get_running_loop().create_future())
        self.try_candidate()
        trouble = await candidate.tried
        self._candidate = None
        if not trouble:
            former = [m for m in self._workers.workers if m.task is None and m.setup is not setup]
            for worker in former[: max(0, len(self._workers.workers) - self._workers.number)]:
                # The worker that was started for it takes its place.
                self._workers.kill(worker)
        self._unused()
        return trouble

    def try_candidate(self) -> None:
        """Have an idle worker try the next setup; if none is ready, or none can, start one with it."""
        candidate = self._candidate
        if candidate is None or candidate.tried.done() or candidate.starting or self._tries(candidate):
            return
        ready = any(worker.ready and worker.killed is None for worker in self._workers.workers)
        if ready and candidate.setup.replaces(self.current):
            for worker in self._workers.idle()[:1]:
                self.take(worker)
        elif not self._workers.closing:
            candidate.starting = True
            self._workers.in_background(self._start_candidate(candidate))

    async def _start_candidate(self, candidate: Candidate) -> None:
        try:
            await self._workers.start_one(candidate.setup)
        except (OSError, EOFError) as error:
            self._note_tried(candidate, f"no worker can be started: {error}")
        finally:
            candidate.starting = False

    def _tries(self, candidate: Candidate) -> bool:
        return any(
            worker.setup is candidate.setup or any(tried is candidate for _, tried in worker.uses)
            for worker in self._workers.workers
        )

    def _note_tried(self, candidate: Candidate, trouble: str) -> None:
        """Note if a setup can be used; if so, all requests that are handed out from now on use it."""
        if not candidate.tried.done():
            candidate.tried.set_result(trouble)
            if not trouble:
                self.current = candidate.setup
                # At once, since the next request may be handed out before `use` goes on.
                for worker in self._workers.idle():
                    self.take(worker)

    def note_ended(self, worker: WorkerHandle) -> None:
        """Note that a worker has ended, maybe before it was ready, or while it tried other lists."""
        tried = next((candidate for _, candidate in worker.uses if candidate is not None), None)
        if not worker.ready and self._is_candidate(worker):
            tried = self._candidate
        elif not worker.ready:
            self._workers.count_failed_start(
                worker.failure or WorkersError("workers end before they are ready")
            )
        if tried is not None:
            # It may have been killed for another reason.
            tried.deaths += 1
            if worker.failure is not None or tried.deaths >= 2:
                reason = worker.failure or f"workers end while they open version {tried.setup.version}"
                self._note_tried(tried, str(reason))

    def take(self, worker: WorkerHandle) -> None:
        """Have an idle worker use the setup that is next.

        The setup in use comes first, also while another is tried. Otherwise a worker that was busy when it
        came into use would answer the next request by the former lists.
        """
        newest = worker.uses[-1][0] if worker.uses else worker.setup
        candidate = self._candidate
        if candidate is not None and candidate.tried.done():
            candidate = None
        if candidate is not None and newest is candidate.setup:
            return
        if newest is not self.current:
            if self.current.replaces(newest):
                self._send_setup(worker, self.current, None)
                newest = self.current
            elif len([m for m in self._workers.workers if m.ready]) > 1:
                # A worker with other decoders takes its place.
                self._workers.kill(worker)
                return
        if candidate is not None and not self._tries(candidate) and candidate.setup.replaces(newest):
            self._send_setup(worker, candidate.setup, candidate)

    def _send_setup(self, worker: WorkerHandle, setup: EngineSetup, tried: Candidate | None) -> None:
        worker.uses.append((setup, tried))
        if worker.preparing is None:
            self._workers.begin_preparing(worker)
        try:
            worker.channel.send(encode(Use(pickle.dumps(setup))))
        except OSError:
            self._workers.kill(worker)

    def note_used(self, worker: WorkerHandle, reply: Used) -> None:
        """Note a worker's answer to the setup that it was told to use."""
        setup, tried = worker.uses.popleft()
        self._workers.end_preparing(worker)
        if worker.uses:
            self._workers.begin_preparing(worker)
        if not reply.trouble:
            worker.setup = setup
        if tried is not None and not tried.tried.done():
            self._note_tried(tried, reply.trouble)
        elif reply.trouble:
            _log.error("a worker can't use the lists of version %s: %s", setup.version, reply.trouble)
            self._workers.kill(worker)
        self._unused()

    def note_ready(self, worker: WorkerHandle) -> None:
        if self._candidate is not None and self._is_candidate(worker):
            self._note_tried(self._candidate, "")

    def _is_candidate(self, worker: WorkerHandle) -> bool:
        return self._candidate is not None and worker.setup is self._candidate.setup
