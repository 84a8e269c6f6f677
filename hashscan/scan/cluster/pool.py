"""The cluster pool: `submit(batch) -> Future`, answered by workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from hashscan import __version__
from hashscan.errors import NoUsableListError, UnreachableError
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult, ListInfo
from hashscan.plugins import versioned
from hashscan.reports.records import Record
from hashscan.scan.cluster.backlog import work_of
from hashscan.scan.cluster.dask import message_of, require_dask, security_of
from hashscan.scan.cluster.messages import Job, WantedList
from hashscan.scan.workers.pool import Pool
from hashscan.settings.resources import ClusterSettings

if TYPE_CHECKING:
    from distributed import Client

    from hashscan.scan.cluster.dispatch import Dispatcher

R = TypeVar("R")

CONNECT_SECONDS = 20.0
ARRIVE_SECONDS = 20.0
"""The time without any worker that is still to answer, after which a scan without a ready worker ends.
Nodes that are started together don't register together, and a worker that dies is back after some seconds."""
READY_SECONDS = 120.0
"""The time in which a worker that was present from the beginning must be ready, if no other is."""
LOOK_SECONDS = 0.2
OTHER_WORKERS_SECONDS = 5.0
"""The time that the other workers get, once one is ready."""
CLOSE_SECONDS = 10.0
_GIVE_UP_SECONDS = 1.0


