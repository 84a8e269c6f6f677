"""Import notices: map their URLs to files, and create or update cases."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from hashscan.attribution.customers import NO_CUSTOMERS, Customers
from hashscan.attribution.sites import is_there
from hashscan.cases.ledger import Ledger
from hashscan.cases.notices.notice import ORDERS, Notice, NoticeKind, completed, stated_deadline
from hashscan.cases.notices.reader import NoticeError
from hashscan.cases.sightings import Sightings
from hashscan.cases.tracker import INFORM, NOTICE, CaseLocation, CaseTracker, KnownCase, Sighting
from hashscan.model import SenderRule
from hashscan.schema import encode_json
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES, CaseSettings
from hashscan.sources.filesystem.targets import owner_at
from hashscan.state.findings.findings import CHANGED
from hashscan.text import printable
from hashscan.timefmt import format_time


@dataclass(frozen=True, slots=True)
class NoticeTerms:
    """Rules for senders and deadlines of kinds, for notices that don't state theirs."""

    rules: tuple[SenderRule, ...] = ()
    settings: CaseSettings = DEFAULT_DEADLINES


DEFAULT_TERMS = NoticeTerms()

_UNDISCLOSED_MAX = 12 * 7 * 86400
"""Regulation (EU) 2021/784, article 11(3): six weeks, and six more."""
_UNDISCLOSED_REASON = "the removal order forbids it"

_CONTINUED = (
    "UPDATE notice_items SET id=:new WHERE id=:old",
    "UPDATE OR IGNORE assignees SET id=:new WHERE id=:old",
    "INSERT INTO withheld SELECT :new, until, reason, who FROM withheld WHERE id=:old "
    "ON CONFLICT (id) DO UPDATE SET until=max(until, excluded.until)",
    "UPDATE cases SET found=min(cases.found, old.found), "
    "began=iif(cases.noticed IS NULL AND cases.verdict IN ('held', 'review'), old.noticed, "
    "min(cases.began, old.noticed)), noticed=min(coalesce(cases.noticed, old.noticed), old.noticed), "
    "ordered=coalesce(min(cases.ordered, old.ordered), old.ordered, cases.ordered), "
    "stated=coalesce(min(cases.stated, old.stated), old.stated, cases.stated), "
    "url=iif(cases.url='', old.url, cases.url), claimed=trim(cases.claimed || ' ' || old.claimed) "
    "FROM cases AS old WHERE cases.id=:new AND old.id=:old",
)
"""Statements that give a case all that the notices of another one ask for."""


