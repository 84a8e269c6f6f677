"""The findings of all sweeps: each stands until a sweep comes by its file and finds it gone or harmless."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from hashscan.model import FileResult, FileStat, Verdict
from hashscan.reports.base import Record
from hashscan.reports.records import standing_record

NO_STAT = FileStat(0, 0, 0, 0, 0, 0, 0)
"""Of a file that nobody has looked at."""


class Standing(NamedTuple):
    """An earlier finding that a sweep did not come by."""

    path: bytes
    content: int | None
    """Its number, where it was kept."""
    verdict: str
    because: str
    first: int
    """When it was found first, in seconds since 1970."""
    last: int
    """When it was found last."""


class Findings:
    """All of them."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def put(self, path: bytes, result: FileResult, scope: int, sweep: int) -> None:
        """Put down that a sweep has found something."""
        now = int(time.time())
        self._database.execute(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (path) DO UPDATE SET "
            "scope=CASE excluded.scope WHEN 0 THEN scope ELSE excluded.scope END, content=excluded.content, "
            "verdict=excluded.verdict, because=excluded.because, last=excluded.last, "
            "sweep=excluded.sweep, gone=NULL",
            (path, scope, result.content, result.verdict.value, result.because, now, now, sweep),
        )

    def settle(self, scope: int, sweep: int) -> None:
        """After a sweep, put down which findings of its scope are gone, in folders that it has checked."""
        now = int(time.time())
        for found in list(self.standing(scope, sweep)):
            folder = os.path.dirname(found.path)
            checked = self._database.execute(
                "SELECT max(sweep) FROM folders JOIN seen ON folder=id WHERE path=?", (folder,)
            ).fetchone()
            if checked[0] is None or checked[0] >= sweep:
                self._database.execute("UPDATE findings SET gone=? WHERE path=?", (now, found.path))

    def standing(self, scope: int, sweep: int) -> Iterator[Standing]:
        """Findings of a scope that are not gone, and that a sweep did not come by."""
        rows = self._database.execute(
            "SELECT path, content, verdict, because, first, last FROM findings "
            "WHERE scope=? AND sweep<? AND gone IS NULL ORDER BY path",
            (scope, sweep),
        )
        yield from (Standing(*row) for row in rows.fetchall())

    def all_standing(self) -> Iterator[Standing]:
        """Findings of all scopes that are not gone."""
        rows = self._database.execute(
            "SELECT path, content, verdict, because, first, last FROM findings "
            "WHERE gone IS NULL ORDER BY path"
        )
        yield from (Standing(*row) for row in rows.fetchall())


def standing_record_of(found: Standing, result: FileResult | None) -> Record:
    """The record of an earlier finding.

    Args:
        found: what was put down.
        result: what today's lists say of its content, where that is kept.
    """
    if result is None:
        result = FileResult(b"", NO_STAT, Verdict(found.verdict), because=found.because)
    times = [datetime.fromtimestamp(seconds, UTC).isoformat() for seconds in (found.first, found.last)]
    return standing_record(found.path, result, *times)
