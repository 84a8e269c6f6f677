"""Downloads a batch's objects, many at a time and in bounded memory, in the order they will be opened in."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from hashscan.model import Access, Batch, FileStat, Item, Reason
from hashscan.sources.base import FileTrouble, Opener, OpenFile, OpenFolder, Spend, unlimited
from hashscan.sources.objects.spool import Spool
from hashscan.sources.objects.store import UNKNOWN_SIZE, ObjectStore, Reading, Transient
from hashscan.sources.objects.tries import Tries

FILE_SHARE = 4
"""An object larger than this part of the memory goes to a file."""

UNKNOWN_BYTES = 256 << 10
"""Memory taken for an object of unknown size before it grows."""


_ASKED_AT_FIRST = 1 << 20
"""Bytes of an object that are asked for with it: small ones come in one piece, many at a time."""


class _GivenUp(Exception):
    """Nobody waits for this download any more."""


class ObjectOpener(Opener):
    """Stores and downloading threads, which last from batch to batch."""

    def __init__(
        self, make_store: Callable[[bytes], ObjectStore], access: Access, spend: Spend = unlimited
    ) -> None:
        """Start nothing yet.

        Args:
            make_store: makes the store of a batch's target.
            access: how many downloads, and how much memory.
            spend: asked before an object is fetched, and for its bytes as they come.
        """
        self._make_store = make_store
        self._access = access
        self._spend = spend
        self._stores: dict[bytes, ObjectStore] = {}
        self._crew = _Crew(access.in_flight)

    @contextmanager
    def reopen(self, batch: Batch) -> Iterator[OpenFolder]:
        """Get ready for a batch.

        Raises:
            TargetError: this process lacks a library or credentials.
        """
        if batch.target not in self._stores:
            self._stores[batch.target] = self._make_store(batch.target)
        folder = _Folder(self._stores[batch.target], self._crew, self._access, self._spend)
        try:
            yield folder
        finally:
            folder.close()

    def close(self) -> None:
        """Let threads and connections go."""
        self._crew.close()
        for store in self._stores.values():
            store.close()
        self._stores.clear()


class _Crew:
    """Threads that do what they are handed, started as they are needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._started = 0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def do(self, job: Callable[[], None]) -> None:
        """Hand over a job that raises nothing."""
        if self._started < self._limit:
            self._started += 1
            # Daemons: a process that ends doesn't wait for a server.
            threading.Thread(target=self._serve, daemon=True).start()
        self._jobs.put(job)

    def close(self) -> None:
        """End the threads once they have done what they have."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


@dataclass(slots=True, eq=False)
class _Download:
    """One object under way."""

    item: Item
    begun: bool = False
    done: bool = False
    in_memory: bool = True
    reserved: int = 0
    """Bytes of memory set aside for it."""
    file: _ObjectFile | None = None
    error: BaseException | None = None


class _Bill:
    """What one object's bytes are still to be asked for."""

    def __init__(self, spend: Spend, listed: int) -> None:
        """Ask for an object, and for its first bytes, if it is known how many it has."""
        self._spend = spend
        self._paid = max(0, min(listed, _ASKED_AT_FIRST))
        spend(1, self._paid)

    def add(self, size: int) -> None:
        """Ask for what has come; the next bytes come when this returns."""
        covered = min(size, self._paid)
        self._paid -= covered
        if size > covered:
            self._spend(0, size - covered)


