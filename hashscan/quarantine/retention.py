"""Compute how long evidence is retained, destroy items whose retention is over, and ask the ledger for orders
that forbid to destroy an item or to tell its customer."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from hashscan.errors import OutputError
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped, to_skipped
from hashscan.quarantine.items import KEPT, Item, State
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir

_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""An earlier time means that the clock is wrong; a clock without a battery starts in 1970."""
_PRESERVED_MONTHS = 6
"""Regulation (EU) 2021/784, article 6(2)."""
_SECONDS = 10.0
_SAME = "((path=:path AND version=:version) OR (sha256 IS NOT NULL AND sha256=:sha256))"


@dataclass(frozen=True, slots=True)
class Retention:
    """The two retention terms; they have no defaults, since no value is right in every country."""

    retain_min: timedelta
    """Term before which no item is destroyed unless overridden."""
    destroy_by: timedelta
    """Term by which every item should be destroyed."""

    def terms(self, now: datetime) -> dict[str, str]:
        """Return both deadlines for an item that is moved now, as the log stores them (ISO 8601). The clock
        must not be so wrong that `destroy` would destroy the items once it is set."""
        require_clock(now)
        return {
            "retain_min": (now + self.retain_min).isoformat(),
            "destroy_by": (now + self.destroy_by).isoformat(),
        }


def require_clock(now: datetime) -> None:
    """Refuse a clock that is certainly wrong.

    Raises:
        OutputError: the time is before this program existed.
    """
    if now < _EARLIEST:
        raise OutputError(
            f"this machine's clock says {now.isoformat()}, so retention times can't be computed",
            advice="Set the clock, then try again.",
        )


def is_due(item: Item) -> bool:
    """Return True if an item should be destroyed by now."""
    return item.state in KEPT and _time_of(item, "destroy_by") <= datetime.now(UTC)


def destroy(quarantine: Quarantine, item: Item, reason: str | None, *, override: bool) -> int:
    """Destroy one item; its record stays in the log. The data blocks on the disk are not overwritten.

    `override` destroys it even before its minimum retention is over, or if all its entries were withdrawn;
    nothing destroys what a removal order for terrorist content names before six months are over.

    Returns:
        The number of other hard links of the file. Through them the content remains, readable by root alone.

    Raises:
        QuarantineSkipped: the item must still be kept, or can't be removed.
        OutputError: the quarantine can't be written, or the ledger can't be read.
    """
    if item.state not in KEPT:
        raise QuarantineSkipped(Outcome.REFUSED, f"it is not in quarantine: {item.state.value}")
    if _time_of(item, "retain_min") > datetime.now(UTC) and not override:
        raise QuarantineSkipped(Outcome.REFUSED, f"it must be kept until {item.record['retain_min']}")
    if reason_to_keep := preservation_reason(quarantine.state, item):
        raise QuarantineSkipped(Outcome.REFUSED, reason_to_keep)
    if item.withdrawn and not override:
        raise QuarantineSkipped(
            Outcome.REFUSED, "all entries that match it were withdrawn: restore it, or use --override"
        )
    place = None if item.is_object else quarantine.storage.folder_of(item)
    quarantine.log_event(State.RELEASING, item.id, reason=reason, override=override)
    quarantine.log.sync()
    names = 0
    try:
        if place is not None:
            entry = item.id.encode()
            names = os.stat(entry, dir_fd=place.descriptor, follow_symlinks=False).st_nlink - 1
        quarantine.storage.drop(item)
    except (OSError, QuarantineSkipped) as error:
        skipped = to_skipped(error)
        quarantine.log_event(State.STAYS, item.id, detail=str(skipped))
        quarantine.sync()
        raise skipped from error
    quarantine.log_event(State.RELEASED, item.id, **({"other_names": names} if names else {}))
    quarantine.sync()
    return names


def _time_of(item: Item, key: str) -> datetime:
    return datetime.fromisoformat(item.record[key])


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
        query = (
            "SELECT max(until) FROM withheld JOIN cases USING (id) WHERE until > :now "  # noqa: S608
            f"AND ({_SAME} OR url IN "
            "(SELECT url FROM cases WHERE path=:path AND version=:version AND url<>''))"
        )
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
