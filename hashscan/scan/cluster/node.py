"""What runs in a worker of Dask: it prepares for a sweep once, and then checks batch after batch.

The tasks of a sweep are the functions `prepare`, `check` and `release`; a worker has one thread for them.
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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import WorkerPlugin

from hashscan import __version__
from hashscan.errors import HashscanError
from hashscan.lists.columns import ColumnError
from hashscan.lists.fingerprint import content_fingerprint
from hashscan.lists.store import ListStore, OpenedLists
from hashscan.model import Batch
from hashscan.scan.cluster.messages import (
    Busy,
    Defect,
    Greeting,
    Job,
    Ready,
    Refused,
    Unprepared,
    pack_greeting,
    unpack_job,
    version_of,
    with_lists,
)
from hashscan.scan.cluster.results import Answer, pack_answer
from hashscan.scan.throttle.rate_limiter import Pace
from hashscan.scan.workers.decode_cache import Answers
from hashscan.scan.workers.pool import MakeWorker
from hashscan.scan.workers.wire import PackedBatch, unpack_batch
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import shown_path
from hashscan.sources.beneath import PASS_FLAGS, open_absolute

if TYPE_CHECKING:
    import distributed

SWEEPS_KEPT = 16
"""Sweeps that a worker is ready for at a time; each costs a sandbox. Idle ones make room for others."""

IDLE_SECONDS = 30.0
"""A sweep is idle that had nothing to ask while the worker was free for so long in all,"""
IDLE_TASKS = 4 * SWEEPS_KEPT
"""or while it did so much for others: each may have two batches waiting here, which come in turn."""

FILES = "file"
"""The source whose targets are paths of the machine."""


class RefusalError(Exception):
    """This worker can't take part in a sweep; says why."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the worker processes of one `hashscan worker` are told."""

    identity: str
    state: Path
    make: MakeWorker = Worker
    version: str = __version__
    pace: tuple[Path, float | None, float | None] | None = None
    """A file that the processes share, bytes a second, files a second; None where nothing is limited."""


@dataclass(slots=True)
class _Prepared:
    lists: OpenedLists
    answers: Answers
    worker: Worker
    done: int
    """What the worker had done in all when it was last asked for this sweep,"""
    free: float
    """and for how many seconds it had been free."""

    def close(self) -> None:
        self.worker.close()
        self.lists.close()


class Node:
    """The sweeps that one process is ready for."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._host = socket.gethostname()
        self._process = uuid.uuid4().hex
        self._sweeps: OrderedDict[str, _Prepared] = OrderedDict()
        """The one asked least lately first."""
        self._busy = threading.Lock()
        self._done = 0
        self._free = 0.0
        self._left = time.monotonic()
        self._pace = None if settings.pace is None else Pace.at(*settings.pace)

    def prepare(self, token: str, job: bytes) -> Greeting:
        """Open the lists and start the sandbox for a sweep, or say why that can't be."""
        with self._turn():
            try:
                if (theirs := version_of(job)) != self._settings.version:
                    raise RefusalError(f"it has hashscan {self._settings.version}, not {theirs}")
                if token not in self._sweeps:
                    if not self._has_room():
                        return Busy(self._host)
                    self._sweeps[token] = self._opened(unpack_job(job))
                self._asked(token)
            except (RefusalError, HashscanError, OSError) as refused:
                return Refused(self._host, _words(refused))
            return Ready(self._settings.identity, self._host, self._settings.version, self._process)

    def check(self, token: str, batch: Batch) -> Answer:
        """Check a batch for a sweep."""
        with self._turn():
            prepared = self._sweeps.get(token)
            if prepared is None:
                return Unprepared(self._process)
            self._done += 1
            self._asked(token)
            try:
                return prepared.worker.check(located(batch))
            except HashscanError as error:
                return Refused(self._host, _words(error))
            except Exception:  # an answer is owed, and an exception would travel pickled
                return Defect(self._host, traceback.format_exc())

    def release(self, token: str) -> None:
        """Let go of what a sweep needed."""
        with self._turn():
            if token in self._sweeps:
                self._sweeps.pop(token).close()

    def close(self) -> None:
        """Let everything go, unless a batch is under way; then it goes with the process."""
        if self._busy.acquire(timeout=1):
            while self._sweeps:
                self._sweeps.popitem()[1].close()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with self._busy:
            self._free += time.monotonic() - self._left
            try:
                yield
            finally:
                self._left = time.monotonic()

    def _asked(self, token: str) -> None:
        prepared = self._sweeps[token]
        prepared.done, prepared.free = self._done, self._free
        self._sweeps.move_to_end(token)

    def _has_room(self) -> bool:
        """Whether there is room for one more sweep, made by forgetting idle ones."""
        while len(self._sweeps) >= SWEEPS_KEPT:
            token, oldest = next(iter(self._sweeps.items()))
            if self._free - oldest.free <= IDLE_SECONDS and self._done - oldest.done <= IDLE_TASKS:
                return False
            del self._sweeps[token]
            oldest.close()
        return True

    def _opened(self, job: Job) -> _Prepared:
        with contextlib.ExitStack() as undo:
            store = ListStore(self._settings.state / "lists")
            lists = undo.enter_context(store.open([w.name for w in job.lists], datetime.now(UTC)))
            _compare(job, lists)
            answers = undo.enter_context(Answers())
            worker = undo.enter_context(self._settings.make(with_lists(job, lists.handles), answers))
            if self._pace is not None:
                worker.keep_pace(self._pace.spend)
            # So that no sandbox is waited for, or found lacking, when the first picture comes.
            worker.sandbox.start()
            undo.pop_all()
            return _Prepared(lists, answers, worker, self._done, self._free)