class NoticeTracker(CaseTracker):
    """The cases, with the methods to import notices."""

    def take_notice(
        self,
        place: CaseLocation,
        notice: Notice,
        now: int,
        customer: str = "",
        seen: Sighting | None = None,
        terms: NoticeTerms = DEFAULT_TERMS,
    ) -> tuple[int, bool]:
        """Store a notice in its case; create the case if there is none. No deadline counts from a time later
        than `now` (seconds since 1970). Return the number of its case, and True if the notice is new; a
        notice that was imported before changes nothing."""
        item = notice.key.encode()
        digest = hashlib.sha256(item + b"\0" + (place.path or b"")).digest()
        row = self._one("SELECT id FROM notice_items WHERE digest=?", digest)
        if row is not None:
            return int(row[0]), False
        notice = completed(notice, terms.rules)
        assert notice.kind is not None
        asks_removal = notice.kind is not NoticeKind.INFORM
        if asks_removal and place.path is not None and place.url:
            self._place_unmapped(place, now)
        received = now if notice.received is None else min(now, int(notice.received.timestamp()))
        stated = stated_deadline(notice, received, terms.settings.kind_deadlines)
        verdict = NOTICE if asks_removal else INFORM
        case = self._case_of_notice(place, received, verdict, seen)
        if case is None:
            case = self.begin_case(place, verdict, received, "noticed", notice.sender)
        else:
            self.add_event(case.id, received, "noticed", notice.sender)
        number = self._number_of(notice, received, now, terms.settings)
        self._database.execute(
            "INSERT INTO notice_items VALUES (?, ?, ?, ?, ?, ?, ?)",
            (digest, hashlib.sha256(item).digest(), number, case.id, place.url, stated, notice.category),
        )
        sha256 = dict(notice.digests).get("sha256")
        self._database.execute(
            "UPDATE cases SET found=min(found, ?1), "
            "began=iif(noticed IS NULL AND verdict IN ('held', 'review'), ?1, min(began, ?1)), "
            "noticed=min(coalesce(noticed, ?1), ?1), "
            "ordered=coalesce(min(ordered, ?8), ?8, ordered), "
            "stated=coalesce(min(stated, ?2), ?2, stated), "
            "url=CASE url WHEN '' THEN ?3 ELSE url END, "
            "claimed=CASE WHEN instr(' ' || claimed || ' ', ' ' || ?4 || ' ') THEN claimed "
            "ELSE trim(claimed || ' ' || ?4) END, sha256=coalesce(sha256, ?5), "
            "customer=CASE customer WHEN '' THEN ?6 ELSE customer END WHERE id=?7",
            (
                received, stated, place.url, notice.category,
                None if sha256 is None else bytes.fromhex(sha256), customer, case.id,
                received if notice.kind in ORDERS else None,
            ),
        )  # fmt: skip
        if notice.undisclosed is not None and asks_removal:
            self._withhold(case.id, notice.undisclosed, received, now)
        if seen is not None and asks_removal and not notice.digests:
            # Only its content shows that it is the file that a digest names.
            self.see(case.id, seen)
        return case.id, True

    def _withhold(self, number: int, undisclosed: datetime | timedelta, received: int, now: int) -> None:
        """Keep a case from its customer as an order says, but no longer than the law lets an order say."""
        if isinstance(undisclosed, datetime):
            until = int(undisclosed.timestamp())
        else:
            until = received + int(undisclosed.total_seconds())
        until = min(until, received + _UNDISCLOSED_MAX)
        if until <= now:
            return
        self._database.execute(
            "INSERT INTO withheld VALUES (?, ?, ?, '') "
            "ON CONFLICT (id) DO UPDATE SET until=max(until, excluded.until)",
            (number, until, _UNDISCLOSED_REASON),
        )
        self.add_event(number, now, "withheld", f"until {format_time(until)}: {_UNDISCLOSED_REASON}")

    def _number_of(self, notice: Notice, received: int, now: int, settings: CaseSettings) -> int:
        """Return the number of a notice, which may have other items already; store it if it is new."""
        digest = hashlib.sha256(notice.notice_key.encode()).digest()
        row = self._one("SELECT number FROM notices WHERE digest=?", digest)
        if row is not None:
            return int(row[0])
        due = None if notice.kind is NoticeKind.NOTICE else received + int(settings.acknowledge_deadline)
        number = self._database.execute(
            "INSERT INTO notices (digest, kind, role, sender, reference, member_state, basis, received, "
            "imported, acknowledge) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                digest, notice.kind, notice.role, notice.sender, notice.reference, notice.member_state,
                notice.legal_basis, received, now, due,
            ),
        ).lastrowid  # fmt: skip
        assert number is not None
        if notice.authentication or notice.pictures:
            self._database.execute(
                "INSERT INTO notice_mails VALUES (?, ?, ?)",
                (number, notice.authentication, encode_json(list(map(dict, notice.pictures))).decode()),
            )
        if notice.subject or notice.name:
            self._database.execute(
                "INSERT INTO notice_texts VALUES (?, ?, ?, ?)",
                (number, notice.subject, notice.name, notice.explanation),
            )
        return number

    def _place_unmapped(self, place: CaseLocation, now: int) -> None:
        """Set the path of the open case of a URL, now that the file of the URL is known."""
        case = self.find_case(
            "WHERE path IS NULL AND url<>'' AND url=? AND verdict<>? AND removed IS NULL AND closed IS NULL",
            place.url,
            INFORM,
        )
        if case is None:
            return
        other = self.open_case_of(place.path, place.version)
        if other is None:
            self._database.execute("UPDATE cases SET path=? WHERE id=?", (place.path, case.id))
            return
        for statement in _CONTINUED:
            self._database.execute(statement, {"old": case.id, "new": other.id})
        self.add_event(other.id, now, "noticed", f"case {case.id}")
        reason = f"continued as case {other.id}"
        self._database.execute("UPDATE cases SET closed=?, why=? WHERE id=?", (now, reason, case.id))
        self.add_event(case.id, now, "closed", reason)

    def _case_of_notice(
        self, place: CaseLocation, received: int, verdict: str, seen: Sighting | None
    ) -> KnownCase | None:
        """Return the case of a notice: an open one, or one whose file was removed after the notice was sent,
        and was not seen since.

        A notice names no machine: if several cases have its path, open ones of this machine come first.
        """
        order = "ORDER BY removed IS NULL AND closed IS NULL DESC, host='' DESC, id DESC LIMIT 1"
        if place.path is not None:
            case = self.find_case(f"WHERE path=? AND version=? {order}", place.path, place.version)
        else:
            same = "verdict=" if verdict == INFORM else "verdict<>"
            case = self.find_case(
                f"WHERE path IS NULL AND url<>'' AND url=? AND {same}? {order}", place.url, INFORM
            )
        if case is None:
            return None
        if case.removed is None:
            # Whoever closed it did not know of this notice.
            return case if case.closed is None else None
        is_back = seen is not None and seen.at > case.removed and case.how != CHANGED
        return None if case.removed < received or is_back else case


