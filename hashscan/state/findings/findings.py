"""Store the findings of all scans; each stays open until a scan finds its file gone or harmless.

A file that a scan could not read, or left out, is neither gone nor harmless. A file that today's lists don't
accuse is harmless only where each list that accused it was in use, and asked as widely as then
(`state.findings.coverage`), or where its content is different. Matches that a scan could not have found again
stay part of the finding.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import structs

from hashscan.matching.circuit_breaker import is_still_held
from hashscan.model import Action, FileResult, FileStat, Verdict
from hashscan.reports.records import FINDINGS, Record, match_fields, standing_record
from hashscan.state.findings.coverage import (
    FORMER,
    Coverage,
    MatchFields,
    identity_of,
    joined,
    matches_of,
    only_test,
    strength,
)
from hashscan.state.store.listings import wrapped
from hashscan.timefmt import format_time

GONE, CHANGED, CLEARED = "gone", "changed", "cleared"
"""Endings of a finding: the file no longer exists, it has other content, or no list accuses it now."""

UNKNOWN_STAT = FileStat(0, 0, 0, 0, 0, 0, 0)
"""Stat of a file that was not examined."""


class Place(NamedTuple):
    """A file, or a version of an object at one service."""

    path: bytes
    version: str = ""
    endpoint: str = ""


class OpenFinding(NamedTuple):
    """An earlier open finding that a scan did not meet."""

    path: bytes
    version: str
    """Version of an object, where versions were scanned; else empty."""
    content: int | None
    """Number of its content, where that was kept."""
    verdict: str
    because: str
    first: int
    """Time of the first detection, in seconds since 1970."""
    last: int
    """Time of the last detection."""
    matches: str
    """JSON, with the fields of reports."""
    endpoint: str = ""
    """URL of the service that holds an object; empty for the provider's own, and for files."""
    breaker: str = ""
    """The code of `HeldBy` for which the circuit breaker holds it; empty if it does not."""

    @property
    def place(self) -> Place:
        return Place(self.path, self.version, self.endpoint)


_OF_PLACE = "WHERE path=? AND version=? AND endpoint=? AND gone IS NULL"
"""Selects the open finding of a `Place`."""


class _StoredFinding(NamedTuple):
    """The stored fields of an open finding that decide how it continues."""

    verdict: str
    content: int | None
    sha256: bytes | None
    identity: tuple[int | None, ...]
    matches: Sequence[MatchFields]


