"""Append refusals and counts to the journal of uploads, durably, and bring the ledger up to date from it.

The order: a refusal is in the journal, on disk, before it is answered; the ledger gets it afterwards, from
this process or from any later command. So neither a locked ledger nor a kill loses a refusal, and no answer
waits for the ledger. The journal's bytes are allocated when it is made, so that it takes some 600 refusals
while the disk is full. What can't be written even so is kept in memory, and tried again.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from hashscan.atomic_files import sync_folder
from hashscan.cases.ledger import Ledger
from hashscan.cases.uploads import (
    JOURNAL_SUFFIX,
    Checks,
    Refusal,
    encode_line,
    follow_uploads,
    journal_lines,
    journal_position,
)
from hashscan.errors import OutputError
from hashscan.locking import ClosedOnExit, try_flock
from hashscan.state_dir import StateDir

JOURNAL_BYTES = 1 << 20
"""Bytes allocated for a journal; the next one is begun when half of them are used."""
WAITING_MAX = 20_000
"""Lines kept in memory while the journal can't be written."""
ANSWER_SECONDS = 5.0
"""Longest time for which an answer waits for the disk."""
_RETRY_SECONDS = 1.0
_BUSY_MS = 5000

_log = logging.getLogger(__name__)


class JournalFile(ClosedOnExit):
    """One journal, written by this process alone, which holds its lock.

    Raises, in all methods:
        OSError: it can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4().hex}{JOURNAL_SUFFIX}"
        self.size = 0
        self._descriptor = _create_locked(self.path)
        try:
            os.posix_fallocate(self._descriptor, 0, JOURNAL_BYTES)
            os.fsync(self._descriptor)
            sync_folder(folder)
        except BaseException:
            self.path.unlink(missing_ok=True)
            self.close()
            raise

    def append(self, lines: bytes) -> None:
        """Append complete lines; they are on disk when this returns.

        If it fails, nothing counts as appended: the next lines overwrite what was written.
        """
        view, offset = memoryview(lines), self.size
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written
        os.fdatasync(self._descriptor)
        self.size = offset

    def close(self) -> None:
        """Close it, which releases its lock."""
        os.close(self._descriptor)


def _create_locked(path: Path) -> int:
    """Create a journal and take its lock; return its descriptor.

    Until it is locked, a process that brings the ledger up to date may remove it as one that has been read.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        os.close(descriptor)


class Journal:
    """The journal of a running service; methods are called from its loop, unless they say otherwise."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._file: JournalFile | None = None
        self._waiting: list[tuple[bytes, asyncio.Future[None] | None]] = []
        self._writing: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, "journal")
        self._reader = ThreadPoolExecutor(1, "ledger")
        self._failing = False
        self._closing = asyncio.Event()
        self.lost = 0
        """Number of lines that were dropped, since too many waited."""

    @property
    def waiting(self) -> int:
        """Number of lines that are not on disk."""
        return len(self._waiting)

    async def open(self) -> None:
        """Create the journal, and bring the ledger up to date with those of earlier processes."""
        loop = asyncio.get_running_loop()
        try:
            self._file = await loop.run_in_executor(self._writer, self._create)
        except OSError as error:
            raise OutputError(f"can't write {self._state.uploads}: {error.strerror or error}") from error
        await self.sync_ledger()

    def _create(self) -> JournalFile:
        self._state.make()
        self._state.uploads.mkdir(mode=0o700, exist_ok=True)
        return JournalFile(self._state.uploads)

    async def write(self, record: Refusal | Checks) -> bool:
        """Append a record; return True when it is on disk, or False if it waits for that in memory.

        While the journal can't be written, no caller waits for the next try.
        """
        if len(self._waiting) >= WAITING_MAX:
            self.lost += 1
            _log.error("a record of an upload is lost: %s wait already", len(self._waiting))
            return False
        line = encode_line(record) + b"\n"
        if self._failing:
            self._waiting.append((line, None))
            self._begin_writing()
            return False
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((line, done))
        self._begin_writing()
        try:
            await asyncio.wait_for(asyncio.shield(done), ANSWER_SECONDS)
        except TimeoutError:
            _log.error("the disk of %s is slow: a record waits in memory", self._state.uploads)
            return False
        except OSError:
            return False
        return True

    def _begin_writing(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_waiting())

    async def _write_waiting(self) -> None:
        """Write what waits, all together, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = list(self._waiting)
            try:
                await loop.run_in_executor(self._writer, self._append, [line for line, _ in batch])
            except OSError as error:
                if not self._failing:
                    _log.error(
                        "can't write the journal in %s: %s; refused uploads stay refused, and their cases "
                        "wait in memory",
                        self._state.uploads,
                        error.strerror or error,
                    )
                self._failing = True
                self._fail_waiting(error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), _RETRY_SECONDS)
                    # The last try.
                    self._closing.clear()
                continue
            if self._failing:
                _log.warning("the journal in %s can be written again", self._state.uploads)
            self._failing = False
            del self._waiting[: len(batch)]
            for _, done in batch:
                if done is not None and not done.done():
                    done.set_result(None)

    def _fail_waiting(self, error: OSError) -> None:
        """Fail the callers that wait; their lines are kept for the next try."""
        for place, (line, done) in enumerate(self._waiting):
            if done is not None and not done.done():
                done.set_exception(error)
                done.exception()
            self._waiting[place] = (line, None)

    def _append(self, lines: Sequence[bytes]) -> None:
        """Append lines; in the writer's thread."""
        assert self._file is not None
        self._file.append(b"".join(lines))
        if self._file.size > JOURNAL_BYTES // 2:
            try:
                following = JournalFile(self._state.uploads)
            except OSError:
                return  # The rest of this one is allocated; the next call tries again.
            self._file.close()
            self._file = following

    async def sync_ledger(self) -> None:
        """Bring the ledger up to date, in a thread; trouble is logged, and the next call does the rest."""
        await asyncio.get_running_loop().run_in_executor(self._reader, self._sync)

    def _sync(self) -> None:
        try:
            with Ledger(self._state, _BUSY_MS) as ledger:
                follow_uploads(ledger, self._state)
                self._remove_read(ledger)
        except OutputError as error:
            _log.error("the ledger of cases is not up to date: %s. %s", error, error.remedy)
        except OSError as error:
            _log.error("can't remove a journal of uploads: %s", error)

    def _remove_read(self, ledger: Ledger) -> None:
        """Remove journals that the ledger has read in whole, and to which no process appends."""
        for path in self._state.uploads.glob(f"*{JOURNAL_SUFFIX}"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if try_flock(descriptor) and not journal_lines(path, journal_position(ledger, path)):
                    path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    async def close(self, seconds: float) -> None:
        """Write what waits, for at most `seconds`, close the journal, and bring the ledger up to date."""
        until = time.monotonic() + seconds
        if self._waiting:
            self._begin_writing()
        self._closing.set()
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=max(0.1, until - time.monotonic()))
            self._writing.cancel()
        if self._waiting:
            _log.error("%s records of uploads could not be written, and are lost", len(self._waiting))
        if self._file is not None:
            # After a write that may still be in progress.
            await asyncio.get_running_loop().run_in_executor(self._writer, self._file.close)
        syncing = asyncio.ensure_future(self.sync_ledger())
        await asyncio.wait({syncing}, timeout=max(0.1, until - time.monotonic()))
        self._writer.shutdown(wait=False)
        self._reader.shutdown(wait=False)
