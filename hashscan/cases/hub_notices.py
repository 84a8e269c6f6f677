"""Make cases of a hub's notices, and tell the hub what becomes of them.

A hub is not trusted: what it sends is checked like any notice, and bounded. Only files below the roots of
sites, and those that a scan has found, are looked for: for any other place the answer is the same as for a
file that is not there. A notice never moves a file; it only makes a case. All steps can be repeated: a
process that is killed leaves nothing lost and nothing twice.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import groupby
from urllib.parse import quote

from hashscan.attribution.customers import NO_CUSTOMERS, Customers
from hashscan.attribution.sites import Sites
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import DEFAULT_TERMS, ImportCounts, NoticeTerms, import_notices
from hashscan.cases.notices import fields
from hashscan.cases.notices.notice import ORDERS, Notice, NoticeKind
from hashscan.cases.sightings import Sightings
from hashscan.cases.tracker import NEVER_SEEN, NOT_FOUND, NOTICE, CaseTracker
from hashscan.errors import UnreachableError
from hashscan.hub_api import NOTICES, NoticesAnswer, NoticeUpdate
from hashscan.hub_api import Notice as HubNotice
from hashscan.schema import InvalidDocumentError, decode_json, encode_json, validated
from hashscan.service_client import ServiceRefusedError
from hashscan.text import printable
from hashscan.timefmt import format_utc_seconds

Ask = Callable[[str, str, bytes | None], bytes]
"""Sends a request (method, path, body), and returns the body of its answer."""

_PAGES_MAX = 200
"""Largest number of answers with notices in one run."""
_ENDED = frozenset({"removed", "closed", NOT_FOUND, "disputed"})
_WITHDRAWN = "the notice was withdrawn"


@dataclass(slots=True)
class SyncCounts:
    """Counts of a synchronisation."""

    imported: ImportCounts = field(default_factory=ImportCounts)
    refused: Counter[str] = field(default_factory=Counter)
    """Number of notices that can't be used, by reason."""
    withdrawn: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    """Number of answers by their event."""


