"""Confirmed removals: find what is known of the file of a removed case, and record the confirmation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hashscan.cases.ledger import Ledger
from hashscan.cases.tracker import CaseTracker
from hashscan.errors import UsageError


class RemovedCase(NamedTuple):
    """A case whose file was removed."""

    number: int
    item: str
    """Id of the file in quarantine; empty if it was removed otherwise."""
    sha256: bytes | None
    """None if it is not known, or a notice may have named it."""
    owner: str
    """Number of the file's user, or the URL of the bucket; empty if neither is known."""
    categories: tuple[str, ...]


def removed_cases(ledger: Ledger, numbers: Iterable[int]) -> list[RemovedCase]:
    """Return the cases with these numbers, each once.

    Raises:
        UsageError: a case doesn't exist, its file was not removed, or its content is not known.
        LedgerError: the ledger can't be read.
    """
    found = []
    for number in dict.fromkeys(numbers):
        row = ledger.one("SELECT path, uid, sha256, removed, how, categories FROM cases WHERE id=?", number)
        if row is None:
            raise UsageError(f"there is no case {number}", advice="See `hashscan cases list --status all`.")
        path, uid, sha256, removed, how, categories = row
        if removed is None or how == "cleared":
            raise UsageError(
                f"the file of case {number} was not removed", advice="Confirm it when its file is gone."
            )
        moved = ledger.one(
            "SELECT item FROM custody WHERE id=? AND kind='moved' ORDER BY line DESC LIMIT 1", number
        )
        item = "" if moved is None else str(moved[0])
        noticed = ledger.one("SELECT 1 FROM notice_items WHERE id=?", number) is not None
        if not item and (sha256 is None or noticed):
            # The sender of a notice could name the digest of any file, such as one that many sites have.
            raise UsageError(
                f"case {number} is not in quarantine, and its content is not known, or a notice named it",
                advice="Leave it out.",
            )
        known = None if noticed else sha256
        found.append(RemovedCase(number, item, known, _owner(path, uid), tuple(categories.split())))
    return found


def _owner(path: bytes | None, uid: int | None) -> str:
    scheme, separator, rest = (path or b"").partition(b"://")
    if separator and b"/" not in scheme:
        return (scheme + separator + rest.partition(b"/")[0]).decode()
    return "" if uid is None else str(uid)


def record_confirmed(ledger: Ledger, numbers: Iterable[int], reason: str, who: str, now: int) -> None:
    """Add the event to all cases, or to none.

    Raises:
        LedgerError: the ledger can't be written.
    """
    with ledger.transaction() as database:
        tracker = CaseTracker(database)
        for number in dict.fromkeys(numbers):
            tracker.add_event(number, now, "confirmed", reason, who)
