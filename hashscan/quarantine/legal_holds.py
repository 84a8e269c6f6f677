"""Look up in the ledger what a quarantine may not do: tell a customer of a file, or destroy evidence."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from urllib.parse import quote

from hashscan.errors import OutputError
from hashscan.quarantine.items import Item
from hashscan.state_dir import StateDir

_PRESERVED_MONTHS = 6
"""Regulation (EU) 2021/784, article 6(2)."""
_SECONDS = 10.0
_SAME = "((path=:path AND version=:version) OR (sha256 IS NOT NULL AND sha256=:sha256))"


def withheld_until(state: StateDir, path: bytes, version: str, sha256: bytes, now: float) -> int | None:
    """Return the time, in seconds since 1970, before which the customer may not be told of a file with a path
    or a content; None if he may.

    Raises:
        OutputError: the ledger can't be read, so nobody knows.
    """
    found = {"path": path, "version": version, "sha256": sha256, "now": now}
    with _ledger(state) as database:
        if database is None:
            return None
        query = f"SELECT max(until) FROM withheld JOIN cases USING (id) WHERE until > :now AND {_SAME}"  # noqa: S608
        (until,) = database.execute(query, found).fetchone()
        return None if until is None else int(until)


def preserved_until(state: StateDir, item: Item) -> datetime | None:
    """Return the time until which an item is preserved, since a removal order for terrorist content names it;
    None if none does.

    Raises:
        OutputError: the ledger can't be read, so nobody knows.
    """
    digest = item.record.get("digests", {}).get("sha256", "")
    found = {
        "path": item.path, "version": item.version, "sha256": bytes.fromhex(digest), "item": item.id,
    }  # fmt: skip
    with _ledger(state) as database:
        if database is None:
            return None
        query = (
            "SELECT 1 FROM notices JOIN notice_items ON notice=number JOIN cases USING (id) "  # noqa: S608
            "WHERE notices.kind='terrorist' "
            f"AND ({_SAME} OR id IN (SELECT id FROM custody WHERE item=:item)) LIMIT 1"
        )
        if database.execute(query, found).fetchone() is None:
            return None
    return months_later(datetime.fromisoformat(item.record["time"]), _PRESERVED_MONTHS)


def months_later(time: datetime, months: int) -> datetime:
    """Return the same day and time some months later; the first of the next month if there is no such day."""
    years, month = divmod(time.month - 1 + months, 12)
    try:
        return time.replace(year=time.year + years, month=month + 1)
    except ValueError:
        return time.replace(year=time.year + years, month=month + 2, day=1)


@contextmanager
def _ledger(state: StateDir) -> Iterator[sqlite3.Connection | None]:
    """Open the ledger to read it; None if there is none."""
    if not state.ledger.exists():
        yield None
        return
    address = f"file:{quote(os.fsencode(state.ledger))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, timeout=_SECONDS, uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise OutputError(
            f"can't read in the ledger {state.ledger} what must be withheld or preserved: {error}",
            advice="See `hashscan cases list`.",
        ) from error


def preservation_reason(state: StateDir, item: Item) -> str:
    """Return the reason for which an item may not be destroyed yet; empty if there is none."""
    until = preserved_until(state, item)
    if until is None or until <= datetime.now(UTC):
        return ""
    return (
        f"a removal order for terrorist content names it: it must be preserved until {until.isoformat()} "
        "(Regulation (EU) 2021/784, article 6), and --override does not change that"
    )