class HubNotices:
    """The notices of one hub in the ledger.

    Raises, in all methods:
        LedgerError: the ledger can't be written.
        UnreachableError: the hub answers with something that can't be used.
        Whatever `ask` raises.
    """

    def __init__(self, ledger: Ledger, hub: str, sender: str, ask: Ask) -> None:
        """Use a ledger.

        Args:
            hub: address of the hub; another address is another hub.
            sender: the sender of the notices, for people.
            ask: sends a request.
        """
        self._ledger = ledger
        self._hub = hub
        self._sender = sender
        self._ask = ask
        self.counts = SyncCounts()

    def fetch(
        self,
        host: str,
        sites: Sites,
        now: int,
        customers: Customers = NO_CUSTOMERS,
        sightings: Sightings | None = None,
        terms: NoticeTerms = DEFAULT_TERMS,
    ) -> None:
        """Make cases of all new notices, and close those of withdrawn ones.

        Args:
            host: the name of this server.
            sites: the rules that map URLs to files; no others are looked for.
            now: seconds since 1970.
            sightings: finds out which files were seen here; None to look at none.
            terms: the deadlines and the rules for senders; the hub itself is the sender.
        """
        row = self._ledger.one("SELECT number FROM followed WHERE source=?", f"hub {self._hub}")
        since = 0 if row is None else int(row[0])
        for _ in range(_PAGES_MAX):
            answer = self._page(since, host)
            usable: dict[int, Notice] = {}
            troubles: dict[int, str] = {}
            for each in answer.notices:
                if each.withdrawn:
                    continue
                try:
                    usable[each.number] = self._within_reach(_checked(each, self._sender), sites)
                except fields.FieldError as error:
                    troubles[each.number] = printable(str(error))
            import_notices(
                self._ledger, iter(usable.values()), sites.paths_of, now, customers, self.counts.imported,
                sightings, terms,
            )  # fmt: skip
            with self._ledger.transaction() as database:
                for number, notice in usable.items():
                    self._store(database, number, hashlib.sha256(notice.key.encode()).digest())
                for number, trouble in troubles.items():
                    self.counts.refused[trouble] += self._store(database, number, b"", trouble)
                for each in answer.notices:
                    if each.withdrawn:
                        self.counts.withdrawn += self._withdraw(database, each.number, now)
                database.execute(
                    "INSERT OR REPLACE INTO followed VALUES (?, ?, '')", (f"hub {self._hub}", answer.next)
                )
            since = answer.next
            if not answer.more:
                return

    def _within_reach(self, notice: Notice, sites: Sites) -> Notice:
        """Return a notice without its path, if no site serves that and no scan has found it.

        The path is then shown in the place of the URL, for people, and never looked at.
        """
        if not notice.path or sites.covers(notice.path):
            return notice
        query = "SELECT 1 FROM cases WHERE path=? AND witness<>''"
        if self._ledger.one(query, notice.path) is not None:
            return notice
        return replace(notice, path=b"", url=notice.url or printable(notice.path.decode()))

    def _page(self, since: int, host: str) -> NoticesAnswer:
        data = self._ask("GET", f"{NOTICES}?since={since}&host={quote(host, safe='')}", None)
        try:
            answer = validated(decode_json(data), NoticesAnswer)
        except InvalidDocumentError as error:
            raise self._unusable(str(error)) from error
        if answer.next < since or (answer.more and answer.next == since):
            raise self._unusable("its notices go back to earlier ones")
        return answer

    def _unusable(self, reason: str) -> UnreachableError:
        return UnreachableError(
            f"the hub {self._hub} answers with notices that can't be used: {reason}",
            advice="Check the address of the hub, and the versions of hashscan on both sides.",
        )

    def _store(self, database: sqlite3.Connection, number: int, notice: bytes, trouble: str = "") -> int:
        return database.execute(
            "INSERT OR IGNORE INTO hub_notices (hub, number, notice, trouble) VALUES (?, ?, ?, ?)",
            (self._hub, number, notice, trouble),
        ).rowcount

    def _withdraw(self, database: sqlite3.Connection, number: int, now: int) -> int:
        """Close the cases that only this notice has made; return the number of notices withdrawn now."""
        self._store(database, number, b"")
        changed = database.execute(
            "UPDATE hub_notices SET withdrawn=? WHERE hub=? AND number=? AND withdrawn IS NULL",
            (now, self._hub, number),
        ).rowcount
        if not changed:
            return 0
        tracker = CaseTracker(database)
        rows = database.execute(
            "SELECT id, verdict, (SELECT count(DISTINCT item) FROM notice_items AS n WHERE n.id=cases.id) "
            "FROM cases WHERE removed IS NULL AND closed IS NULL AND id IN (SELECT id FROM notice_items "
            "WHERE item=(SELECT notice FROM hub_notices WHERE hub=? AND number=?))",
            (self._hub, number),
        ).fetchall()
        for case, verdict, count in rows:
            if verdict == NOTICE and count == 1:
                database.execute("UPDATE cases SET closed=?, why=? WHERE id=?", (now, _WITHDRAWN, case))
                tracker.add_event(case, now, "closed", _WITHDRAWN)
            else:
                tracker.add_event(case, now, "noticed", f"{_WITHDRAWN}: {self._sender}")
        return 1

    def answer(self, host: str, now: int) -> None:
        """Tell the hub which notices have become cases, and how cases have ended or were reopened.

        Args:
            host: the name of this server.
            now: seconds since 1970.
        """
        for number, said, wanted, at, how, met in list(self._states(now)):
            for event in _events(said, wanted, met):
                ends = event == wanted
                update = NoticeUpdate(
                    event,  # type: ignore[arg-type]  # one of the literal's
                    format_utc_seconds(at if ends else now),
                    how if ends else "",
                    host,
                )
                try:
                    self._ask("POST", f"{NOTICES}/{number}", encode_json(update))
                except ServiceRefusedError as error:
                    if error.status != HTTPStatus.NOT_FOUND:
                        raise
                    # The hub no longer has it.
                    self._record(number, "withdrawn", now)
                    break
                self._record(number, "said", met if event == "reopened" else event)
                self.counts.answered[event] += 1

    def _record(self, number: int, column: str, value: object) -> None:
        with self._ledger.transaction() as database:
            database.execute(
                f"UPDATE hub_notices SET {column}=? WHERE hub=? AND number=?",  # noqa: S608 - our own names
                (value, self._hub, number),
            )

    def _states(self, now: int) -> Iterator[tuple[int, str, str, int, str, str]]:
        """Yield number, told state, state, time and kind of ending of each notice whose state is not told.

        The last value is `acknowledged`, or `never_seen` if nobody here has ever seen the file.
        """
        rows = self._ledger.rows(
            "SELECT h.number, h.said, h.trouble, c.id, c.removed, c.closed, c.disputed, c.how, c.witness "
            "FROM hub_notices AS h LEFT JOIN notice_items AS n ON n.item=h.notice LEFT JOIN cases AS c "
            "ON c.id=n.id WHERE h.hub=? AND h.withdrawn IS NULL ORDER BY h.number",
            self._hub,
        )
        for (number, said, trouble), of_notice in groupby(rows, key=lambda row: row[:3]):
            cases = [row[4:] for row in of_notice if row[3] is not None]
            is_seen = not cases or any(witness for *_, witness in cases)
            met = "acknowledged" if is_seen else NEVER_SEEN
            wanted, at, how = _ending_of(cases) or (met, now, "")
            if trouble:
                wanted, at, how = "refused", now, trouble
            if wanted != said:
                yield number, said, wanted, at, how, met