class Findings:
    """The table of all findings, as one scan updates it."""

    def __init__(
        self,
        database: sqlite3.Connection,
        coverage: Coverage,
        sha256_of: Callable[[int], bytes | None] = lambda _: None,
    ) -> None:
        self._database = database
        self._coverage = coverage
        self._sha256_of = sha256_of
        self._tell_lists_apart()
        rows = database.execute("SELECT path, version, endpoint FROM findings WHERE gone IS NULL")
        self._open = {Place(*row) for row in rows}
        """Keys of the open findings, so that most files need no database lookup."""
        self._doubtful: set[Place] = set()
        self._firm: set[Place] = set()
        """Keys of findings accused by a list that this scan does not ask; the breaker can't hold them."""

    def _tell_lists_apart(self) -> None:
        """Mark the matches of lists of which another list has the name now, which must not clear them."""
        row = self._database.execute("SELECT value FROM meta WHERE key='lists'").fetchone()
        before: dict[str, str] = {} if row is None else json.loads(row[0])
        now = {name: " ".join(sorted(found)) for name, found in self._coverage.identities.items()}
        others = {
            name
            for name in before.keys() & now.keys()
            if before[name] != now[name] and not identity_of(before[name]) & identity_of(now[name])
        }
        if others:
            query = "SELECT id, matches FROM findings WHERE gone IS NULL"
            for number, text in self._database.execute(query).fetchall():
                matches = matches_of(text)
                marked = [
                    {FORMER: before[match["list"]], **match} if match["list"] in others else match
                    for match in matches
                ]
                if marked != matches:
                    self._database.execute(
                        "UPDATE findings SET matches=? WHERE id=?", (json.dumps(marked), number)
                    )
        if now.items() - before.items():
            self._database.execute(
                "INSERT OR REPLACE INTO meta VALUES ('lists', ?)", (json.dumps({**before, **now}),)
            )

    @property
    def any_open(self) -> bool:
        """True if there are open findings, so that a clean file may be one of them."""
        return bool(self._open)

    def store(
        self,
        place: Place,
        result: FileResult,
        scan: int,
        *,
        etag: str = "",
        customer: str = "",
        looked: bool = True,
    ) -> None:
        """Store the result of a scan for a file, or for a version of an object; the customer is who must act
        on it, and `looked` is False if only its kept content was examined."""
        if result.verdict in FINDINGS:
            self._put(place, result, scan, etag, customer, looked=looked)
        elif result.verdict is not Verdict.CLEAN:
            self.leave(place)
        elif place in self._open:
            self._take_clean(place, result, scan)

    def _take_clean(self, place: Place, result: FileResult, scan: int) -> None:
        kept = self._kept(place)
        changed = self._has_changed(kept, result)
        if not changed and self._coverage.unanswered(kept.matches):
            self.leave(place)
            return
        same = changed is False or kept.identity == _identity(result.stat)
        self._open.remove(place)
        self._lose(place, scan, CLEARED if same else CHANGED)

    def _put(
        self,
        place: Place,
        result: FileResult,
        scan: int,
        etag: str,
        customer: str,
        *,
        looked: bool,
    ) -> None:
        now = int(time.time())
        verdict, because = result.verdict.value, result.because
        matches: list[MatchFields] = [match_fields(match) for match in result.matches]
        if place in self._open:
            kept = self._kept(place)
            unheard = []
            if not self._has_changed(kept, result):
                unheard = self._coverage.unanswered(kept.matches, in_part=result.reason is not None)
            before = strength(kept.verdict, kept.matches)
            if unheard and strength(verdict, matches) < before:
                self._add(place, joined(kept.matches, matches), scan, now if looked else None)
                return
            if only_test(kept.matches) != only_test(matches):
                # Test entries open no case: what they say and what other entries say are two findings.
                self._lose(place, scan, CLEARED)
            elif unheard:
                if kept.verdict == Verdict.MATCH:
                    self._firm.add(place)
                matches = joined(matches, unheard)
        self._open.add(place)
        uid, device, *identity = _identity(result.stat)
        if not looked:
            uid = device = None
        self._database.execute(
            "INSERT INTO findings (path, version, endpoint, content, verdict, because, first, last, scan, "
            "touched, matches, customer, sha256, uid, device, inode, size, mtime, ctime, etag, breaker) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (path, version, endpoint) WHERE gone IS NULL DO UPDATE SET "
            "content=excluded.content, verdict=excluded.verdict, because=excluded.because, "
            "scan=excluded.scan, "
            # The file was not seen where only its kept content was compared.
            "last=iif(?, excluded.last, last), touched=excluded.touched, matches=excluded.matches, "
            "customer=coalesce(nullif(excluded.customer, ''), customer), sha256=excluded.sha256, "
            "uid=coalesce(excluded.uid, uid), device=coalesce(excluded.device, device), "
            "inode=excluded.inode, size=excluded.size, mtime=excluded.mtime, ctime=excluded.ctime, "
            "etag=excluded.etag, breaker=excluded.breaker",
            (*place, result.content, verdict, because, now, now, scan, scan, json.dumps(matches),
             customer, _sha256(result), uid, device, *identity, etag, result.held_by, looked),
        )  # fmt: skip

    def _add(self, place: Place, matches: Sequence[MatchFields], scan: int, seen: int | None) -> None:
        """Add matches to a finding that stays open because of lists that this scan does not ask.

        It counts as not met, so that the scan reports it with its earlier verdict.
        """
        self.leave(place)
        self._firm.add(place)
        self._database.execute(
            f"UPDATE findings SET matches=?, touched=?, last=coalesce(?, last) {_OF_PLACE}",  # noqa: S608
            (json.dumps(matches), scan, seen, *place),
        )

    def _kept(self, place: Place) -> _StoredFinding:
        query = (
            "SELECT verdict, content, sha256, matches, uid, device, inode, size, mtime, ctime FROM findings "  # noqa: S608
            + _OF_PLACE
        )
        row = self._database.execute(query, place).fetchone()
        verdict, content, sha256, matches, *identity = row
        return _StoredFinding(verdict, content, sha256, tuple(identity), matches_of(matches))

    def _has_changed(self, kept: _StoredFinding, result: FileResult) -> bool | None:
        """Return True if the content differs from when the file was found; None if that is unknown."""
        if kept.content is not None and kept.content == result.content:
            return False
        sha256 = _sha256(result)
        if sha256 is None and result.content is not None:
            sha256 = self._sha256_of(result.content)
        if sha256 is not None and kept.sha256 is not None:
            return sha256 != kept.sha256
        *_, size, _, _ = kept.identity
        if size is not None and 0 <= size != result.stat.size >= 0:
            return True
        return None

    def hold(self, held: Iterable[tuple[Place, Record]]) -> None:
        """Store the verdict held for findings that were held after all, given with their records."""
        self._database.executemany(
            f"UPDATE findings SET verdict=?, because=?, breaker=? {_OF_PLACE}",  # noqa: S608
            (
                (Verdict.HELD, record["because"], record["breaker"], *place)
                for place, record in held
                if place not in self._firm
            ),
        )

    def with_stored_verdict(self, place: Place, result: FileResult) -> FileResult:
        """Return a result with the verdict that the last scan stored after counting hits.

        A single result does not count all hits of an entry, so a held match looks like a match.
        """
        if result.verdict is not Verdict.MATCH:
            return result
        row = self._database.execute(
            f"SELECT verdict, because, breaker, matches FROM findings {_OF_PLACE}",  # noqa: S608
            place,
        ).fetchone()
        return result if row is None else _with_stored(result, *row)

    def leave(self, place: Place) -> None:
        """Record that a place exists but was not checked, so that its finding is not taken for gone."""
        for key in (place, place._replace(version="")):
            if key in self._open:
                self._doubtful.add(key)

    def end_as_gone(self, found: OpenFinding, scan: int) -> bool:
        """Mark a finding as gone that a scan would have met; return False if its place was not checked."""
        if found.place in self._doubtful:
            return False
        self._open.discard(found.place)
        self._lose(found.place, scan, GONE)
        return True

    def _lose(self, place: Place, scan: int, ending: str) -> None:
        self._database.execute(
            f"UPDATE findings SET gone=?, touched=?, ending=? {_OF_PLACE}",  # noqa: S608
            (int(time.time()), scan, ending, *place),
        )

    def is_covered(self, found: OpenFinding) -> bool:
        """Return True if the lists in use can decide that nothing accuses a finding's content any more."""
        return not self._coverage.unanswered(matches_of(found.matches))

    def open_findings(self, scan: int) -> list[OpenFinding]:
        """Return the open findings that a scan did not find again."""
        rows = self._database.execute(
            "SELECT path, version, content, verdict, because, first, last, matches, endpoint, "
            "breaker FROM findings WHERE scan<? AND gone IS NULL ORDER BY path, version, endpoint",
            (scan,),
        )
        return [OpenFinding(*row) for row in rows]


