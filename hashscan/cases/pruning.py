"""Forgets what old cases say of strangers, and keeps what is counted."""

from __future__ import annotations

from hashscan.cases.ledger import Ledger


def prune(ledger: Ledger, before: int, now: int) -> int:
    """Drop paths, addresses, digests, customers, names and reasons of cases that are over.

    When they were found, told, removed and closed stays, with verdict, categories, lists and entries. What is
    still met by sweeps stays as it is. The bytes are overwritten.

    Args:
        ledger: of the cases.
        before: cases that were over, and met by no sweep, since then; seconds since 1970.
        now: seconds since 1970.

    Returns:
        How many cases.

    Raises:
        LedgerError: it can't be written.
    """
    with ledger.transaction() as database:
        database.execute("PRAGMA secure_delete = ON")
        database.execute("CREATE TEMP TABLE IF NOT EXISTS old (id INTEGER PRIMARY KEY)")
        database.execute("DELETE FROM old")
        database.execute(
            "INSERT INTO old SELECT id FROM cases "
            "WHERE pruned IS NULL AND coalesce(removed, closed) < ?1 AND seen < ?1",
            (before,),
        )
        for statement in (
            "UPDATE custody SET path=NULL, version='' WHERE id IN old",
            "UPDATE notices SET sender='', reference='', url='' WHERE id IN old",
            "UPDATE events SET words='' WHERE id IN old AND kind NOT IN ('found', 'verdict')",
        ):
            database.execute(statement)
        return database.execute(
            "UPDATE cases SET path=NULL, version='', host='', url='', because='', customer='', sha256=NULL, "
            "etag='', uid=NULL, device=NULL, inode=NULL, size=NULL, mtime=NULL, ctime=NULL, why='', "
            "dispute='', pruned=? WHERE id IN old",
            (now,),
        ).rowcount