def _ending_of(
    cases: Sequence[tuple[int | None, int | None, int | None, str, str]],
) -> tuple[str, int, str] | None:
    """Return how the cases of a notice have ended or are disputed, since when, and the kind of ending.

    No reasons of people are among this. None if a case is open, and none is disputed.
    """
    ends = [removed if removed is not None else closed for removed, closed, *_ in cases]
    known = [end for end in ends if end is not None]
    if cases and len(known) == len(cases):
        hows = {how or "closed" for *_, how, _ in cases}
        if hows == {NOT_FOUND}:
            return NOT_FOUND, max(known), ""
        is_removed = all(removed is not None for removed, *_ in cases)
        return ("removed" if is_removed else "closed"), max(known), " ".join(sorted(hows))
    disputed = [at for _, _, at, *_ in cases if at is not None]
    return ("disputed", min(disputed), "") if disputed else None


def _events(said: str, wanted: str, met: str) -> list[str]:
    """Return the answers that bring the hub from the last answer (empty if there was none) to the present
    state; `met` is `acknowledged`, or `never_seen` if nobody here has ever seen the file."""
    if wanted == "refused":
        return [wanted]
    first: list[str] = []
    if said in _ENDED and (wanted == met or said != "disputed"):
        first.append("reopened")
    # Only a file that was seen can be removed; the hub is told that it was.
    if not said or (said in {NEVER_SEEN, NOT_FOUND} and met != NEVER_SEEN):
        first.append(met)
    return (first or [met]) if wanted == met else [*first, wanted]


def _checked(notice: HubNotice, sender: str) -> Notice:
    """Return a notice of the hub, whose values may be hostile, as one of the ledger."""
    if not (notice.url or notice.path):
        raise fields.FieldError("it names no place")
    return Notice(
        reference=fields.printable_line("reference", notice.reference),
        sender=sender,
        url=fields.url(notice.url) if notice.url else "",
        path=fields.path(notice.path) if notice.path else b"",
        received=fields.time_or_day("sent", notice.sent),
        deadline=fields.time_or_day("deadline", notice.deadline) if notice.deadline else None,
        category=fields.category(notice.category),
        kind=NoticeKind(fields.one_of("kind", notice.kind, (NoticeKind.NOTICE, *ORDERS))),
        member_state=fields.member_state(notice.member_state) if notice.member_state else "",
        legal_basis=fields.printable_line("legal_basis", notice.legal_basis),
    )