def _sha256(result: FileResult) -> bytes | None:
    return next((digest.value for digest in result.digests if digest.algorithm == "sha256"), None)


def _identity(stat: FileStat) -> tuple[int | None, ...]:
    """Return owner, device, inode, size and times; None for each attribute that an object lacks."""
    times = stat.size, wrapped(stat.mtime_ns)
    if stat.of_object:
        return None, None, None, *times, None
    return stat.uid, wrapped(stat.device), wrapped(stat.inode), *times, wrapped(stat.ctime_ns)


def open_finding_record(found: OpenFinding, result: FileResult | None, *, answered: bool) -> Record | None:
    """Return the record of an earlier finding; None where today's lists clear its content, as far as they can
    decide that (`answered`)."""
    if result is not None and result.verdict not in FINDINGS:
        if answered:
            return None
        result = None
    if result is not None and not answered:
        kept, today = matches_of(found.matches), [match_fields(match) for match in result.matches]
        if strength(result.verdict.value, today) < strength(found.verdict, kept):
            result = None
    times = format_time(found.first), format_time(found.last)
    if result is None:
        result = FileResult(b"", UNKNOWN_STAT, Verdict(found.verdict), because=found.because)
        record = standing_record(found.path, found.version, result, *times, endpoint=found.endpoint)
        matches = matches_of(found.matches)
        return {**record, "matches": matches} if matches else record
    stored = _with_stored(result, found.verdict, found.because, found.breaker, found.matches)
    return standing_record(found.path, found.version, stored, *times, endpoint=found.endpoint)


def _with_stored(result: FileResult, verdict: str, because: str, breaker: str, matches: str) -> FileResult:
    first = {"verdict": result.verdict, "matches": [match_fields(match) for match in result.matches]}
    if not is_still_held(first, {"verdict": verdict, "breaker": breaker, "matches": matches_of(matches)}):
        return result
    return structs.replace(result, verdict=Verdict.HELD, action=Action.HELD, because=because, held_by=breaker)
