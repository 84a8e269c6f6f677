"""The findings of all sweeps: each stands until a sweep finds its file gone or harmless.

A file that a sweep could not or would not read is neither.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from hashscan.model import Action, FileResult, FileStat, Verdict
from hashscan.quarantine.items import path_of
from hashscan.reports.record_lines import Record
from hashscan.reports.records import FINDINGS, match_fields, standing_record
from hashscan.scan.breaker import is_still_held
from hashscan.scan.state.listings import wrapped
from hashscan.scan.state.moments import moment

GONE, CHANGED, CLEARED = "gone", "changed", "cleared"
"""How a finding ends: there is no such file any more, it has another content, or no list accuses it now."""

NO_STAT = FileStat(0, 0, 0, 0, 0, 0, 0)
"""Of a file that nobody has looked at."""


class Standing(NamedTuple):
    """An earlier finding that a sweep did not come by."""

    path: bytes
    version: str
    """Of an object, where versions were swept; else empty."""
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
        rows = database.execute("SELECT path, version FROM findings WHERE gone IS NULL")
        self._open = {(bytes(path), str(version)) for path, version in rows}
        """Those that stand, so that most files need not be looked up among them."""
        self._doubtful: set[tuple[bytes, str]] = set()

    @property
    def any_stand(self) -> bool:
        """Whether a clean file may be one of them."""
        return bool(self._open)

    def judge(
        self,
        path: bytes,
        version: str,
        result: FileResult,
        sweep: int,
        *,
        etag: str = "",
        customer: str = "",
        looked: bool = True,
    ) -> None:
        """Put down what a sweep has found of a file, or of a version of an object.

        Args:
            path: of the file, or an object's URL.
            version: of an object, where versions are swept; else empty.
            result: what was found.
            sweep: by which sweep.
            etag: of an object.
            customer: who must act on it; empty where nobody says.
            looked: whether anybody has looked at the file, and not only at what was kept of it.
        """
        if result.verdict in FINDINGS:
            self._put(path, version, result, sweep, etag, customer, looked=looked)
        elif result.verdict is not Verdict.CLEAN:
            self.leave(path, version)
        elif (path, version) in self._open:
            self._open.remove((path, version))
            self._lose(path, version, sweep, self._ending(path, version, result))

    def _put(
        self,
        path: bytes,
        version: str,
        result: FileResult,
        sweep: int,
        etag: str,
        customer: str,
        *,
        looked: bool,
    ) -> None:
        now = int(time.time())
        self._open.add((path, version))
        uid, device, *identity = _identity(result.stat)
        if not looked:
            uid = device = None
        matches = json.dumps([match_fields(match) for match in result.matches])
        self._database.execute(
            "INSERT INTO findings (path, version, content, verdict, because, first, last, sweep, touched, "
            "matches, customer, sha256, uid, device, inode, size, mtime, ctime, etag) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (path, version) WHERE gone IS NULL DO UPDATE SET content=excluded.content, "
            "verdict=excluded.verdict, because=excluded.because, sweep=excluded.sweep, "
            # Nobody has seen the file where only what is known of it was asked.
            "last=iif(?, excluded.last, last), touched=excluded.touched, matches=excluded.matches, "
            "customer=coalesce(nullif(excluded.customer, ''), customer), sha256=excluded.sha256, "
            "uid=coalesce(excluded.uid, uid), device=coalesce(excluded.device, device), "
            "inode=excluded.inode, size=excluded.size, mtime=excluded.mtime, ctime=excluded.ctime, "
            "etag=excluded.etag",
            (path, version, result.content, result.verdict.value, result.because, now, now, sweep, sweep,
             matches, customer, _sha256(result), uid, device, *identity, etag, looked),
        )  # fmt: skip

    def _ending(self, path: bytes, version: str, result: FileResult) -> str:
        """Why a file that stands is clean: its content is another, or no list says anything of it."""
        query = (
            "SELECT content, uid, device, inode, size, mtime, ctime FROM findings "
            "WHERE path=? AND version=? AND gone IS NULL"
        )
        content, *identity = self._database.execute(query, (path, version)).fetchone()
        same = content is not None and content == result.content
        return CLEARED if same or tuple(identity) == _identity(result.stat) else CHANGED

    def hold(self, held: Iterable[Record]) -> None:
        """Put down what was found and is held after all; by its records."""
        self._database.executemany(
            "UPDATE findings SET verdict=?, because=? WHERE path=? AND version=? AND gone IS NULL",
            ((Verdict.HELD, r["because"], path_of(r), r.get("version", "")) for r in held),
        )

    def settled(self, path: bytes, version: str, result: FileResult) -> FileResult:
        """What was found without counting all that an entry hits, as the last sweep settled it."""
        if result.verdict is not Verdict.MATCH:
            return result
        row = self._database.execute(
            "SELECT verdict, because FROM findings WHERE path=? AND version=? AND gone IS NULL",
            (path, version),
        ).fetchone()
        return result if row is None else _settled(result, *row)

    def leave(self, path: bytes, version: str) -> None:
        """Say that something is there which was not checked, so that nothing is known of a finding there."""
        for key in ((path, version), (path, "")):
            if key in self._open:
                self._doubtful.add(key)

    def settle(self, found: Standing, sweep: int) -> bool:
        """Put down that one is gone which a sweep would have come by; whether that can be believed."""
        if (found.path, found.version) in self._doubtful:
            return False
        self._open.discard((found.path, found.version))
        self._lose(found.path, found.version, sweep, GONE)
        return True

    def _lose(self, path: bytes, version: str, sweep: int, ending: str) -> None:
        self._database.execute(
            "UPDATE findings SET gone=?, touched=?, ending=? WHERE path=? AND version=? AND gone IS NULL",
            (int(time.time()), sweep, ending, path, version),
        )

    def standing(self, sweep: int) -> list[Standing]:
        """Those that are not gone, and that a sweep did not find again."""
        rows = self._database.execute(
            "SELECT path, version, content, verdict, because, first, last FROM findings "
            "WHERE sweep<? AND gone IS NULL ORDER BY path, version",
            (sweep,),
        )
        return [Standing(*row) for row in rows]


def _sha256(result: FileResult) -> bytes | None:
    return next((digest.value for digest in result.digests if digest.algorithm == "sha256"), None)


def _identity(stat: FileStat) -> tuple[int | None, ...]:
    """Owner, device, inode, size and times; what an object has none of is None."""
    times = stat.size, wrapped(stat.mtime_ns)
    if stat.of_object:
        return None, None, None, *times, None
    return stat.uid, wrapped(stat.device), wrapped(stat.inode), *times, wrapped(stat.ctime_ns)


def standing_record_of(found: Standing, result: FileResult | None) -> Record:
    """The record of an earlier finding.

    Args:
        found: what was put down.
        result: what today's lists say of its content, where that is kept.
    """
    if result is None:
        result = FileResult(b"", NO_STAT, Verdict(found.verdict), because=found.because)
    result = _settled(result, found.verdict, found.because)
    return standing_record(found.path, found.version, result, moment(found.first), moment(found.last))


def _settled(result: FileResult, verdict: str, because: str) -> FileResult:
    first = {
        "verdict": result.verdict,
        "because": result.because,
        "matches": [match_fields(match) for match in result.matches],
    }
    if verdict != Verdict.HELD or not is_still_held(first, because):
        return result
    return replace(result, verdict=Verdict.HELD, action=Action.HELD, because=because)
