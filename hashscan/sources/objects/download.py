"""Download a batch's objects in parallel and in bounded memory, in the order in which they will be opened."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from hashscan.errors import CredentialsError, UnreachableError
from hashscan.model import Access, Batch, Item, Reason
from hashscan.sources.base import (
    Acquire,
    FileError,
    Opener,
    OpenFile,
    OpenFolder,
    StoredChecksum,
    no_rate_limit,
)
from hashscan.sources.objects.receiver import DownloadCancelled, Receiver
from hashscan.sources.objects.spool import KeptObject, NoSpaceError, PassingObject, Spool
from hashscan.sources.objects.store import UNKNOWN_SIZE, ObjectStore

MEMORY_FRACTION = 4
"""Objects larger than this fraction of the memory limit (1/4) go to a file."""

UNKNOWN_BYTES = 256 << 10
"""Bytes of memory reserved for an object of unknown size before it grows."""

CREDENTIALS_TRIES = 3
CREDENTIALS_PAUSE = 0.5
"""Seconds before credentials are looked up again: the machine's credential service may be busy."""
CREDENTIALS_SECONDS = 60.0
"""Seconds for which missing credentials are remembered, so that not every batch waits for them."""


class ObjectOpener(Opener):
    """An opener that downloads objects; its stores and threads last from batch to batch."""

    def __init__(
        self, make_store: Callable[[bytes], ObjectStore], access: Access, spend: Acquire = no_rate_limit
    ) -> None:
        """Create an opener; `spend` is called before each object, and for its bytes as they arrive."""
        self._make_store = make_store
        self._access = access
        self._spend = spend
        self._stores: dict[bytes, ObjectStore] = {}
        self._refused: dict[bytes, tuple[float, FileError]] = {}
        """Targets without credentials: the time until which none are looked up, and the error reported until
        then."""
        self._crew = _ThreadPool(access.concurrency)

    @contextmanager
    def reopen(self, batch: Batch) -> Iterator[OpenFolder]:
        """Prepare to open a batch."""
        folder = _Folder(self._store(batch.target), self._crew, self._access, self._spend)
        try:
            yield folder
        finally:
            folder.close()
            if folder.refused is not None:
                self._refuse(batch.target, folder.refused)

    def _store(self, target: bytes) -> ObjectStore:
        """Return the store of a target; retry if there are no credentials at first."""
        until, refused = self._refused.get(target, (0.0, None))
        if refused is not None and time.monotonic() < until:
            raise refused
        tries = 0
        while target not in self._stores:
            try:
                self._stores[target] = self._make_store(target)
            except (CredentialsError, UnreachableError) as error:
                tries += 1
                if tries == CREDENTIALS_TRIES:
                    trouble = FileError(Reason.CREDENTIALS, str(error))
                    self._refuse(target, trouble)
                    raise trouble from error
                time.sleep(CREDENTIALS_PAUSE)
        return self._stores[target]

    def _refuse(self, target: bytes, trouble: FileError) -> None:
        self._refused[target] = time.monotonic() + CREDENTIALS_SECONDS, trouble

    def close(self) -> None:
        """Stop the threads and close the connections."""
        self._crew.close()
        for store in self._stores.values():
            store.close()
        self._stores.clear()


class _ThreadPool:
    """A thread pool that starts its threads when they are needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._started = 0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def do(self, job: Callable[[], None]) -> None:
        """Queue a job; the job must not raise."""
        if self._started < self._limit:
            self._started += 1
            # Daemon threads: a process that ends doesn't wait for a server.
            threading.Thread(target=self._serve, daemon=True).start()
        self._jobs.put(job)

    def close(self) -> None:
        """Stop the threads after they have done the queued jobs."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


@dataclass(slots=True, eq=False)
class _Download:
    """The state of one object's download."""

    item: Item
    begun: bool = False
    done: bool = False
    to_memory: bool = True
    in_memory: int = 0
    """Bytes of memory reserved for it."""
    on_disk: int = 0
    """Bytes of disk space reserved for it."""
    file: OpenFile | None = None
    error: BaseException | None = None


