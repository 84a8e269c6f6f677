"""Change cases on a person's order: notify, dispute, close, reopen; remove personal data (retention)."""

from __future__ import annotations

import os
import pwd
import sqlite3
from collections.abc import Iterable

from hashscan.cases.ledger import Ledger
from hashscan.cases.notices.notice import NoticeKind
from hashscan.cases.reviews import PERSON_MAX, checked_line
from hashscan.cases.tracker import NOT_FOUND, CaseTracker
from hashscan.errors import UsageError

NOTE_MAX = 1000
TOLD, DISPUTED, CLOSED, REOPENED = "told", "disputed", "closed", "reopened"

_PRESERVED_SECONDS = 190 * 86_400
"""More than six months: Regulation (EU) 2021/784, article 6."""

_SET = {
    TOLD: "told=coalesce(told, :now)",
    DISPUTED: "disputed=coalesce(disputed, :now), dispute=:reason",
    CLOSED: "closed=:now, why=:reason",
    NOT_FOUND: "closed=:now, why=:reason, how=:kind",
    REOPENED: "closed=NULL, why='', how=iif(removed IS NULL, '', how), disputed=NULL, dispute=''",
}


def record_action(
    ledger: Ledger, numbers: Iterable[int], kind: str, reason: str, who: str, now: int
) -> list[int]:
    """Record the same action on several cases; all of it or nothing.

    Args:
        kind: TOLD, DISPUTED, CLOSED, NOT_FOUND or REOPENED.
        now: seconds since 1970.

    Returns:
        The numbers of the cases that changed.

    Raises:
        UsageError: a case doesn't exist, or the action is not possible for it.
        LedgerError: the ledger can't be written.
    """
    changed = []
    with ledger.transaction() as database:
        tracker = CaseTracker(database)
        for number in dict.fromkeys(numbers):
            row = database.execute(
                "SELECT told, disputed, closed, removed, path, version, host, witness FROM cases WHERE id=?",
                (number,),
            ).fetchone()
            if row is None:
                raise UsageError(
                    f"there is no case {number}", advice="See `hashscan cases list --status all`."
                )
            told, disputed, closed, removed, path, version, host, witness = row
            if kind == REOPENED:
                if closed is None and disputed is None:
                    continue
                other = database.execute(
                    "SELECT id FROM cases WHERE path=? AND version=? AND host=? AND removed IS NULL "
                    "AND closed IS NULL AND id<>?",
                    (path, version, host, number),
                ).fetchone()
                if other is not None and removed is None:
                    raise UsageError(
                        f"case {number} can't be opened: there is case {other[0]} of the same file",
                        advice="Go on with that one.",
                    )
            elif {TOLD: told, DISPUTED: disputed, CLOSED: closed, NOT_FOUND: closed}[kind] is not None:
                continue
            if kind == DISPUTED and (closed is not None or removed is not None):
                raise UsageError(f"case {number} is over already", advice="See `hashscan cases show`.")
            if kind == NOT_FOUND and witness:
                raise UsageError(
                    f"the file of case {number} was seen here", advice="Close it without --not-found."
                )
            database.execute(
                f"UPDATE cases SET {_SET[kind]} WHERE id=:number",  # noqa: S608 - our own words
                {"now": now, "reason": reason, "number": number, "kind": kind},
            )
            if kind in {CLOSED, REOPENED}:
                # The answer to an order to provide information ends its case.
                database.execute(
                    "UPDATE notices SET answered=? WHERE kind=? "
                    "AND number IN (SELECT notice FROM notice_items WHERE id=?)",
                    (now if kind == CLOSED else None, NoticeKind.INFORM, number),
                )
            tracker.add_event(number, now, kind, reason, who)
            changed.append(number)
    return changed


def acknowledge(ledger: Ledger, numbers: Iterable[int], recipient: str, who: str, now: int) -> list[int]:
    """Record that the senders of all orders and notices about some cases were told of their receipt.

    Returns:
        The numbers of the cases of which one waited for that.

    Raises:
        UsageError: a case doesn't exist.
        LedgerError: the ledger can't be written.
    """
    changed = []
    with ledger.transaction() as database:
        tracker = CaseTracker(database)
        for number in dict.fromkeys(numbers):
            tracker.existing(number)
            if database.execute(
                "UPDATE notices SET acknowledged=? WHERE acknowledged IS NULL "
                "AND number IN (SELECT notice FROM notice_items WHERE id=?)",
                (now, number),
            ).rowcount:
                tracker.add_event(number, now, "acknowledged", recipient, who)
                changed.append(number)
    return changed


def suspect(ledger: Ledger, number: int, told: str, at: int, who: str, now: int) -> None:
    """Mark a case: an offence that threatens life is suspected (DSA, article 18); record who was told.

    Args:
        told: the authority, and how it was told; empty if none was told yet.
        at: when it was told; seconds since 1970.
        now: seconds since 1970.

    Raises:
        UsageError: the case doesn't exist.
        LedgerError: the ledger can't be written.
    """
    with ledger.transaction() as database:
        tracker = CaseTracker(database)
        tracker.existing(number)
        marked = "SELECT 1 FROM events WHERE id=? AND kind='suspected'"
        if database.execute(marked, (number,)).fetchone() is None:
            tracker.add_event(number, now, "suspected", "", who)
        if told:
            tracker.add_event(number, at, "authority_told", told, who)


