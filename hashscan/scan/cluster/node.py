"""The parts of a node that need Dask: the code of its worker processes, and their place in the cluster.

A worker process prepares for a scan once, and then checks the scan's batches. The tasks of a scan are the
functions `prepare`, `check` and `release`; a worker has one thread for them.

A worker whose connection to the scheduler breaks joins again. The scheduler may lose the connection to a
worker that is well: in Python 3.13 with OpenSSL 3.5, a failed read of one TLS connection leaves its error in
OpenSSL's queue, and the thread's next read of another connection fails with the same error
(https://github.com/python/cpython/issues/148594). A nanny closes a connection whenever its worker has
started, so this happens where several nodes join in the same moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import threading
import time
import traceback
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import distributed
from distributed import Nanny, WorkerPlugin
from distributed.comm.core import CommClosedError, FatalCommClosedError
from msgspec import structs

from hashscan import __version__
from hashscan.errors import HashscanError, UnreachableError
from hashscan.lists.storage.columns import ColumnError
from hashscan.lists.store import ListStore, OpenedLists, content_fingerprint
from hashscan.model import Batch
from hashscan.plugins import versioned
from hashscan.scan.cluster.dask import message_of
from hashscan.scan.cluster.messages import (
    Answer,
    Busy,
    Defect,
    Job,
    PrepareAnswer,
    Ready,
    Refused,
    Unprepared,
    pack_answer,
    pack_greeting,
    unpack_job,
    version_of,
    with_lists,
)
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.pool import MakeWorker
from hashscan.scan.workers.throttle import RateLimiter
from hashscan.scan.workers.wire import PackedBatch, unpack_batch
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import full_path
from hashscan.sources.filesystem.safe_open import PASS_FLAGS, open_absolute
from hashscan.state_dir import StateDir

SCANS_MAX = 16
"""The number of scans that a worker is ready for at a time; each costs a sandbox. Idle scans are removed
for others."""

IDLE_SECONDS = 30.0
"""The time after which a scan is idle: it sent no batch while the worker was free for so long in total,"""
IDLE_TASKS = 4 * SCANS_MAX
"""or while the worker did this many tasks for other scans: each may have two batches waiting here, in
turn."""

FILES = "file"
"""The source whose targets are paths of the machine."""


class RefusalError(Exception):
    """This worker can't take part in a scan; the message says why."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The settings of one worker process of `hashscan worker`."""

    identity: str
    state: StateDir
    make: MakeWorker = Worker
    version: str = versioned(__version__)
    rate_limits: tuple[Path, float | None, float | None] | None = None
    """The file of the shared rate limiter, bytes per second, files per second; None if nothing is limited."""


@dataclass(slots=True)
class _Prepared:
    lists: OpenedLists
    decode_cache: DecodeCache
    worker: Worker
    done: int
    """The number of tasks that the worker had done in total when this scan last sent one,"""
    free: float
    """and the seconds for which it had been free."""

    def close(self) -> None:
        self.worker.close()
        self.lists.close()


