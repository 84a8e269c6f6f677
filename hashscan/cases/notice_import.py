"""Import notices: map their URLs to files and create or update cases."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from hashscan.attribution.customers import NO_CUSTOMERS, Customers
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_tracker import NoticeTracker, StoredNotice
from hashscan.cases.notices.base import Notice, NoticeError
from hashscan.cases.tracker import CaseLocation

_TOGETHER = 2_000
"""Number of notices in one transaction."""


@dataclass(slots=True)
class ImportCounts:
    """Counts of the import of a file of notices."""

    notices: int = 0
    new: int = 0
    """Number of new cases."""
    joined: int = 0
    """Number of notices about files that have a case already."""
    known: int = 0
    """Number of notices that were imported before."""
    unmapped: int = 0
    """Number of notices, among all these, whose file is not known."""


def import_notices(
    ledger: Ledger,
    notices: Iterator[Notice],
    paths_of: Callable[[str], tuple[bytes, ...]],
    now: int,
    customers: Customers = NO_CUSTOMERS,
    taken: ImportCounts | None = None,
) -> ImportCounts:
    """Import notices. If the process is killed, a part is done; importing again does the rest.

    Args:
        ledger: the ledger that gets the notices.
        notices: the notices of one file.
        paths_of: returns the files that a URL may show.
        now: seconds since 1970; no deadline counts from a later time.
        customers: maps a file to its customer.
        taken: counts to update; they are valid even if the file turns out to be damaged.

    Raises:
        NoticeError: the file is damaged; the notices before the damage are imported.
        LedgerError: the ledger can't be written.
    """
    taken = ImportCounts() if taken is None else taken
    trouble: NoticeError | None = None
    while trouble is None:
        some: list[Notice] = []
        try:
            for notice in islice(notices, _TOGETHER):
                some.append(notice)  # noqa: PERF402 - an error must not discard the notices before it
        except NoticeError as error:
            trouble = error
        if not some and trouble is None:
            return taken
        with ledger.transaction() as database:
            book = NoticeTracker(database)
            for notice in some:
                _take(book, notice, paths_of, now, customers, taken)
    raise trouble


def _take(
    book: NoticeTracker,
    notice: Notice,
    paths_of: Callable[[str], tuple[bytes, ...]],
    now: int,
    customers: Customers,
    taken: ImportCounts,
) -> None:
    taken.notices += 1
    places = _places(notice, paths_of)
    if places[0].path is None:
        taken.unmapped += 1
    sha256 = dict(notice.digests).get("sha256")
    for place in places:
        before = book.begun
        _, is_new = book.take_notice(
            place,
            StoredNotice(
                digest=hashlib.sha256(notice.key.encode() + b"\0" + (place.path or b"")).digest(),
                notice=hashlib.sha256(notice.key.encode()).digest(),
                received=now if notice.received is None else min(now, int(notice.received.timestamp())),
                imported=now,
                sender=notice.sender,
                reference=notice.reference,
                stated=None if notice.deadline is None else int(notice.deadline.timestamp()),
                categories=notice.category,
                sha256=None if sha256 is None else bytes.fromhex(sha256),
                customer="" if place.path is None else customers.of(place.path, _uid_of(place.path)),
            ),
        )
        if not is_new:
            taken.known += 1
        elif book.begun > before:
            taken.new += 1
        else:
            taken.joined += 1


def _places(notice: Notice, paths_of: Callable[[str], tuple[bytes, ...]]) -> list[CaseLocation]:
    """Return the candidate files that exist; if none does, the most likely one."""
    if notice.path:
        return [CaseLocation(_as_scanned(notice.path), url=notice.url)]
    paths = paths_of(notice.url) if notice.url else ()
    there = [path for path in paths if not path.startswith(b"/") or os.path.lexists(path)]
    return [CaseLocation(path, url=notice.url) for path in there or paths[:1]] or [
        CaseLocation(None, url=notice.url)
    ]


def _as_scanned(path: bytes) -> bytes:
    """Return a path in the form that scans use: without empty components and dots."""
    if not path.startswith(b"/"):
        return path
    return b"/" + b"/".join(name for name in path.split(b"/") if name not in {b"", b"."})


def _uid_of(path: bytes) -> int | None:
    if not path.startswith(b"/"):
        return None
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None
