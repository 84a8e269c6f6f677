"""A state folder with what scans and the quarantine leave there, at times that a test chooses."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from unittest import mock

from hashscan.hashing.variants import VARIANTS
from hashscan.model import TEST_CATEGORY, Digest, FileResult, FileStat, Match, Verdict
from hashscan.quarantine.log import LogWriter
from hashscan.quarantine.log_checkpoint import LogCheckpoint, write_checkpoint
from hashscan.state.findings import findings
from hashscan.state.findings.coverage import Coverage
from hashscan.state.findings.findings import Findings, Place
from hashscan.state.findings.history import begin_account, conclude_account
from hashscan.state.store.database import open_database
from hashscan.state_dir import StateDir
from hashscan.text import path_fields

BEGIN = 1_800_000_000
NATIONAL = ("national",)


def coverage(lists: Sequence[str] = NATIONAL) -> Coverage:
    """That of a scan with these lists and all options."""
    return Coverage(frozenset(lists), {"pdq": 31}, frozenset(VARIANTS))


"""Seconds since 1970."""


def result(
    content: bytes,
    verdict: Verdict = Verdict.MATCH,
    category: str = "A1",
    lists: Sequence[str] = NATIONAL,
) -> FileResult:
    """Return the result of a file with this content, which entries of these lists accuse."""
    matches = tuple(Match(name, f"n-{content.hex()}", "md5", category, 0, 0) for name in lists)
    return FileResult(
        b"name",
        FileStat(1, 2, len(content), 4, 5 + content[0], 1, 1000),
        verdict,
        because="md5 equal" if verdict is not Verdict.CLEAN else "",
        matches=matches if verdict is not Verdict.CLEAN else (),
        digests=(Digest("sha256", hashlib.sha256(content).digest()),),
        only_test=category == TEST_CATEGORY and verdict is not Verdict.CLEAN,
    )


class World:
    """The folder, and its clock."""

    def __init__(self, state: Path) -> None:
        state.mkdir(mode=0o700, parents=True)
        self.state = state
        self.now = BEGIN
        self._scans = 0
        self._items = 0
        self._log: LogWriter | None = None

    def wait(self, seconds: int) -> None:
        self.now += seconds

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(open_database(StateDir(self.state))[0]) as database:
            yield database

    def scan(
        self,
        seen: dict[bytes, FileResult],
        gone: Sequence[bytes] = (),
        *,
        ends: bool = True,
        uuid: str = "",
        lists: Sequence[str] = NATIONAL,
        endpoint: str = "",
    ) -> None:
        """Have a scan with these lists see files, and miss others; one that doesn't end was killed."""
        self._scans += 1
        with self._database() as database, mock.patch.object(findings.time, "time", return_value=self.now):
            (number,) = database.execute(
                "INSERT INTO scans (started) VALUES (?) RETURNING id", (self.now,)
            ).fetchone()
            begun = {
                "uuid": uuid or f"scan-{self._scans}",
                "targets": [{"path": "/www"}],
                "lists": [{"name": name, "state": "fresh", "version": 3, "entries": 9} for name in lists],
            }
            begin_account(database, number, begun)
            book = Findings(database, coverage(lists))
            for path, what in seen.items():
                book.store(Place(path, "", endpoint), what, number)
            for one in book.open_findings(number):
                if one.path in gone:
                    book.end_as_gone(one, number)
            if ends:
                database.execute("UPDATE scans SET ended=? WHERE id=?", (self.now, number))
                counts = {
                    "verdicts": {"match": len(seen)}, "reasons": {}, "files": 100, "bytes": 1000,
                }  # fmt: skip
                conclude_account(database, number, counts, 1 if seen else 0, ())

    def lose_state(self) -> None:
        """Have what scans remember set aside."""
        shutil.rmtree(StateDir(self.state).scans, ignore_errors=True)

    def custody(self, *lines: dict[str, object]) -> None:
        """Put lines into the quarantine's log."""
        if self._log is None:
            StateDir(self.state).quarantine.mkdir(mode=0o700, exist_ok=True)
            self._log = LogWriter(StateDir(self.state).quarantine)
        at = datetime.fromtimestamp(self.now, UTC).isoformat()
        for line in lines:
            self._log.append({"time": at, **line})
        self._log.sync()
        self._log.write_head()
        write_checkpoint(StateDir(self.state), LogCheckpoint(self._log.head, 0))

    def move(self, path: bytes, version: str = "", endpoint: str = "") -> str:
        """Have a file moved into quarantine, or an object where a version is given; return its item."""
        self._items += 1
        item = f"{self._items:08x}"
        intent = {
            "type": "moving",
            "item": item,
            **path_fields(path),
            "place": path_fields(b"/q"),
            "file": {},
        }
        if version:
            intent |= {"object": {"version": version}, "endpoint": endpoint or None}
        self.custody(intent, {"type": "moved", "item": item})
        return item

    def restore(self, item: str) -> None:
        """Have it put back."""
        self.custody({"type": "restoring", "item": item}, {"type": "restored", "item": item})

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
