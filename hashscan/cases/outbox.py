"""The alarms that were made, and through which channels each of them has gone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hashscan.cases.ledger import Ledger

_SCHEMA = (
    # What was told of, ever; a key outlives its alarm.
    "CREATE TABLE IF NOT EXISTS alarm_keys (key TEXT PRIMARY KEY, alarm INTEGER NOT NULL) WITHOUT ROWID",
    # Up to which number of something all was told of.
    "CREATE TABLE IF NOT EXISTS alarm_marks (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS alarms (id INTEGER PRIMARY KEY AUTOINCREMENT, made INTEGER NOT NULL, "
    "document TEXT NOT NULL)",
    # Kinds of channels that an alarm waits for.
    "CREATE TABLE IF NOT EXISTS alarm_waits (alarm INTEGER, kind TEXT, PRIMARY KEY (alarm, kind)) "
    "WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS alarm_sent (alarm INTEGER, channel TEXT, label TEXT NOT NULL, "
    "at INTEGER NOT NULL, PRIMARY KEY (alarm, channel)) WITHOUT ROWID",
    # Channels that failed last time, and before when they are not tried again.
    "CREATE TABLE IF NOT EXISTS alarm_channels (channel TEXT PRIMARY KEY, label TEXT NOT NULL, "
    "failures INTEGER NOT NULL, again INTEGER NOT NULL, error TEXT NOT NULL) WITHOUT ROWID",
)
_NOBODY_YET = ""
"""In place of a kind: the alarm waits for whoever is told first."""
_FIRST_WAIT, _LONGEST_WAIT = 60, 6 * 3600
"""Seconds for which a channel is left alone after its first failure, doubled with each further one."""
_FAILING = "SELECT channel, label, failures, again, error FROM alarm_channels"
KEPT_SECONDS = 30 * 86_400
"""How long an alarm is kept that has gone everywhere; it may name paths."""


@dataclass(frozen=True, slots=True)
class KeptAlarm:
    """One alarm in the outbox."""

    id: int
    made: int
    """Seconds since 1970."""
    document: Mapping[str, Any]
    """As channels are given it."""
    waits: tuple[str, ...]
    """Kinds of channels it waits for; none where it has gone everywhere or was dropped."""
    sent: tuple[str, ...]
    """The channels it has gone through, for a person."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A channel whose last delivery failed."""

    id: str
    label: str
    failures: int
    """In a row."""
    again: int
    """Seconds since 1970 before which it is left alone."""
    error: str


