"""Keep cases from their customers until a time, by order of an authority; only a person changes that time."""

from __future__ import annotations

import json
from collections.abc import Iterable

from hashscan.cases.ledger import Ledger
from hashscan.cases.tracker import CaseTracker
from hashscan.timefmt import format_time

WITHHELD_UNTIL = (
    "nullif(max(ifnull(by_id, 0), ifnull(by_path, 0), ifnull(by_url, 0), ifnull(by_content, 0)), 0)"
)
"""SQL expression for the time before which the customer of a case may not be told, in seconds since 1970;
NULL if he may. A case also counts as withheld if another one of the same path or web address, or of the same
content of the same customer, is: a letter about it would say the same. It needs `WITHHELD_JOINS`."""
WITHHELD_JOINS = """
LEFT JOIN (SELECT id AS held_id, until AS by_id FROM withheld) ON held_id=cases.id
LEFT JOIN (
  SELECT path AS held_path, version AS held_version, host AS held_host, max(until) AS by_path
  FROM withheld JOIN cases USING (id) WHERE path IS NOT NULL GROUP BY path, version, host
) ON held_path=cases.path AND held_version=cases.version AND held_host=cases.host
LEFT JOIN (
  SELECT url AS held_url, max(until) AS by_url
  FROM withheld JOIN cases USING (id) WHERE url<>'' GROUP BY url
) ON held_url=cases.url
LEFT JOIN (
  SELECT sha256 AS held_sha256, customer AS held_customer, max(until) AS by_content
  FROM withheld JOIN cases USING (id) WHERE sha256 IS NOT NULL GROUP BY sha256, customer
) ON held_sha256=cases.sha256 AND held_customer=cases.customer
"""
"""SQL of what `WITHHELD_UNTIL` is taken from, for a query FROM cases; the time that it takes grows with the
number of cases, not with its square."""


def withhold(
    ledger: Ledger, numbers: Iterable[int], until: int | None, reason: str, who: str, now: int
) -> list[int]:
    """Record that the customers of cases may not be told before a time, or that they may; all or nothing.

    Args:
        until: the time, in seconds since 1970; it replaces an earlier one. None lifts it.
        reason: one line.
        now: seconds since 1970.

    Returns:
        The numbers of the cases that changed.

    Raises:
        UsageError: a case doesn't exist.
        LedgerError: the ledger can't be written.
    """
    changed = []
    with ledger.transaction() as database:
        tracker = CaseTracker(database)
        for number in dict.fromkeys(numbers):
            tracker.existing(number)
            if until is None:
                if not database.execute("DELETE FROM withheld WHERE id=?", (number,)).rowcount:
                    continue
                tracker.add_event(number, now, "lifted", reason, who)
            else:
                row = (number, until, reason, who)
                database.execute("INSERT OR REPLACE INTO withheld VALUES (?, ?, ?, ?)", row)
                tracker.add_event(number, now, "withheld", f"until {format_time(until)}: {reason}", who)
            changed.append(number)
    return changed


def withheld_of(ledger: Ledger, numbers: Iterable[int], now: float) -> int | None:
    """Return the last time before which the customers of some cases may not be told; None if they may.

    Raises:
        LedgerError: the ledger can't be read.
    """
    query = (
        f"SELECT max({WITHHELD_UNTIL}) FROM cases {WITHHELD_JOINS}"  # noqa: S608
        "WHERE cases.id IN (SELECT value FROM json_each(?))"
    )
    (until,) = ledger.one(query, json.dumps(list(numbers)))
    return until if until is not None and now < until else None
