"""The outbox of alerts (notifications): events without an alert, queue, deliveries, backoff on failure."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hashscan.cases.deadlines import DUE, IS_ORDER, DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.queries import ScanRun, scans
from hashscan.cases.withholding import withheld_of

_NO_CHANNEL_YET = ""
"""Used instead of a kind: the alert waits for the first channels that are set up."""
_FIRST_WAIT, _LONGEST_WAIT = 60, 6 * 3600
"""Backoff in seconds after the first failure of a channel, doubled with each further one, and its maximum."""
_FAILING = "SELECT channel, label, failures, again, error FROM alert_channels"
RETENTION_SECONDS = 30 * 86_400
"""Retention of an alert that was delivered to all channels; it may name paths."""


@dataclass(frozen=True, slots=True)
class QueuedAlert:
    """One alert in the outbox."""

    id: int
    made: int
    """Time of creation; seconds since 1970."""
    document: Mapping[str, Any]
    waits: tuple[str, ...]
    """Kinds of channels for which it waits; empty if it was delivered to all or dropped."""
    sent: tuple[str, ...]
    """Labels of the channels that delivered it."""


@dataclass(frozen=True, slots=True)
class FailingChannel:
    """A channel whose last delivery failed."""

    id: str
    label: str
    failures: int
    again: int
    """Time before which it is not retried; seconds since 1970."""
    error: str


def retry_seconds(failures: int) -> int:
    """Return the seconds to wait after so many failures in a row (backoff)."""
    return min(_FIRST_WAIT << min(failures - 1, 16), _LONGEST_WAIT)


class Outbox:
    """The alerts of a ledger.

    Raises, in all methods:
        LedgerError: the ledger can't be read or written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._within: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make all changes in the block in one transaction."""
        if self._within is not None:
            yield self._within
            return
        with self._ledger.transaction() as database:
            self._within = database
            try:
                yield database
            finally:
                self._within = None

    def unreported(self, keys: Iterable[str]) -> list[str]:
        """Return the keys without an alert yet, in their order (deduplication)."""
        find = "SELECT 1 FROM alert_keys WHERE key = ?"
        return [key for key in dict.fromkeys(keys) if self._ledger.one(find, key) is None]

    def mark(self, name: str) -> int | None:
        """Return the number up to which all events of a kind were alerted; None if none ever was."""
        row = self._ledger.one("SELECT number FROM alert_marks WHERE name = ?", name)
        return None if row is None else int(row[0])

    def set_mark(self, name: str, number: int) -> None:
        """Record the number up to which all events of a kind were alerted."""
        with self.transaction() as database:
            database.execute("INSERT OR REPLACE INTO alert_marks VALUES (?, ?)", (name, number))

    def add(
        self, keys: Collection[str], made: int, document: Mapping[str, Any], kinds: Iterable[str]
    ) -> int | None:
        """Queue an alert until all channels of some kinds have delivered it.

        Args:
            keys: keys of its events; if all were alerted before, it is not queued.
            made: time of creation; seconds since 1970.
            document: the document for the channels; JSON values.
            kinds: kinds of channels; if empty, it waits until there are some, see `adopt`.

        Returns:
            Its number; None if it was not queued.
        """
        wanted = set(kinds) or {_NO_CHANNEL_YET}
        with self.transaction() as database:
            if not self.unreported(keys):
                return None
            cursor = database.execute(
                "INSERT INTO alerts (made, document) VALUES (?, ?)", (made, json.dumps(document))
            )
            alert = cursor.lastrowid
            cursor.executemany("INSERT OR IGNORE INTO alert_keys VALUES (?, ?)", [(k, alert) for k in keys])
            cursor.executemany("INSERT INTO alert_waits VALUES (?, ?)", [(alert, k) for k in wanted])
            return alert

    def adopt(self, kinds: Iterable[str]) -> None:
        """Let alerts that were created without any channels wait for all channels of some kinds."""
        with self.transaction() as database:
            rows = database.execute("SELECT alert FROM alert_waits WHERE kind = ?", (_NO_CHANNEL_YET,))
            waits = [(alert, kind) for (alert,) in rows.fetchall() for kind in kinds]
            database.executemany("INSERT OR IGNORE INTO alert_waits VALUES (?, ?)", waits)
            if waits:
                database.execute("DELETE FROM alert_waits WHERE kind = ?", (_NO_CHANNEL_YET,))

    def waiting_for(self, channel: str, kind: str) -> list[QueuedAlert]:
        """Return the alerts that a channel has not delivered yet, oldest first."""
        return self._queued(
            "WHERE id IN (SELECT alert FROM alert_waits WHERE kind = ?) "
            "AND id NOT IN (SELECT alert FROM alert_sent WHERE channel = ?) ORDER BY id",
            (kind, channel),
        )

    def is_withheld(self, cases: Iterable[int], now: float) -> bool:
        """Return True if the customer may not be told of one of some cases at `now` (seconds since 1970)."""
        return withheld_of(self._ledger, cases, now) is not None

    def waiting(self) -> int:
        """Return the number of alerts that are not delivered everywhere."""
        return int(self._ledger.one("SELECT count(DISTINCT alert) FROM alert_waits WHERE kind <> ''")[0])

    def oldest_waiting(self) -> int | None:
        """Return the time at which the oldest of these alerts was created; seconds since 1970."""
        query = "SELECT min(made) FROM alerts WHERE id IN (SELECT alert FROM alert_waits WHERE kind <> '')"
        made: int | None = self._ledger.one(query)[0]
        return made

    def listed(self, limit: int) -> list[QueuedAlert]:
        """Return all waiting alerts and the last `limit` alerts, oldest first."""
        return self._queued(
            "WHERE id IN (SELECT alert FROM alert_waits) "
            "OR id IN (SELECT id FROM alerts ORDER BY id DESC LIMIT ?) ORDER BY id",
            (limit,),
        )

    def made_since(self, made: int) -> list[QueuedAlert]:
        """Return the alerts that were created from a time on (seconds since 1970), oldest first."""
        return self._queued("WHERE made >= ? ORDER BY id", (made,))

    def sent(self, alerts: Sequence[int], channel: str, label: str, at: int) -> None:
        """Record that a channel has delivered alerts, and so works."""
        with self.transaction() as database:
            database.executemany(
                "INSERT OR IGNORE INTO alert_sent VALUES (?, ?, ?, ?)",
                [(alert, channel, label, at) for alert in alerts],
            )
            database.execute("DELETE FROM alert_channels WHERE channel = ?", (channel,))

    def complete_kind(self, kind: str, channels: Collection[str]) -> None:
        """Remove the wait of alerts for a kind of channel after all channels of that kind delivered them."""
        sent_everywhere = " AND ".join(
            ["EXISTS (SELECT 1 FROM alert_sent s WHERE s.alert = alert_waits.alert AND s.channel = ?)"]
            * len(channels)
        )
        if channels:
            with self.transaction() as database:
                database.execute(
                    f"DELETE FROM alert_waits WHERE kind = ? AND {sent_everywhere}",  # noqa: S608
                    (kind, *channels),
                )

    def failed(self, channel: str, label: str, error: str, now: int) -> FailingChannel:
        """Record a failed delivery; the backoff of the channel doubles with each failure in a row."""
        with self.transaction() as database:
            found = self.failing(channel)
            failures = 1 if found is None else found.failures + 1
            wait = retry_seconds(failures)
            database.execute(
                "INSERT OR REPLACE INTO alert_channels VALUES (?, ?, ?, ?, ?)",
                (channel, label, failures, now + wait, error),
            )
        return FailingChannel(channel, label, failures, now + wait, error)

    def failing(self, channel: str) -> FailingChannel | None:
        """Return the failure record of a channel; None if its last delivery did not fail."""
        row = self._ledger.one(f"{_FAILING} WHERE channel = ?", channel)
        return None if row is None else FailingChannel(*row)

    def all_failing(self) -> list[FailingChannel]:
        """Return all channels whose last delivery failed."""
        return [FailingChannel(*row) for row in self._ledger.rows(f"{_FAILING} ORDER BY channel")]

    def drop(self, alerts: Collection[int]) -> int:
        """Drop alerts, so that they no longer wait for delivery; return the number that waited."""
        dropped = 0
        with self.transaction() as database:
            for alert in alerts:
                waited = database.execute("DELETE FROM alert_waits WHERE alert = ?", (alert,))
                dropped += waited.rowcount > 0
        return dropped

    def prune(self, now: int) -> None:
        """Delete old alerts that don't wait, and failure records if none waits; keep the keys of events."""
        with self.transaction() as database:
            database.execute(
                "DELETE FROM alert_waits WHERE kind = ? AND alert IN (SELECT id FROM alerts WHERE made < ?)",
                (_NO_CHANNEL_YET, now - RETENTION_SECONDS),
            )
            database.execute(
                "DELETE FROM alerts WHERE made < ? AND id NOT IN (SELECT alert FROM alert_waits)",
                (now - RETENTION_SECONDS,),
            )
            database.execute("DELETE FROM alert_sent WHERE alert NOT IN (SELECT id FROM alerts)")
            if not self.waiting():
                database.execute("DELETE FROM alert_channels")

    def _queued(self, where: str, values: Sequence[object]) -> list[QueuedAlert]:
        # No part of the query comes from outside.
        rows = list(self._ledger.rows(f"SELECT id, made, document FROM alerts {where}", *values))  # noqa: S608
        return [
            QueuedAlert(
                number,
                made,
                json.loads(document),
                self._texts("SELECT kind FROM alert_waits WHERE alert = ? ORDER BY kind", number),
                self._texts("SELECT label FROM alert_sent WHERE alert = ? ORDER BY at, label", number),
            )
            for number, made, document in rows
        ]

    def _texts(self, query: str, alert: int) -> tuple[str, ...]:
        return tuple(text for (text,) in self._ledger.rows(query, alert))