def _compare(job: Job, lists: OpenedLists) -> None:
    """Refuse other lists than the sweep's."""
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


def located(batch: Batch) -> Batch:
    """A batch of files as it must look on this machine.

    Shared storage has the same inodes on every machine, but each gives it a device number of its own. The
    folder's is taken from a look at its path, which follows no link; then it is opened and compared, inode
    and device, as everywhere. Files that were on another device than their folder stay as they were listed,
    and so are found to be others.
    """
    if batch.source != FILES:
        return batch
    try:
        descriptor = open_absolute(shown_path(batch.target, batch.folder), PASS_FLAGS)
    except OSError:
        # To be found again, and named, when it is opened to be read.
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
    return replace(batch, device=found.st_dev, items=items)


def _words(error: BaseException) -> str:
    remedy = error.remedy if isinstance(error, HashscanError) else ""
    return " ".join(f"{error}{'. ' if remedy else ''}{remedy}".split())


class NodePlugin(WorkerPlugin):
    """Makes a worker process of Dask a node of ours as it starts."""

    name = "hashscan"

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings

    def setup(self, worker: distributed.Worker) -> None:
        """Begin."""
        global _node  # noqa: PLW0603 - tasks are functions, and have no other way to it
        _node = Node(self._settings)
        logging.getLogger("distributed.worker").addFilter(_is_trouble)

    def teardown(self, worker: distributed.Worker) -> None:
        """End."""
        if _node is not None:
            _node.close()


def _is_trouble(record: logging.LogRecord) -> bool:
    """Return whether a line of Dask's log is worth reading.

    A heartbeat may be on its way when a worker ends, which Dask reports with a traceback. Where the scheduler
    is gone, `hashscan worker` says so itself.
    """
    return not record.getMessage().startswith("Failed to communicate with scheduler during heartbeat")


_node: Node | None = None


def prepare(token: str, job: bytes) -> bytes:
    """The task that comes first, and once.

    Args:
        token: names the sweep.
        job: a packed `Job`.

    Returns:
        A packed `Greeting`.
    """
    if _node is None:
        return pack_greeting(Refused(socket.gethostname(), "it was not started by `hashscan worker`"))
    return pack_greeting(_node.prepare(token, job))


def check(token: str, packed: PackedBatch) -> bytes:
    """The task of checking one batch.

    Returns:
        A packed `Answer`.
    """
    batch = unpack_batch(packed)
    answer = Unprepared() if _node is None else _node.check(token, batch)
    return pack_answer(batch, answer)


def release(token: str) -> bytes:
    """The task that comes last.

    Returns:
        Nothing to speak of.
    """
    if _node is not None:
        _node.release(token)
    return b""