class Node:
    """The scans that one process is ready for."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._host = socket.gethostname()
        self._process = uuid.uuid4().hex
        self._scans: OrderedDict[str, _Prepared] = OrderedDict()
        """The scans, least recently used first."""
        self._busy = threading.Lock()
        self._done = 0
        self._free = 0.0
        self._left = time.monotonic()
        self._rate_limiter = (
            None if settings.rate_limits is None else RateLimiter.from_file(*settings.rate_limits)
        )

    def prepare(self, token: str, job: bytes) -> PrepareAnswer:
        """Open the lists and start the sandbox for a scan, or answer why that is not possible."""
        with self._turn():
            try:
                if (theirs := version_of(job)) != self._settings.version:
                    raise RefusalError(f"it has hashscan {self._settings.version}, not {theirs}")
                if token not in self._scans:
                    if not self._has_room():
                        return Busy(self._host)
                    self._scans[token] = self._opened(unpack_job(job))
                self._asked(token)
            except (RefusalError, HashscanError, OSError) as refused:
                return Refused(self._host, _words(refused))
            return Ready(self._settings.identity, self._host, self._settings.version, self._process)

    def check(self, token: str, batch: Batch) -> Answer:
        with self._turn():
            prepared = self._scans.get(token)
            if prepared is None:
                return Unprepared(self._process)
            self._done += 1
            self._asked(token)
            try:
                return prepared.worker.check(with_local_device(batch))
            except HashscanError as error:
                return Refused(self._host, _words(error))
            except Exception:  # an answer is required, and an exception would be sent pickled
                return Defect(self._host, traceback.format_exc())

    def release(self, token: str) -> None:
        with self._turn():
            if token in self._scans:
                self._scans.pop(token).close()

    def close(self) -> None:
        """Release all scans, unless a batch is being checked; then they end with the process."""
        if self._busy.acquire(timeout=1):
            while self._scans:
                self._scans.popitem()[1].close()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with self._busy:
            self._free += time.monotonic() - self._left
            try:
                yield
            finally:
                self._left = time.monotonic()

    def _asked(self, token: str) -> None:
        prepared = self._scans[token]
        prepared.done, prepared.free = self._done, self._free
        self._scans.move_to_end(token)

    def _has_room(self) -> bool:
        """Return True if there is room for one more scan, after removing idle ones."""
        while len(self._scans) >= SCANS_MAX:
            token, oldest = next(iter(self._scans.items()))
            if self._free - oldest.free <= IDLE_SECONDS and self._done - oldest.done <= IDLE_TASKS:
                return False
            del self._scans[token]
            oldest.close()
        return True

    def _opened(self, job: Job) -> _Prepared:
        with contextlib.ExitStack() as undo:
            store = ListStore(self._settings.state.lists)
            lists = undo.enter_context(store.open([w.name for w in job.lists], datetime.now(UTC)))
            _compare(job, lists)
            decode_cache = undo.enter_context(DecodeCache())
            worker = undo.enter_context(self._settings.make(with_lists(job, lists.handles), decode_cache))
            if self._rate_limiter is not None:
                worker.set_rate_limiter(self._rate_limiter.acquire)
            # So that no sandbox has to start, or is found missing, when the first picture arrives.
            worker.sandbox.start()
            undo.pop_all()
            return _Prepared(lists, decode_cache, worker, self._done, self._free)


def _compare(job: Job, lists: OpenedLists) -> None:
    """Raise an error if the node's lists differ from the scan's."""
    handles = {handle.name: handle for handle in lists.handles}
    infos = {info.name: info for info in lists.infos}
    for wanted in job.lists:
        handle, info = handles.get(wanted.name), infos[wanted.name]
        if handle is None:
            raise RefusalError(f"its list {wanted.name} is {info.state.value}: {info.problem}")
        if not wanted.local and info.version != wanted.version:
            raise RefusalError(
                f"it has version {info.version} of the list {wanted.name}, not {wanted.version}: "
                f"run `hashscan lists pull {wanted.name}` where it is older"
            )
        try:
            found = content_fingerprint(handle)
        except ColumnError as error:
            raise RefusalError(f"its list {wanted.name} is damaged: {error}") from error
        if found != wanted.fingerprint:
            raise RefusalError(
                f"its list {wanted.name} has other entries: import or pull the same list on both machines"
            )


def with_local_device(batch: Batch) -> Batch:
    """Return a batch of files with this machine's device numbers.

    Shared storage has the same inodes on every machine, but each machine gives it a device number of its own.
    The folder's device is read from its path, without following a symlink; then the folder is opened and
    compared, inode and device, as everywhere. Files that were on another device than their folder keep the
    listed number, and so are found to be other files.
    """
    if batch.source != FILES:
        return batch
    try:
        descriptor = open_absolute(full_path(batch.target, batch.folder), PASS_FLAGS)
    except OSError:
        # The same error is found and reported when the folder is opened for reading.
        return batch
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if found.st_dev == batch.device:
        return batch
    items = tuple(
        item._replace(stat=item.stat._replace(device=found.st_dev))
        if item.stat.device == batch.device
        else item
        for item in batch.items
    )
    return structs.replace(batch, device=found.st_dev, items=items)


def _words(error: BaseException) -> str:
    remedy = error.remedy if isinstance(error, HashscanError) else ""
    return " ".join(f"{error}{'. ' if remedy else ''}{remedy}".split())


class NodePlugin(WorkerPlugin):
    """A Dask plugin that makes a worker process a node of ours when it starts."""

    name = "hashscan"

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings

    def setup(self, worker: distributed.Worker) -> None:
        global _node  # noqa: PLW0603 - tasks are functions, and have no other access to it
        _node = Node(self._settings)
        logging.getLogger("distributed.worker").addFilter(_is_trouble)

    def teardown(self, worker: distributed.Worker) -> None:
        if _node is not None:
            _node.close()


def _is_trouble(record: logging.LogRecord) -> bool:
    """Return True if a line of Dask's log is worth reading.

    A heartbeat may be on its way when a worker ends, which Dask reports with a traceback. If the scheduler is
    lost, `hashscan worker` itself says so.
    """
    return not record.getMessage().startswith("Failed to communicate with scheduler during heartbeat")


_node: Node | None = None


def prepare(token: str, job: bytes) -> bytes:
    """Prepare for a scan, the first task; return a packed `PrepareAnswer`."""
    if _node is None:
        return pack_greeting(Refused(socket.gethostname(), "it was not started by `hashscan worker`"))
    return pack_greeting(_node.prepare(token, job))


def check(token: str, packed: PackedBatch) -> bytes:
    batch = unpack_batch(packed)
    answer = Unprepared() if _node is None else _node.check(token, batch)
    return pack_answer(batch, answer)


def release(token: str) -> bytes:
    """Release the scan, the last task; return empty bytes."""
    if _node is not None:
        _node.release(token)
    return b""


BROKEN = "worker-handle-scheduler-connection-broken"
"""Dask's reason for the end of a worker whose connection to the scheduler was closed without a message. A
scheduler that ends, or that retires a worker, sends a message first."""

JOINS_MAX = 6
"""The number of times that a worker joins in succession, each within `STABLE_SECONDS` of the one before."""
STABLE_SECONDS = 60.0
"""The time after which earlier breaks of a worker's connection don't count any more."""
BACKOFF_SECONDS = 1.0
"""The pause before a worker joins again for the first time, on average; it doubles each time."""
ANSWER_SECONDS = 20.0
"""The time limit for the scheduler to accept a connection, and to answer."""
QUESTIONS_MAX = 3
"""The number of times that the scheduler is asked whether it knows a worker, if it doesn't answer."""
CLOSE_SECONDS = 5.0