_CASES, _SCANS, _MAILS = "cases", "scans", "mails"
_OPEN = "removed IS NULL AND closed IS NULL"


@dataclass(frozen=True, slots=True)
class NewCases:
    """Cases for which no alert was created."""

    ids: Sequence[int]
    """Numbers of the first cases."""
    verdicts: Mapping[str, int]
    categories: Mapping[str, int]
    """Number of cases by category; a case may have several."""
    total: int
    removed: int
    """Number of cases whose file is gone or in quarantine already."""
    first_due: int | None
    """The first deadline of the others; seconds since 1970."""


@dataclass(frozen=True, slots=True)
class DatedCase:
    """A case of which some time has passed."""

    id: int
    key: str
    """Key of its alert."""
    customer: str


class UnreportedEvents:
    """Queries for unreported events; use them within the transaction that adds the alerts."""

    def __init__(self, ledger: Ledger, outbox: Outbox, deadlines: DeadlineCalculator) -> None:
        self._ledger = ledger
        self._outbox = outbox
        deadlines.register(ledger)

    def new_cases(self, named: int) -> NewCases | None:
        """Return the cases since the last call, at most `named` numbers; on the first call, the open ones."""
        mark = self._outbox.mark(_CASES)
        last = self._ledger.one("SELECT max(id) FROM cases")[0] or 0
        self._outbox.set_mark(_CASES, last)
        where = "id > ?" + (f" AND {_OPEN}" if mark is None else "")
        rows = list(
            self._ledger.rows(
                "SELECT verdict, categories, count(*), sum(removed IS NOT NULL), "  # noqa: S608
                f"min(CASE WHEN {_OPEN} THEN {DUE} END) FROM cases WHERE {where} "
                "GROUP BY verdict, categories",
                mark or 0,
            )
        )
        if not rows:
            return None
        verdicts, categories = Counter[str](), Counter[str]()
        for verdict, names, number, _, _ in rows:
            verdicts[verdict] += number
            for name in names.split():
                categories[name] += number
        ids = self._ledger.rows(
            f"SELECT id FROM cases WHERE {where} ORDER BY id LIMIT ?",  # noqa: S608
            mark or 0,
            named,
        )
        return NewCases(
            tuple(number for (number,) in ids),
            dict(verdicts),
            dict(categories),
            verdicts.total(),
            sum(removed for _, _, _, removed, _ in rows),
            min((due for *_, due in rows if due is not None), default=None),
        )

    def overdue(self, now: float) -> list[DatedCase]:
        """Return overdue cases without an alert since they were opened: orders first, then by deadline."""
        query = (
            "SELECT id, key, customer FROM (SELECT id, customer, 'overdue:' || id || ':' || (SELECT count(*) "  # noqa: S608
            "FROM events WHERE events.id = cases.id AND kind IN ('reopened', 'restored')) AS key, "
            f"{DUE} AS due, {IS_ORDER} AS ordered FROM cases WHERE {_OPEN} AND {DUE} < ?) "
            "WHERE key NOT IN (SELECT key FROM alert_keys) ORDER BY ordered DESC, due, id"
        )
        return [DatedCase(*row) for row in self._ledger.rows(query, now)]

    def half_gone(self, now: float) -> list[DatedCase]:
        """Return the open cases of orders of which at least half of the time is gone, and of which this was
        never said, by deadline."""
        query = (
            "SELECT id, key, customer FROM (SELECT id, customer, 'half:' || id AS key, "  # noqa: S608
            f"{DUE} AS due, coalesce(ordered, noticed, found) AS start FROM cases WHERE {_OPEN} AND "
            f"{IS_ORDER}) WHERE start + due <= 2 * ? AND key NOT IN (SELECT key FROM alert_keys) "
            "ORDER BY due, id"
        )
        return [DatedCase(*row) for row in self._ledger.rows(query, now)]

    def new_scans(self) -> list[ScanRun]:
        """Return the scans since the last call, in their order; on the first call, only the last scan."""
        mark = self._outbox.mark(_SCANS)
        last = self._ledger.one("SELECT max(id) FROM scans")[0] or 0
        self._outbox.set_mark(_SCANS, last)
        return list(scans(self._ledger, "WHERE id > ? ORDER BY id", last - 1 if mark is None else mark))

    def new_waiting_mails(self) -> tuple[int, int]:
        """Return how many mails without a notice came since the last call and wait for a person, and the
        number of the last one."""
        mark = self._outbox.mark(_MAILS)
        number, last = self._ledger.one(
            "SELECT count(*), max(number) FROM mails WHERE waits AND number > ?", mark or 0
        )
        if number:
            self._outbox.set_mark(_MAILS, last)
        return int(number), int(last or 0)
