"""Store how each scan began and ended, and read the history of scans and findings."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hashscan.errors import OutputError
from hashscan.locking import ClosedOnExit
from hashscan.reports.records import Record
from hashscan.shortcomings import Shortcoming, fields_of
from hashscan.state.store.database import FILE, checked_row, closed_on_failure, open_snapshot
from hashscan.state_dir import StateDir


def begin_account(database: sqlite3.Connection, scan: int, begun: Record) -> None:
    part = begun.get("shard")
    database.execute(
        "UPDATE scans SET uuid=?, known=?, shard=?, targets=?, lists=? WHERE id=?",
        (
            begun["uuid"],
            int(begun.get("known", False)),
            "" if part is None else f"{part['index']}/{part['count']}",
            json.dumps(begun["targets"]),
            json.dumps([{key: info.get(key) for key in _OF_LISTS} for info in begun["lists"]]),
            scan,
        ),
    )


_OF_LISTS = ("name", "state", "version", "entries", "expires", "made")


def conclude_account(
    database: sqlite3.Connection,
    scan: int,
    summary: Record,
    exit_code: int,
    incomplete: Sequence[Shortcoming],
) -> None:
    database.execute(
        "UPDATE scans SET exit_code=?, verdicts=?, incomplete=?, files=?, bytes=?, reasons=? WHERE id=?",
        (
            exit_code,
            json.dumps(summary["verdicts"]),
            json.dumps(fields_of(incomplete)),
            summary["files"],
            summary["bytes"],
            json.dumps(summary["reasons"]),
            scan,
        ),
    )


_FLOCK = "hhqqi"
"""Layout of `struct flock`, fcntl(2): kind, whence, start, length, process."""


class ScanRecord(NamedTuple):
    """One scan."""

    number: int
    uuid: str
    known: bool
    """True if no file was read."""
    shard: str
    """'' or INDEX/COUNT."""
    started: int
    """Seconds since 1970, as all times here."""
    ended: int | None
    """None if the scan was killed."""
    exit_code: int | None
    targets: str
    """JSON, as the next three fields, with the terms of reports."""
    lists: str
    verdicts: str
    incomplete: str
    files: int
    bytes: int
    reasons: str = "{}"
    """JSON: the number of files by verdict and reason, with the terms of reports."""


class FindingRecord(NamedTuple):
    """One finding, from the first detection until its file was gone or harmless."""

    number: int
    path: bytes
    version: str
    verdict: str
    because: str
    first: int
    last: int
    gone: int | None
    ending: str
    """Ending: one of the constants of `state.findings.findings`; empty while open."""
    matches: str
    """JSON, with the fields of reports."""
    customer: str
    sha256: bytes | None
    uid: int | None
    device: int | None
    inode: int | None
    size: int | None
    mtime: int | None
    """Nanoseconds since 1970, wrapped to 64 bits."""
    ctime: int | None
    etag: str
    lists: str = "[]"
    """JSON, with the fields of reports: lists of the last scan that changed this finding."""
    endpoint: str = ""
    """URL of the service that holds an object; empty for the provider's own, and for files."""


class History(ClosedOnExit):
    """A read-only view of a state's scans and findings at one moment; usable while a scan runs.

    Findings of a running scan are left out: only its end decides which of them are held.

    Raises, in all methods:
        OutputError: the state can't be read, or is damaged.
    """

    def __init__(self, state: StateDir) -> None:
        """Open the state in a folder.

        Raises:
            OtherStateError: another version has written it.
        """
        self._folder = state.scans
        self.identity = ""
        """Identifier of this state, to distinguish it from one that was set aside; empty if there is none."""
        self._running = 0
        with self._explained():
            if not (self._folder / FILE).exists():
                return
            running = _is_locked(state.scan_lock)
            self._database, has_tables = open_snapshot(self._folder)
            with closed_on_failure(self._database):
                self._begin(running=running, has_tables=has_tables)

    def _begin(self, *, running: bool, has_tables: bool) -> None:
        database = self._database
        database.row_factory = checked_row
        query = "SELECT value FROM meta WHERE key='identity'"
        row = database.execute(query).fetchone() if has_tables else None
        if row is None:
            database.close()
            return
        self.identity = str(row[0])
        if running:
            last = database.execute("SELECT id, exit_code FROM scans ORDER BY id DESC LIMIT 1").fetchone()
            if last is not None and last[1] is None:
                self._running = last[0]

    @property
    def last(self) -> int:
        """Number of the last scan in this view; 0 if there is none."""
        return self._last("TRUE")

    @property
    def last_final(self) -> int:
        """Number of the last scan that is final, together with its findings; 0 if there is none.

        A scan without a stored end may have been killed or may be ending just now; the two can't be
        distinguished reliably.
        """
        return self._last("exit_code IS NOT NULL OR id < (SELECT max(id) FROM scans)")

    def _last(self, which: str) -> int:
        if not self.identity:
            return 0
        with self._explained():
            query = f"SELECT id FROM scans WHERE id<>? AND ({which}) ORDER BY id DESC LIMIT 1"  # noqa: S608
            row = self._database.execute(query, (self._running,)).fetchone()
            return 0 if row is None else int(row[0])

    def mark(self, number: int) -> str:
        """Return a mark that identifies a scan beyond its number; empty if there is no such scan.

        After an older state was restored, another scan may get the same number.
        """
        if not self.identity:
            return ""
        with self._explained():
            query = "SELECT started, uuid FROM scans WHERE id=?"
            row = self._database.execute(query, (number,)).fetchone()
            return "" if row is None else f"{row[0]} {row[1]}"

    def scans(self, since: int) -> Iterator[ScanRecord]:
        """Yield the scans from a number on, in order."""
        if self.identity:
            with self._explained():
                for row in self._database.execute(
                    "SELECT id, uuid, known, shard, started, ended, exit_code, targets, lists, verdicts, "
                    "incomplete, files, bytes, reasons FROM scans WHERE id>=? AND id<>? ORDER BY id",
                    (since, self._running),
                ):
                    yield ScanRecord(*row)

    def findings(self, since: int) -> Iterator[FindingRecord]:
        """Yield the findings that a scan from this number on has changed, in the order of their numbers."""
        if self.identity:
            with self._explained():
                for row in self._database.execute(
                    "SELECT findings.id, path, version, verdict, because, first, last, gone, ending, "
                    "matches, customer, sha256, uid, device, inode, size, mtime, ctime, etag, "
                    "coalesce(lists, '[]'), endpoint FROM findings LEFT JOIN scans ON scans.id=touched "
                    "WHERE touched>=? AND touched<>? ORDER BY findings.id",
                    (since, self._running),
                ):
                    yield FindingRecord(*row)

    def close(self) -> None:
        """Close the state."""
        if self.identity:
            self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as error:
            raise OutputError(
                f"can't read what scans have found in {self._folder}: {error}",
                advice="See `hashscan state check`.",
            ) from error


def _is_locked(path: Path) -> bool:
    """Return True if another process holds a record lock; the lock is not taken."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind: int = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK
    finally:
        os.close(descriptor)