class NodeNanny(Nanny):
    """A nanny that records why its worker ended."""

    left = ""
    """Dask's reason; empty as long as the worker is to be restarted when it dies."""

    def close_gracefully(self, reason: str = "nanny-close-gracefully") -> None:
        """Restart the worker no more."""
        self.left = reason
        super().close_gracefully(reason)


class Membership:
    """One worker process, and its place in the cluster."""

    def __init__(self, make: Callable[[], NodeNanny], scheduler: str, say: Callable[[str], None]) -> None:
        """Prepare to join. Each nanny that `make` makes needs a name of its own: the scheduler may still know
        the last one."""
        self._make = make
        self._scheduler = scheduler
        self._say = say
        self._joins = 0
        self._joined = 0.0
        self._nanny: NodeNanny | None = None

    async def join(self) -> None:
        """Start the worker process, and return when the scheduler knows it."""
        while True:
            self._joins += 1
            self._nanny = self._make()
            why = "it closes the connections of workers"
            try:
                await self._nanny.start()  # type: ignore[no-untyped-call]
                if await self._is_known():
                    break
            except Exception as error:  # Dask raises many types for it
                why = _root(error)
                if (self._joins == 1 and _never_connected(error)) or not await self._is_reachable():
                    raise self._unreachable(why) from error
            if self._joins >= JOINS_MAX:
                raise self._unreachable(why)
            await self._pause()
        self._joined = asyncio.get_running_loop().time()
        if self._joins > 1:
            self._say(f"a worker has joined {self._scheduler} again")

    async def stay(self) -> None:
        """Return when the worker was sent away, or the scheduler is gone."""
        while self._nanny is not None:
            await self._nanny.finished()  # type: ignore[no-untyped-call]
            if self._nanny.left != BROKEN or not await self._is_reachable():
                return
            if asyncio.get_running_loop().time() - self._joined > STABLE_SECONDS:
                self._joins = 0
            if self._joins >= JOINS_MAX:
                raise self._unreachable("it closes the connections of workers")
            await self._pause()
            await self.join()

    async def close(self) -> None:
        if self._nanny is not None:
            with contextlib.suppress(Exception):
                await self._nanny.close(timeout=CLOSE_SECONDS)

    async def _pause(self) -> None:
        await self.close()
        # Not all in the same moment, where the connections of several break together.
        seconds = BACKOFF_SECONDS * 2 ** max(0, self._joins - 1) * random.uniform(0.5, 1.5)  # noqa: S311
        self._say(
            f"the connection of a worker to {self._scheduler} broke; it joins again in {seconds:.1f} s "
            f"(attempt {self._joins} of {JOINS_MAX - 1})"
        )
        await asyncio.sleep(seconds)

    async def _is_known(self) -> bool:
        """Return True if the scheduler still has the worker that has just registered."""
        assert self._nanny is not None
        address = self._nanny.worker_address
        for _ in range(QUESTIONS_MAX):
            # The connection of the question may break, too.
            with contextlib.suppress(OSError):
                asked = self._nanny.scheduler.ncores(workers=[address])
                return address in await asyncio.wait_for(asked, ANSWER_SECONDS)
        return False

    async def _is_reachable(self) -> bool:
        """Return True if the scheduler accepts connections."""
        found = urlsplit(self._scheduler)
        try:
            opening = asyncio.open_connection(found.hostname, found.port)
            _, writer = await asyncio.wait_for(opening, ANSWER_SECONDS)
        except OSError:
            return False
        writer.close()
        return True

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"the scheduler {self._scheduler} can't be reached: {why}",
            advice="See that it runs, and that both certificates are of the same authority.",
        )


def _never_connected(error: BaseException) -> bool:
    """Return True if no connection could be established, rather than one that was established broke."""
    cause = error.__cause__ or error
    return isinstance(cause, FatalCommClosedError) or (
        isinstance(cause, OSError) and not isinstance(cause, CommClosedError)
    )


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return message_of(error)