class _Folder(OpenFolder):
    """The downloads of one batch."""

    def __init__(self, store: ObjectStore, crew: _Crew, access: Access, spend: Spend) -> None:
        self._store = store
        self._spend = spend
        self._crew = crew
        self._in_flight = access.in_flight
        self._left = access.memory_bytes
        self._file_from = access.memory_bytes // FILE_SHARE
        self._change = threading.Condition()
        self._closing = threading.Event()
        self._announced: dict[int, _Download] = {}
        self._waiting: deque[_Download] = deque()
        self._running = 0

    def announce(self, items: Sequence[Item]) -> None:
        downloads = [_Download(item) for item in items]
        with self._change:
            self._announced.update((id(download.item), download) for download in downloads)
            self._waiting.extend(downloads)
            self._begin_more()

    def open(self, item: Item) -> OpenFile:
        """Wait for an object; its memory is set free when it is closed.

        Raises:
            FileTrouble: it can't be read, or is not what was listed.
            OutputError: the temporary file for a large one failed.
        """
        with self._change:
            download = self._announced.pop(id(item), None) or _Download(item)
            ours = not download.begun
            if ours:
                # There was no memory for it yet, and those before it won't set any free: it must not wait.
                if download in self._waiting:
                    self._waiting.remove(download)
                self._begin(download, in_memory=self._reserve(download))
        if ours:
            self._run(download)
        with self._change:
            while not download.done:
                self._change.wait()
        if download.error is not None:
            raise download.error
        assert download.file is not None
        return download.file

    def close(self) -> None:
        """Give up what nobody asked for."""
        with self._change:
            self._closing.set()
            self._waiting.clear()
            # Else the next batch's downloads would come on top of these.
            while self._running:
                self._change.wait()
            left = list(self._announced.values())
        for download in left:
            if download.file is not None:
                download.file.close()

    def _begin_more(self) -> None:
        """Hand out downloads in order, as far as threads and memory go; under the lock."""
        while self._waiting and self._running < self._in_flight and not self._closing.is_set():
            download = self._waiting[0]
            large = download.item.stat.size > self._file_from
            if not large and not self._reserve(download):
                return
            self._waiting.popleft()
            self._begin(download, in_memory=not large)
            self._crew.do(partial(self._run, download))

    def _begin(self, download: _Download, *, in_memory: bool) -> None:
        download.begun = True
        download.in_memory = in_memory
        self._running += 1

    def _reserve(self, download: _Download) -> bool:
        """Set memory aside for an object as it was listed, if there is enough; under the lock."""
        size = download.item.stat.size
        size = UNKNOWN_BYTES if size == UNKNOWN_SIZE else size
        if size > min(self._left, self._file_from):
            return False
        download.reserved = size
        self._left -= size
        return True

    def _may_grow(self, download: _Download, size: int) -> bool:
        """Set memory aside for an object that turns out to have so many bytes."""
        with self._change:
            more = size - download.reserved
            if more > self._left or size > self._file_from:
                return False
            if more > 0:
                download.reserved += more
                self._left -= more
            return True

    def free(self, download: _Download) -> None:
        """Take back the memory of an object that was closed."""
        with self._change:
            self._left += download.reserved
            download.reserved = 0
            self._begin_more()

    def _run(self, download: _Download) -> None:
        """Download one object; what goes wrong is raised where the object is opened."""
        try:
            download.file = self._fetch(download)
        except BaseException as error:
            download.error = error
        with self._change:
            if download.error is not None:
                self._left += download.reserved
                download.reserved = 0
            download.done = True
            self._running -= 1
            self._begin_more()
            self._change.notify_all()

    def _fetch(self, download: _Download) -> _ObjectFile:
        item = download.item
        spool = Spool(in_memory=download.in_memory, may_grow=partial(self._may_grow, download))
        tries = Tries(self._pause)
        try:
            bill = _Bill(self._spend, item.stat.size)
            while True:
                start = spool.size
                try:
                    item, proven = self._receive(item, spool, bill)
                    break
                except Transient as trouble:
                    resumable = bool(item.etag or item.version)
                    # What is read again from the start is no progress.
                    tries.failed(trouble, spool.size - start if resumable else 0)
                    if not resumable:
                        # Nothing says that what follows would be of the same object.
                        spool.restart()
        except BaseException:
            spool.close()
            raise
        return _ObjectFile(spool, item.stat, self, download, None if proven else item)

    def _receive(self, item: Item, spool: Spool, bill: _Bill) -> tuple[Item, bool]:
        """Read an object from where the spool ends.

        Returns:
            The item with what the store said of it now, and whether that is known to hold for all its bytes.
        """
        reading = self._store.read(item, spool.size)
        try:
            item = _expect(item, reading, begun=spool.size > 0)
            size = item.stat.size if reading.size == UNKNOWN_SIZE else reading.size
            for chunk in reading.chunks:
                if self._closing.is_set():
                    raise _GivenUp
                if size != UNKNOWN_SIZE and spool.size + len(chunk) > size:
                    raise FileTrouble(Reason.IO_ERROR, "the store sends more bytes than it says")
                spool.write(chunk)
                bill.add(len(chunk))
        finally:
            reading.close()
        if size != UNKNOWN_SIZE and spool.size < size:
            raise Transient(f"the connection ended after {spool.size} of {size} bytes")
        return item, reading.proven

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise _GivenUp

    def check(self, item: Item) -> None:
        """Ask the store whether an object is as it was when read."""
        tries = Tries(self._pause)
        while True:
            try:
                self._store.check(item)
            except Transient as trouble:
                tries.failed(trouble)
            else:
                return


def _expect(item: Item, reading: Reading, *, begun: bool) -> Item:
    """Compare what is about to be read with what was listed, or with what was begun to be read.

    Returns:
        The item, with etag and version where only the answer has them: what follows must have the same.

    Raises:
        FileTrouble: it is another object.
    """
    listed = item.stat.size
    same_size = UNKNOWN_SIZE in {listed, reading.size} or listed == reading.size
    known = bool(item.etag and reading.etag)
    if (known and bare(item.etag) != bare(reading.etag)) or (
        item.version and reading.version and item.version != reading.version
    ):
        raise FileTrouble(Reason.CHANGED if begun else Reason.REPLACED)
    if not same_size:
        detail = f"listed with {listed} bytes, sent with {reading.size}"
        raise FileTrouble(Reason.IO_ERROR if known else Reason.REPLACED, detail)
    return replace(item, etag=item.etag or reading.etag, version=item.version or reading.version)


def bare(etag: str) -> str:
    """An etag without what some answers of one store put around it and others don't."""
    return etag.removeprefix("W/").strip('"')


class _ObjectFile(OpenFile):
    """A downloaded object."""

    fetched = True

    def __init__(
        self, spool: Spool, stat: FileStat, folder: _Folder, download: _Download, unproven: Item | None
    ) -> None:
        self._spool = spool
        self.stat = stat if stat.size == spool.size else stat._replace(size=spool.size)
        self._folder = folder
        self._download = download
        self._unproven = unproven
        self._closed = False

    @property
    def descriptor(self) -> int:
        return self._spool.descriptor

    @property
    def content(self) -> memoryview | None:
        return self._spool.content

    def check_unchanged(self) -> None:
        # The bytes lie in a place of our own; what can have changed is what they were read from.
        if self._unproven is not None:
            self._folder.check(self._unproven)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._spool.close()
            self._folder.free(self._download)
