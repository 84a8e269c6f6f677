"""Remove personal data from old cases (retention), and keep what is counted."""

from __future__ import annotations

from hashscan.cases.ledger import Ledger


def prune(ledger: Ledger, before: int, now: int) -> int:
    """Delete paths, URLs, digests, customers, names and reasons of old ended cases.

    The times when they were found, notified, removed and closed stay, with verdict, categories, lists and
    entries. Cases whose file scans still find stay as they are. The bytes are overwritten.

    Args:
        ledger: the ledger of the cases.
        before: prune cases that ended, and were last found by a scan, before this time; seconds since 1970.
        now: seconds since 1970.

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
