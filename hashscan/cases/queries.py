"""What the ledger is asked: cases, sweeps and what happened to things in quarantine, in a period or now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hashscan.cases.deadlines import DUE, Clock
from hashscan.cases.ledger import Ledger

EVER = 1 << 62
"""A time that never comes, in seconds since 1970; less it, one that never was."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case. All times are in seconds since 1970, and None where it has not come to that."""

    id: int
    path: bytes | None
    """Of the file, or an object's URL; None where none is known."""
    version: str
    host: str
    """The machine on which the file lies; empty where it is this one."""
    url: str
    """By which a notice names it."""
    verdict: str
    """match, held, review; notice where only somebody else says so."""
    because: str
    categories: tuple[str, ...]
    """Of the entries that match, and those that notices name."""
    customer: str
    """Who must act; empty where no rule says."""
    sha256: bytes | None
    etag: str
    uid: int | None
    device: int | None
    inode: int | None
    size: int | None
    mtime: int | None
    ctime: int | None
    found: int
    """When it was found or told of, whichever was first."""
    seen: int
    """When a sweep has met it last."""
    began: int
    """Since when somebody must act: when it was found or told of, or became a match."""
    noticed: int | None
    """When somebody else's notice came."""
    due: int | None
    """By when it must be removed; None where it has no clock."""
    told: int | None
    """When the customer was told."""
    removed: int | None
    how: str
    """gone, changed or quarantined; cleared where no list accuses it any more."""
    closed: int | None
    why: str
    disputed: int | None
    dispute: str
    previous: int | None
    """The case that the same path had before."""

    @property
    def open(self) -> bool:
        """Whether somebody must still act."""
        return self.removed is None and self.closed is None

    @property
    def state(self) -> str:
        """In one word: removed, closed, disputed, told or found."""
        for word in ("removed", "closed", "disputed", "told"):
            if getattr(self, word) is not None:
                return word
        return "found"

    def overdue(self, now: float) -> bool:
        """Whether it should have been removed by now."""
        return self.open and self.due is not None and self.due < now

    @property
    def hours(self) -> float | None:
        """From when it began to when it was removed; None where it wasn't."""
        return None if self.removed is None else max(0, self.removed - self.began) / 3600


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep, or one part of one; times in seconds since 1970."""

    uuid: str
    known: bool
    """Whether no file was looked at, so that its files don't count as checked."""
    shard: str
    started: int
    ended: int | None
    """None where it was killed."""
    exit_code: int | None
    whole: bool
    """Whether it has checked all that there was."""
    files: int
    bytes: int
    """That were read."""
    verdicts: Mapping[str, int]
    lists: Sequence[Mapping[str, Any]]
    """name, state, version, entries, expires of each."""
    targets: Sequence[Mapping[str, str]]
    incomplete: Sequence[str]


@dataclass(frozen=True, slots=True)
class CustodyEvent:
    """One thing that the custody log says; `at` in seconds since 1970."""

    at: int
    kind: str
    """moved, left, restored, released, withdrawn or accused."""
    item: str
    path: bytes | None
    case: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a case; `at` in seconds since 1970."""

    at: int
    kind: str
    words: str
    who: str
    """The user who did it; empty where it was seen."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a hash list that speaks against a case."""

    list_name: str
    entry: str
    algorithm: str
    variant: str
    category: str
    distance: int


_CASE = (
    "SELECT id, path, version, host, url, verdict, because, categories || ' ' || claimed, customer, "  # noqa: S608
    "sha256, etag, uid, device, "
    f"inode, size, mtime, ctime, found, seen, coalesce(began, found), noticed, {DUE}, told, removed, how, "
    "closed, why, disputed, dispute, previous FROM cases"
)


class Queries:
    """Asks a ledger, with a clock.

    Raises, in all it does:
        LedgerError: the ledger can't be read.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        clock.attach(ledger)

    def case(self, number: int) -> Case | None:
        """A case by its number."""
        return next(self._cases("WHERE id=?", number), None)

    def found(self, since: int = -EVER, until: int = EVER) -> Iterator[Case]:
        """Cases that were found or told of from one moment to before another, by their numbers."""
        return self._cases("WHERE found>=? AND found<? ORDER BY id", since, until)

    def removed(self, since: int = -EVER, until: int = EVER) -> Iterator[Case]:
        """Cases whose files were gone from one moment to before another, in that order."""
        return self._cases("WHERE removed>=? AND removed<? ORDER BY removed, id", since, until)

    def waiting(self) -> Iterator[Case]:
        """Cases on which somebody must still act, in the order in which they are due."""
        return self._cases(f"WHERE removed IS NULL AND closed IS NULL ORDER BY {DUE} IS NULL, {DUE}, id")

    def due(self, by: float) -> Iterator[Case]:
        """Cases that are due before a moment and not removed, the longest due first."""
        return self._cases(f"WHERE removed IS NULL AND closed IS NULL AND {DUE}<? ORDER BY {DUE}, id", by)

    def due_by_customer(self, by: float) -> Iterator[Case]:
        """The same, customer by customer; first the one with the longest due."""
        return self._cases(
            f"WHERE removed IS NULL AND closed IS NULL AND {DUE}<? "
            f"ORDER BY min({DUE}) OVER (PARTITION BY customer), customer, {DUE}, id",
            by,
        )

    def _cases(self, where: str, *parameters: object) -> Iterator[Case]:
        for row in self._ledger.rows(f"{_CASE} {where}", *parameters):
            values = list(row)
            values[7] = tuple(sorted(set(values[7].split())))
            yield Case(*values)

    def entries(self, case: int) -> list[Entry]:
        """The entries that speak against a case, the nearest first."""
        query = (
            "SELECT list, entry, algorithm, variant, category, distance FROM matches WHERE id=? "
            "ORDER BY distance, list, entry, algorithm, variant"
        )
        return [Entry(*row) for row in self._ledger.rows(query, case)]

    def events(self, case: int) -> list[Event]:
        """What happened to a case, in order."""
        query = "SELECT at, kind, words, who FROM events WHERE id=? ORDER BY at, number"
        return [Event(*row) for row in self._ledger.rows(query, case)]

    def sweeps(self, since: int = -EVER, until: int = EVER) -> Iterator[Sweep]:
        """Sweeps that were begun from one moment to before another, in that order."""
        query = (
            "SELECT uuid, known, shard, started, ended, exit_code, whole, files, bytes, verdicts, lists, "
            "targets, incomplete FROM sweeps WHERE started>=? AND started<? ORDER BY started, id"
        )
        for row in self._ledger.rows(query, since, until):
            uuid, known, shard, started, ended, code, whole, files, size, *texts = row
            yield Sweep(
                uuid,
                bool(known),
                shard,
                started,
                ended,
                code,
                bool(whole),
                files,
                size,
                *map(json.loads, texts),
            )

    def custody(self, since: int = -EVER, until: int = EVER) -> Iterator[CustodyEvent]:
        """What the custody log says from one moment to before another, in that order."""
        query = "SELECT at, kind, item, path, id FROM custody WHERE at>=? AND at<? ORDER BY at, log, line"
        return (CustodyEvent(*row) for row in self._ledger.rows(query, since, until))