class Outbox:
    """The alarms of a ledger.

    Raises, in all it does:
        LedgerError: the ledger can't be read or written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._within: sqlite3.Connection | None = None
        if not ledger.one("SELECT 1 FROM sqlite_master WHERE name = 'alarm_channels'"):
            with ledger.transaction() as database:
                for statement in _SCHEMA:
                    database.execute(statement)

    @contextmanager
    def together(self) -> Iterator[sqlite3.Connection]:
        """Have all that is done within happen at once, or nothing of it."""
        if self._within is not None:
            yield self._within
            return
        with self._ledger.transaction() as database:
            self._within = database
            try:
                yield database
            finally:
                self._within = None

    def untold(self, keys: Iterable[str]) -> list[str]:
        """Which of these no alarm has told of yet, in their order."""
        find = "SELECT 1 FROM alarm_keys WHERE key = ?"
        return [key for key in dict.fromkeys(keys) if self._ledger.one(find, key) is None]

    def mark(self, name: str) -> int | None:
        """Up to which number of something all was told of; None where nothing ever was."""
        row = self._ledger.one("SELECT number FROM alarm_marks WHERE name = ?", name)
        return None if row is None else int(row[0])

    def set_mark(self, name: str, number: int) -> None:
        """Keep in mind that all was told of up to a number."""
        with self.together() as database:
            database.execute("INSERT OR REPLACE INTO alarm_marks VALUES (?, ?)", (name, number))

    def add(
        self, keys: Collection[str], made: int, document: Mapping[str, Any], kinds: Iterable[str]
    ) -> int | None:
        """Keep an alarm until it has gone through all channels of some kinds.

        Args:
            keys: what it tells of; where all of that was told of before, it is not kept.
            made: seconds since 1970.
            document: what channels are given; JSON values.
            kinds: of the channels; without any, it waits until there are some, as `adopt` says.

        Returns:
            Its number.
        """
        wanted = set(kinds) or {_NOBODY_YET}
        with self.together() as database:
            if not self.untold(keys):
                return None
            cursor = database.execute(
                "INSERT INTO alarms (made, document) VALUES (?, ?)", (made, json.dumps(document))
            )
            alarm = cursor.lastrowid
            cursor.executemany("INSERT OR IGNORE INTO alarm_keys VALUES (?, ?)", [(k, alarm) for k in keys])
            cursor.executemany("INSERT INTO alarm_waits VALUES (?, ?)", [(alarm, k) for k in wanted])
            return alarm

    def adopt(self, kinds: Iterable[str]) -> None:
        """Have what was made where there were no channels wait for all channels of some kinds."""
        with self.together() as database:
            rows = database.execute("SELECT alarm FROM alarm_waits WHERE kind = ?", (_NOBODY_YET,))
            waits = [(alarm, kind) for (alarm,) in rows.fetchall() for kind in kinds]
            database.executemany("INSERT OR IGNORE INTO alarm_waits VALUES (?, ?)", waits)
            if waits:
                database.execute("DELETE FROM alarm_waits WHERE kind = ?", (_NOBODY_YET,))

    def waiting_for(self, channel: str, kind: str) -> list[KeptAlarm]:
        """The alarms that have to go through a channel, oldest first."""
        return self._alarms(
            "WHERE id IN (SELECT alarm FROM alarm_waits WHERE kind = ?) "
            "AND id NOT IN (SELECT alarm FROM alarm_sent WHERE channel = ?) ORDER BY id",
            (kind, channel),
        )

    def waiting(self) -> int:
        """How many alarms have not gone everywhere."""
        return int(self._ledger.one("SELECT count(DISTINCT alarm) FROM alarm_waits WHERE kind <> ''")[0])

    def oldest_waiting(self) -> int | None:
        """When the oldest of them was made; seconds since 1970."""
        query = "SELECT min(made) FROM alarms WHERE id IN (SELECT alarm FROM alarm_waits WHERE kind <> '')"
        made: int | None = self._ledger.one(query)[0]
        return made

    def listed(self, limit: int) -> list[KeptAlarm]:
        """All that wait, and the last of the others, oldest first."""
        return self._alarms(
            "WHERE id IN (SELECT alarm FROM alarm_waits) "
            "OR id IN (SELECT id FROM alarms ORDER BY id DESC LIMIT ?) ORDER BY id",
            (limit,),
        )

    def sent(self, alarms: Sequence[int], channel: str, label: str, at: int) -> None:
        """Keep in mind that alarms have gone through a channel, which thereby works."""
        with self.together() as database:
            database.executemany(
                "INSERT OR IGNORE INTO alarm_sent VALUES (?, ?, ?, ?)",
                [(alarm, channel, label, at) for alarm in alarms],
            )
            database.execute("DELETE FROM alarm_channels WHERE channel = ?", (channel,))

    def settle(self, kind: str, channels: Collection[str]) -> None:
        """Let alarms wait no longer for a kind when they have gone through all channels of it."""
        sent_everywhere = " AND ".join(
            ["EXISTS (SELECT 1 FROM alarm_sent s WHERE s.alarm = alarm_waits.alarm AND s.channel = ?)"]
            * len(channels)
        )
        if channels:
            with self.together() as database:
                database.execute(
                    f"DELETE FROM alarm_waits WHERE kind = ? AND {sent_everywhere}",  # noqa: S608
                    (kind, *channels),
                )

    def failed(self, channel: str, label: str, error: str, now: int) -> Failing:
        """Leave a channel alone for a while, the longer the more often it has failed in a row."""
        with self.together() as database:
            found = self.failing(channel)
            failures = 1 if found is None else found.failures + 1
            wait = min(_FIRST_WAIT << min(failures - 1, 16), _LONGEST_WAIT)
            database.execute(
                "INSERT OR REPLACE INTO alarm_channels VALUES (?, ?, ?, ?, ?)",
                (channel, label, failures, now + wait, error),
            )
        return Failing(channel, label, failures, now + wait, error)

    def failing(self, channel: str) -> Failing | None:
        """What is known of a channel that failed last time."""
        row = self._ledger.one(f"{_FAILING} WHERE channel = ?", channel)
        return None if row is None else Failing(*row)

    def all_failing(self) -> list[Failing]:
        """All such channels."""
        return [Failing(*row) for row in self._ledger.rows(f"{_FAILING} ORDER BY channel")]

    def drop(self, alarms: Collection[int]) -> int:
        """Let alarms wait no longer.

        Returns:
            How many of them did.
        """
        dropped = 0
        with self.together() as database:
            for alarm in alarms:
                waited = database.execute("DELETE FROM alarm_waits WHERE alarm = ?", (alarm,))
                dropped += waited.rowcount > 0
        return dropped

    def prune(self, now: int) -> None:
        """Forget old alarms that wait for nothing, and channels nothing waits for; never what was told."""
        with self.together() as database:
            database.execute(
                "DELETE FROM alarm_waits WHERE kind = ? AND alarm IN (SELECT id FROM alarms WHERE made < ?)",
                (_NOBODY_YET, now - KEPT_SECONDS),
            )
            database.execute(
                "DELETE FROM alarms WHERE made < ? AND id NOT IN (SELECT alarm FROM alarm_waits)",
                (now - KEPT_SECONDS,),
            )
            database.execute("DELETE FROM alarm_sent WHERE alarm NOT IN (SELECT id FROM alarms)")
            if not self.waiting():
                database.execute("DELETE FROM alarm_channels")

    def _alarms(self, where: str, values: Sequence[object]) -> list[KeptAlarm]:
        # None of the words is from outside.
        rows = list(self._ledger.rows(f"SELECT id, made, document FROM alarms {where}", *values))  # noqa: S608
        return [
            KeptAlarm(
                number,
                made,
                json.loads(document),
                self._words("SELECT kind FROM alarm_waits WHERE alarm = ? ORDER BY kind", number),
                self._words("SELECT label FROM alarm_sent WHERE alarm = ? ORDER BY at, label", number),
            )
            for number, made, document in rows
        ]

    def _words(self, query: str, alarm: int) -> tuple[str, ...]:
        return tuple(word for (word,) in self._ledger.rows(query, alarm))