def assign(
    ledger: Ledger, numbers: Iterable[int], to: str | None, note: str, who: str, now: int
) -> list[int]:
    """Hand cases over to a person with a note, or record a note alone; all of it or nothing.

    Args:
        to: the person; None records the note alone.
        note: one line; it may be empty if there is a person.

    Returns:
        The numbers of the cases that changed.

    Raises:
        UsageError: a case doesn't exist; a text can't be used.
        LedgerError: the ledger can't be written.
    """
    person = None if to is None else checked_line("name", to, PERSON_MAX)
    if note.strip() or person is None:
        note = checked_line("note", note, NOTE_MAX)
    changed = []
    with ledger.transaction() as database:
        tracker = CaseTracker(database)
        for number in dict.fromkeys(numbers):
            tracker.existing(number)
            if person is None:
                tracker.add_event(number, now, "noted", note, who)
            else:
                row = database.execute("SELECT who FROM assignees WHERE id=?", (number,)).fetchone()
                if row == (person,) and not note:
                    continue
                database.execute("INSERT OR REPLACE INTO assignees VALUES (?, ?)", (number, person))
                words = f"to {person}" + (f": {note}" if note else "")
                tracker.add_event(number, now, "assigned", words, who)
            changed.append(number)
    return changed


def record_letter(database: sqlite3.Connection, numbers: Iterable[int], to: str, who: str, now: int) -> None:
    """Record in a transaction of the ledger that a letter about cases was sent; they are then told.

    Args:
        to: the address of the letter.
        now: seconds since 1970.
    """
    tracker = CaseTracker(database)
    for number in numbers:
        database.execute(f"UPDATE cases SET {_SET[TOLD]} WHERE id=:number", {"now": now, "number": number})  # noqa: S608
        tracker.add_event(number, now, TOLD, f"letter by mail to {to}", who)


def operator() -> str:
    """Return the user who runs this command, and the user behind sudo."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {name}" if behind and behind != name else name


def prune_cases(ledger: Ledger, before: int, now: int) -> int:
    """Delete paths, URLs, digests, customers, names and reasons of old ended cases.

    The times when they were found, notified, removed and closed stay, with verdict, categories, lists and
    entries. Cases whose file scans still find stay as they are. The bytes are overwritten.

    Args:
        before: prune cases that ended, and were last found by a scan, before this time; seconds since 1970.

    Returns:
        Number of pruned cases.

    Raises:
        LedgerError: the ledger can't be written.
    """
    with ledger.transaction() as database:
        database.execute("PRAGMA secure_delete = ON")
        database.execute("CREATE TEMP TABLE IF NOT EXISTS old (id INTEGER PRIMARY KEY)")
        database.execute("DELETE FROM old")
        database.execute(
            "INSERT INTO old SELECT id FROM cases "
            "WHERE pruned IS NULL AND coalesce(removed, closed) < ?1 AND seen < ?1 "
            # What must not be told, or is preserved, must still be recognised.
            "AND id NOT IN (SELECT id FROM withheld WHERE until > ?2) "
            "AND (coalesce(removed, closed) < ?3 OR id NOT IN (SELECT id FROM notice_items JOIN notices "
            "ON notice=number WHERE notices.kind=?4))",
            (before, now, now - _PRESERVED_SECONDS, NoticeKind.TERRORIST),
        )
        for statement in (
            "UPDATE custody SET path=NULL, version='' WHERE id IN old",
            "UPDATE notice_items SET url='' WHERE id IN old",
            # Items of one notice may be in several cases, of which some are open.
            "UPDATE notices SET sender='', reference='' WHERE number IN (SELECT notice FROM notice_items "
            "WHERE id IN old) AND number NOT IN (SELECT notice FROM notice_items JOIN cases USING (id) "
            "WHERE pruned IS NULL AND id NOT IN old)",
            "DELETE FROM notice_mails WHERE notice IN (SELECT number FROM notices WHERE sender='' "
            "AND reference='')",
            "DELETE FROM notice_texts WHERE notice NOT IN (SELECT notice FROM notice_items "
            "JOIN cases USING (id) WHERE pruned IS NULL AND id NOT IN old)",
            "DELETE FROM refusals WHERE id IN old",
            "DELETE FROM web_looks WHERE id IN old",
            "DELETE FROM web_baselines WHERE id IN old",
            "DELETE FROM assignees WHERE id IN old",
            "DELETE FROM withheld WHERE id IN old",
            "UPDATE events SET words='' WHERE id IN old AND kind NOT IN ('found', 'verdict')",
        ):
            database.execute(statement)
        database.execute(
            "UPDATE mails SET sender='', reference='', detail='' WHERE fetched<? AND NOT waits", (before,)
        )
        return database.execute(
            "UPDATE cases SET path=NULL, version='', host='', url='', because='', customer='', sha256=NULL, "
            "etag='', uid=NULL, device=NULL, inode=NULL, size=NULL, mtime=NULL, ctime=NULL, why='', "
            "dispute='', pruned=? WHERE id IN old",
            (now,),
        ).rowcount