class _Folder(OpenFolder):
    """The downloads of one batch.

    Prefetched objects share a limit of memory and one of disk space. The object that is being opened may
    exceed the disk limit: the worker waits for it, and nothing else would free space.
    """

    def __init__(self, store: ObjectStore, crew: _ThreadPool, access: Access, spend: Acquire) -> None:
        self._store = store
        self._spend = spend
        self._crew = crew
        self._concurrency = access.concurrency
        self._memory_left = access.memory_bytes
        self._disk_left = access.disk_bytes
        self._file_from = access.memory_bytes // MEMORY_FRACTION
        self._change = threading.Condition()
        self._closing = threading.Event()
        self._announced: dict[int, _Download] = {}
        self._waiting: deque[_Download] = deque()
        self._awaited: _Download | None = None
        self._running = 0
        self.refused: FileError | None = None
        """The last error about missing credentials."""

    def prefetch(self, items: Sequence[Item]) -> None:
        downloads = [_Download(item) for item in items]
        with self._change:
            self._announced.update((id(download.item), download) for download in downloads)
            self._waiting.extend(downloads)
            self._begin_more()

    def open(self, item: Item) -> OpenFile:
        """Wait until an object is downloaded; the space reserved for it is freed when it is closed."""
        with self._change:
            download = self._announced.pop(id(item), None) or _Download(item)
            self._awaited = download
            while download.begun and not download.done:
                self._change.wait()
            # The download was started and stopped for lack of space, or not started for that reason: the
            # downloads before it won't free any.
            ours = not download.done
            if ours:
                if download in self._waiting:
                    self._waiting.remove(download)
                self._begin(download, to_memory=self._reserve_memory(download))
        if ours:
            self._run(download)
        if download.error is not None:
            raise download.error
        assert download.file is not None
        return download.file

    def stated_checksum(self, item: Item) -> StoredChecksum | None:
        return self._store.stated_checksum(item)

    def close(self) -> None:
        """Cancel the downloads that were not opened."""
        with self._change:
            self._closing.set()
            self._waiting.clear()
            # Otherwise the next batch's downloads would run in addition to these.
            while self._running:
                self._change.wait()
            left = list(self._announced.values())
        for download in left:
            if download.file is not None:
                download.file.close()

    def _begin_more(self) -> None:
        """Start downloads in order, as far as threads and space allow; call it with the lock held."""
        while self._waiting and self._running < self._concurrency and not self._closing.is_set():
            download = self._waiting[0]
            large = download.item.stat.size > self._file_from
            if not (self._reserve_disk if large else self._reserve_memory)(download):
                return
            self._waiting.popleft()
            self._begin(download, to_memory=not large)
            self._crew.do(partial(self._run, download))

    def _begin(self, download: _Download, *, to_memory: bool) -> None:
        download.begun = True
        download.to_memory = to_memory
        self._running += 1

    def _reserve_memory(self, download: _Download) -> bool:
        """Reserve memory for an object by its listed size, if there is enough; the lock must be held."""
        size = download.item.stat.size
        size = UNKNOWN_BYTES if size == UNKNOWN_SIZE else size
        if size > min(self._memory_left, self._file_from):
            return False
        download.in_memory = size
        self._memory_left -= size
        return True

    def _reserve_disk(self, download: _Download) -> bool:
        """Reserve disk space for an object by its listed size, if there is enough; the lock must be held."""
        size = download.item.stat.size
        if size > self._disk_left:
            return False
        download.on_disk = size
        self._disk_left -= size
        return True

    def _may_grow(self, download: _Download, size: int) -> bool:
        """Reserve memory for an object that has grown to `size` bytes; False if there is not enough."""
        with self._change:
            more = size - download.in_memory
            if more > self._memory_left or size > self._file_from:
                return False
            if more > 0:
                download.in_memory += more
                self._memory_left -= more
            return True

    def _may_fill(self, download: _Download, size: int) -> bool:
        """Reserve disk space for an object that has grown to `size` bytes; False if there is not enough."""
        with self._change:
            self._memory_left += download.in_memory
            download.in_memory = 0
            more = size - download.on_disk
            if more > self._disk_left and download is not self._awaited:
                return False
            if more > 0:
                download.on_disk += more
                self._disk_left -= more
            return True

    def _free(self, download: _Download) -> None:
        """Release the reservations of a download; call it with the lock held."""
        self._memory_left += download.in_memory
        self._disk_left += download.on_disk
        download.in_memory = download.on_disk = 0

    def _closed(self, download: _Download) -> None:
        with self._change:
            self._free(download)
            self._begin_more()

    def _run(self, download: _Download) -> None:
        """Download one object; errors are raised later, when the object is opened."""
        try:
            download.file = self._fetch(download)
        except NoSpaceError:
            pass
        except BaseException as error:
            download.error = error
            if isinstance(error, FileError) and error.reason is Reason.CREDENTIALS:
                self.refused = error
        with self._change:
            if download.file is None:
                self._free(download)
            if download.file is None and download.error is None:
                if download is self._awaited:
                    # The worker reads it as a stream, and so never has a whole picture.
                    download.file = PassingObject(
                        Receiver(self._store, download.item, self._pause, spend=self._spend)
                    )
                else:
                    # There may be space later, when it is opened.
                    download.begun = False
            download.done = download.begun
            self._running -= 1
            self._begin_more()
            self._change.notify_all()

    def _fetch(self, download: _Download) -> OpenFile:
        if self.refused is not None:
            # After all tries of one download: each of the others would take as long.
            raise self.refused
        spool = Spool(
            in_memory=download.to_memory,
            may_grow=partial(self._may_grow, download),
            may_fill=partial(self._may_fill, download),
            expected=max(download.item.stat.size, 0),
        )
        receiver = Receiver(self._store, download.item, self._pause, spool.restart, self._spend)
        try:
            for chunk in receiver.chunks():
                spool.write(chunk)
        except BaseException:
            spool.close()
            raise
        return KeptObject(receiver, spool, partial(self._closed, download))

    def _pause(self, seconds: float) -> None:
        # No lock if there is nothing to wait for: this is called for every piece.
        if self._closing.wait(seconds) if seconds else self._closing.is_set():
            raise DownloadCancelled