_TOGETHER = 2_000
"""Number of notices in one transaction."""


@dataclass(slots=True)
class ImportCounts:
    """Counts of the import of a file of notices."""

    notices: int = 0
    new: int = 0
    joined: int = 0
    """Number of notices about files that have a case already."""
    known: int = 0
    """Number of notices that were imported before."""
    unmapped: int = 0
    """Number of notices, among all these, whose file is not known."""


@dataclass(frozen=True, slots=True)
class NoticeImporter:
    """Stores notices in transactions of its caller; `import_notices` describes the fields."""

    paths_of: Callable[[str], tuple[bytes, ...]]
    customers: Customers
    counts: ImportCounts
    sightings: Sightings | None
    terms: NoticeTerms

    def take(self, database: sqlite3.Connection, notices: Iterable[Notice], now: int) -> None:
        """Store notices, and count them."""
        tracker, counts = NoticeTracker(database), self.counts
        for notice in notices:
            counts.notices += 1
            places = _places(notice, self.paths_of)
            counts.unmapped += places[0].path is None
            for place in places:
                before = tracker.begun
                customer = "" if place.path is None else self.customers.of(place.path, owner_at(place.path))
                seen = _sighting(place, now, self.sightings)
                _, is_new = tracker.take_notice(place, notice, now, customer, seen, self.terms)
                counts.known += not is_new
                counts.new += tracker.begun - before
                counts.joined += is_new and tracker.begun == before


def import_notices(
    ledger: Ledger,
    notices: Iterator[Notice],
    paths_of: Callable[[str], tuple[bytes, ...]],
    now: int,
    customers: Customers = NO_CUSTOMERS,
    taken: ImportCounts | None = None,
    sightings: Sightings | None = None,
    terms: NoticeTerms = DEFAULT_TERMS,
) -> ImportCounts:
    """Import notices. If the process is killed, a part is done; importing again does the rest.

    Args:
        paths_of: returns the files that a URL may show.
        now: seconds since 1970; no deadline counts from a later time.
        taken: counts to update; they are valid even if the file turns out to be damaged.
        sightings: finds out which files were seen here; None to look at none.
        terms: what applies where a notice doesn't state it.

    Raises:
        NoticeError: the file is damaged; the notices before the damage are imported.
        LedgerError: the ledger can't be written.
    """
    taken = ImportCounts() if taken is None else taken
    importer = NoticeImporter(paths_of, customers, taken, sightings, terms)
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
            importer.take(database, some, now)
    raise trouble


def _sighting(place: CaseLocation, now: int, sightings: Sightings | None) -> Sighting | None:
    return None if sightings is None or place.path is None else sightings.of(place.path, now)


def _places(notice: Notice, paths_of: Callable[[str], tuple[bytes, ...]]) -> list[CaseLocation]:
    """Return the candidate files that exist; if none does, the most likely one.

    An order to provide information is about no file that has to go, so it has no path.
    """
    if notice.kind is NoticeKind.INFORM:
        return [CaseLocation(None, url=notice.url or printable(os.fsdecode(notice.path)))]
    if notice.path:
        return [CaseLocation(_as_scanned(notice.path), url=notice.url)]
    paths = paths_of(notice.url) if notice.url else ()
    there = [path for path in paths if not path.startswith(b"/") or is_there(path)]
    return [CaseLocation(path, url=notice.url) for path in there or paths[:1]] or [
        CaseLocation(None, url=notice.url)
    ]


def _as_scanned(path: bytes) -> bytes:
    """Return a path in the form that scans use: without empty components and dots."""
    if not path.startswith(b"/"):
        return path
    return b"/" + b"/".join(name for name in path.split(b"/") if name not in {b"", b"."})
