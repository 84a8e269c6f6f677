"""The code that runs in a Dask worker: it prepares for a scan once, and then checks the scan's batches.

The tasks of a scan are the functions `prepare`, `check` and `release`; a worker has one thread for them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import traceback
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import WorkerPlugin
from msgspec import structs

from hashscan import __version__
from hashscan.errors import HashscanError
from hashscan.lists.storage.columns import ColumnError
from hashscan.lists.store import ListStore, OpenedLists, content_fingerprint
from hashscan.model import Batch
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

if TYPE_CHECKING:
    import distributed

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
    """The settings of the worker processes of one `hashscan worker`."""

    identity: str
    state: StateDir
    make: MakeWorker = Worker
    version: str = __version__
    pace: tuple[Path, float | None, float | None] | None = None
    """The file of the shared rate limiter, bytes per second, files per second; None if nothing is limited."""


@dataclass(slots=True)
class _Prepared:
    lists: OpenedLists
    answers: DecodeCache
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
        self._pace = None if settings.pace is None else RateLimiter.from_file(*settings.pace)

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
        """Check a batch for a scan."""
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
        """Release the resources of a scan."""
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
            answers = undo.enter_context(DecodeCache())
            worker = undo.enter_context(self._settings.make(with_lists(job, lists.handles), answers))
            if self._pace is not None:
                worker.set_rate_limiter(self._pace.acquire)
            # So that no sandbox has to start, or is found missing, when the first picture arrives.
            worker.sandbox.start()
            undo.pop_all()
            return _Prepared(lists, answers, worker, self._done, self._free)


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
        """Create the node."""
        global _node  # noqa: PLW0603 - tasks are functions, and have no other access to it
        _node = Node(self._settings)
        logging.getLogger("distributed.worker").addFilter(_is_trouble)

    def teardown(self, worker: distributed.Worker) -> None:
        """Close the node."""
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
    """Check one batch; return a packed `Answer`."""
    batch = unpack_batch(packed)
    answer = Unprepared() if _node is None else _node.check(token, batch)
    return pack_answer(batch, answer)


def release(token: str) -> bytes:
    """Release the scan, the last task; return empty bytes."""
    if _node is not None:
        _node.release(token)
    return b""