class ClusterPool(Pool):
    """Workers on the nodes of a Dask cluster.

    A worker that has another version of hashscan or of a list is left out, and a message says so. The batches
    of a lost worker are retried file by file, as in a process pool.
    """

    def __init__(self, setup: WorkerSetup, infos: Iterable[ListInfo], cluster: ClusterSettings) -> None:
        """Connect, and wait until a worker is ready; the lists in the setup must be open."""
        self.workers = 0
        self._cluster = cluster
        require_dask()
        self._security = security_of(cluster)
        self._job = Job(versioned(__version__), tuple(_wanted(setup, infos)), setup).to_bytes()
        self._messages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cluster", daemon=True)
        self._thread.start()
        self._client: Client | None = None
        self._watch: asyncio.Task[None] | None = None
        try:
            self._dispatcher = self._on_loop(self._connect()).result()
        except BaseException:
            self.close()
            raise

    def submit(self, batch: Batch) -> Future[BatchResult]:
        outer: Future[BatchResult] = Future()
        outer.set_running_or_notify_cancel()
        self._loop.call_soon_threadsafe(self._dispatcher.submit, work_of(batch, outer))
        return outer

    def messages(self) -> Iterator[str]:
        """Yield messages about workers that take no part or were lost."""
        while True:
            try:
                yield self._messages.get_nowait()
            except queue.Empty:
                return

    def fields(self) -> Record:
        return self._on_loop(self._fields()).result()

    def close(self) -> None:
        if self._loop.is_closed():
            return
        try:
            self._on_loop(self._leave()).result(CLOSE_SECONDS)
        except TimeoutError:
            self._on_loop(_give_up()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _on_loop(self, coroutine: Coroutine[Any, Any, R]) -> Future[R]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _connect(self) -> Dispatcher:
        from distributed import Client

        from hashscan.scan.cluster.dispatch import Dispatcher

        address = self._cluster.scheduler
        try:
            self._client = await Client(
                address,
                security=self._security,
                asynchronous=True,
                set_as_default=False,
                timeout=CONNECT_SECONDS,
                name="hashscan",
                # So that a node's answer is bytes or an error, and is unpickled in neither case.
                deserializers=["dask", "error"],
            )
        except (OSError, TimeoutError, RuntimeError) as error:
            raise UnreachableError(
                f"the scheduler {address} can't be reached: {message_of(error)}",
                advice="See that it runs, and that both certificates are of the same authority.",
            ) from error
        dispatcher = Dispatcher(
            self._client, uuid.uuid4().hex, self._job, self._messages.put, lambda: self._changed(dispatcher)
        )
        await self._gather(dispatcher)
        self._watch = dispatcher.begin()
        return dispatcher

    async def _gather(self, dispatcher: Dispatcher) -> None:
        preparing = dispatcher.preparing
        try:
            await wait_for_workers(dispatcher)
        except (OSError, TimeoutError) as error:
            raise UnreachableError(
                f"the scheduler {self._cluster.scheduler} went away: {message_of(error)}",
                advice="See what it says, then try again.",
            ) from error
        if dispatcher.failure:
            raise RuntimeError(dispatcher.failure)
        if dispatcher.slots:
            return
        troubles = preparing.troubles()
        if any(host not in preparing.dying for host, _ in preparing.refused):
            raise NoUsableListError(
                f"no worker of the cluster is usable: {troubles}",
                advice="Give all machines the same version of hashscan and of the lists.",
            )
        if troubles:
            raise UnreachableError(
                f"no worker of the cluster is usable: {troubles}",
                advice="See what `hashscan worker` says there, or start it on more machines.",
            )
        raise UnreachableError(
            f"the scheduler {self._cluster.scheduler} has no worker that answers",
            advice="Start `hashscan worker` on the machines that are to read the files.",
        )

    def _changed(self, dispatcher: Dispatcher) -> None:
        self.workers = len(dispatcher.slots)
        self.failure = dispatcher.failure

    async def _fields(self) -> Record:
        dispatcher = self._dispatcher
        nodes = Counter((ready.host, ready.version) for ready in dispatcher.met.values())
        refused = [{"host": host, "why": why} for host, why in sorted(dispatcher.preparing.refused)]
        return {
            "scheduler": self._cluster.scheduler,
            "nodes": [
                {"host": host, "version": version, "workers": number}
                for (host, version), number in sorted(nodes.items())
            ],
            **({"refused": refused} if refused else {}),
            **({"workers_lost": dispatcher.lost} if dispatcher.lost else {}),
        }

    async def _leave(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            await self._dispatcher.close()
        if self._client is not None:
            # ValueError: from tornado, if the connection is lost while TLS begins once more.
            with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.CancelledError):
                # close() would wait for a scheduler that is lost.
                await self._client._close(fast=True)


async def wait_for_workers(dispatcher: Dispatcher) -> None:
    """Check for workers until one is ready and the others had their time, or none is left to wait for."""
    loop = asyncio.get_running_loop()
    preparing = dispatcher.preparing
    begun = last_asked = loop.time()
    first_ready: float | None = None
    while True:
        looked = loop.time()
        await dispatcher.refresh_workers()
        # A late answer of the scheduler shows the workers at the time of the request.
        last_asked += loop.time() - looked
        # Read before the answers, which may all arrive in time.
        asked = bool(preparing) or preparing.unanswered
        # Not longer, otherwise the death of a worker that is waited for would go unnoticed.
        await preparing.wait_for_answers(LOOK_SECONDS)
        now = loop.time()
        if asked:
            last_asked = now
        if dispatcher.slots:
            first_ready = now if first_ready is None else first_ready
            awaited = bool(preparing) or preparing.unanswered
            if not awaited or now - first_ready > OTHER_WORKERS_SECONDS:
                return
        else:
            alone = not preparing.busy and now - last_asked > ARRIVE_SECONDS
            if alone or now - begun > READY_SECONDS:
                return
        if not preparing:
            await asyncio.sleep(LOOK_SECONDS)


async def _give_up() -> None:
    """Cancel all tasks that still run, because asyncio warns of them when the loop closes."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_GIVE_UP_SECONDS)


def _wanted(setup: WorkerSetup, infos: Iterable[ListInfo]) -> Iterator[WantedList]:
    known = {info.name: info for info in infos}
    for handle in setup.lists:
        info = known[handle.name]
        yield WantedList(handle.name, handle.version, info.state.is_unsigned, info.fingerprint)
