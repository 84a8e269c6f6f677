"""Query the ledger for cases, scans and quarantine events, and for the counts that metrics show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hashscan.cases.deadlines import DUE, IS_ORDER, DeadlineCalculator
from hashscan.cases.ledger import MATCH_KEYS, MATCHES_QUERY, Ledger
from hashscan.cases.notices.notice import NoticeKind, SenderRole
from hashscan.cases.tracker import INFORM, NOT_FOUND, QUARANTINED, REFUSED
from hashscan.cases.withholding import WITHHELD_JOINS, WITHHELD_UNTIL
from hashscan.shortcomings import Shortcoming, shortcomings_of

_OPEN = "removed IS NULL AND closed IS NULL"
_LATE_ORDER = f"{IS_ORDER} AND {DUE}<?"

CaseState = Literal["found", "never_seen", "told", "disputed", "removed", "refused", "not_found", "closed"]
CaseVerdict = Literal["match", "held", "review", "notice", "inform"]
_LATER_STATES: tuple[CaseState, ...] = ("removed", "closed", "disputed", "told")
"""The states that are named as the time at which they began."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case. All times are in seconds since 1970, and None if the event has not happened."""

    id: int
    path: bytes | None
    """Path of the file, or URL of the object; None if neither is known."""
    version: str
    host: str
    """The machine on which the file lies; empty for this one."""
    url: str
    """URL by which a notice names it."""
    verdict: CaseVerdict
    """notice if there is only a notice or an order; inform for an order to provide information."""
    because: str
    categories: tuple[str, ...]
    """Categories of matching entries, and those that notices name."""
    customer: str
    """The customer who must act; empty if no rule names one."""
    sha256: bytes | None
    etag: str
    uid: int | None
    device: int | None
    inode: int | None
    size: int | None
    mtime: int | None
    ctime: int | None
    found: int
    """Time of the first finding or notice, whichever was first."""
    seen: int | None
    """Time at which `witness` saw it; None if nobody here has ever seen it."""
    began: int
    """Time from which somebody must act: the first finding or notice, or the change to a match."""
    noticed: int | None
    """Time at which the first notice was received."""
    due: int | None
    """Deadline for its removal, or for the information; None if it has none."""
    told: int | None
    """Time at which the customer was notified."""
    removed: int | None
    how: str
    """gone, changed, quarantined or refused; cleared if no list matches it any more; not_found if a person
    closed it because it was never seen here."""
    closed: int | None
    why: str
    disputed: int | None
    dispute: str
    previous: int | None
    """The previous case of the same path."""
    door: str = ""
    """The door at which an upload was refused; empty for files, objects and notices."""
    reference: str = ""
    """The reference that was shown to the uploader; empty as well."""
    witness: str = ""
    """The observer that saw the file last, a value of `Witness`; empty if nobody here has ever seen it."""
    ordered: int | None = None
    """Time at which the first order to act was received."""
    acknowledge: int | None = None
    """Time until which the receipt of an order must be acknowledged; None if none waits for that."""
    assignee: str = ""
    """The assignee; empty if there is none."""
    withheld: int | None = None
    """Time before which its customer may not be told of it; None if it is not withheld."""

    def is_withheld(self, now: float) -> bool:
        """Return True if the customer may not be told of it yet."""
        return self.withheld is not None and now < self.withheld

    @property
    def open(self) -> bool:
        """True if somebody must still act."""
        return self.removed is None and self.closed is None

    @property
    def place(self) -> str:
        """The file, object, upload or URL, as text for people; not escaped."""
        if self.reference:
            return f"upload {self.reference} ({self.door})"
        if self.path is None:
            return self.url or "-"
        return os.fsdecode(self.path) + (f" (version {self.version})" if self.version else "")

    @property
    def is_order(self) -> bool:
        """True if somebody has ordered to act, or to provide information."""
        return self.ordered is not None or self.verdict == INFORM

    @property
    def state(self) -> CaseState:
        """The state as one word."""
        if self.how == REFUSED:
            return "refused"
        if self.how == NOT_FOUND:
            return "not_found"
        for word in _LATER_STATES:
            if getattr(self, word) is not None:
                return word
        return "found" if self.witness else "never_seen"

    def overdue(self, now: float) -> bool:
        """Return True if the case is open and its deadline has passed."""
        return self.open and self.due is not None and self.due < now

    @property
    def hours(self) -> float | None:
        """Hours from its start to its removal; None if it was not removed, or never stored."""
        if self.removed is None or self.how == REFUSED:
            return None
        return max(0, self.removed - self.began) / 3600


@dataclass(frozen=True, slots=True)
class ScanRun:
    """One scan, or one shard of a scan; times in seconds since 1970."""

    uuid: str
    started: int
    ended: int | None
    """None if it was killed."""
    exit_code: int | None
    files: int
    bytes: int
    """Bytes that were read."""
    verdicts: Mapping[str, int]
    incomplete: Sequence[Shortcoming]
    """Reasons why it is incomplete."""
    reasons: Mapping[str, Mapping[str, int]]
    """Number of files by verdict and reason."""


@dataclass(frozen=True, slots=True)
class RefusedContent:
    """The upload of a case, with the digests of its content."""

    address: str
    """Address of the first client that sent it."""
    name: str
    """Name that the client gave it, escaped."""
    digests: Mapping[str, str]
    """Hexadecimal digests by algorithm."""
    number: int
    """Number of refusals."""
    kept: str
    """File with the encrypted content; empty if it is not kept."""


@dataclass(frozen=True, slots=True)
class CaseNotice:
    """One notice or order about the file of a case; times in seconds since 1970."""

    number: int
    kind: NoticeKind
    role: SenderRole
    sender: str
    reference: str
    member_state: str
    basis: str
    received: int
    stated: int | None
    """The deadline that it states, or that its kind has."""
    acknowledge: int | None
    """Time until which its receipt is to be acknowledged; None for notices."""
    acknowledged: int | None
    answered: int | None
    """Time of the answer to an order to provide information."""
    subject: str
    """The content as the sender sees it: `child_sexual_abuse` or `other`."""
    name: str
    """The name of the person who has sent it."""
    explanation: str
    """The reason for which the content is illegal, as the sender says it."""
    authentication: str
    """The Authentication-Results of its mail, as found; empty without one."""
    pictures: Sequence[Mapping[str, str]]
    """Digests in hex by algorithm of the pictures that were attached to its mail."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a case; `at` in seconds since 1970."""

    at: int
    kind: str
    words: str
    who: str
    """The user who caused it; empty if a scan or check did."""


_CASE = (
    "SELECT id, path, version, host, url, verdict, because, categories || ' ' || claimed, customer, "  # noqa: S608
    "sha256, etag, uid, device, "
    "inode, size, mtime, ctime, found, iif(witness='', NULL, seen), coalesce(began, found), noticed, "
    f"{DUE}, told, removed, how, closed, why, disputed, dispute, previous, "
    "coalesce(refusals.door, ''), coalesce(reference, ''), witness, "
    "ordered, (SELECT min(acknowledge) FROM notices WHERE acknowledged IS NULL "
    "AND number IN (SELECT notice FROM notice_items WHERE notice_items.id=cases.id)), "
    "coalesce((SELECT who FROM assignees WHERE assignees.id=cases.id), ''), "
    f"{WITHHELD_UNTIL} "
    f"FROM cases LEFT JOIN refusals USING (id) {WITHHELD_JOINS}"
)


class Queries:
    """Queries on a ledger that know the deadlines of cases.

    Raises, in all methods:
        LedgerError: the ledger can't be read.
    """

    def __init__(self, ledger: Ledger, deadlines: DeadlineCalculator) -> None:
        self._ledger = ledger
        deadlines.register(ledger)

    def case(self, number: int) -> Case | None:
        """Return a case by its number; None if it doesn't exist."""
        return next(self._cases("WHERE id=?", number), None)

    def all_cases(self) -> Iterator[Case]:
        """Yield all cases, ordered by number."""
        return self._cases("ORDER BY id")

    def removed_cases(self) -> Iterator[Case]:
        """Yield cases whose files were removed, in the order of removal; refused uploads never were files."""
        return self._cases("WHERE removed IS NOT NULL AND how<>? ORDER BY removed, id", REFUSED)

    def open_cases(self, now: float = 0) -> Iterator[Case]:
        """Yield open cases: those with an order that is overdue at a time in seconds since 1970, then all
        others, each ordered by deadline."""
        return self._cases(f"WHERE {_OPEN} ORDER BY {_LATE_ORDER} DESC, {DUE} IS NULL, {DUE}, id", now)

    def reviewable_cases(self, now: float) -> Iterator[Case]:
        """Yield the cases on which people may decide, and whose file is there or in quarantine, in the order
        of `open_cases`; orders to provide information say nothing of a file."""
        return self._cases(
            "WHERE closed IS NULL AND (removed IS NULL OR how=?) AND verdict<>? "
            f"ORDER BY removed IS NOT NULL, {_LATE_ORDER} DESC, {DUE} IS NULL, {DUE}, id",
            QUARANTINED, INFORM, now,
        )  # fmt: skip

    def due_by_customer(self, by: float, now: float = 0) -> Iterator[Case]:
        """Yield open cases with a deadline before `by`, grouped by customer: first the customers with an
        overdue order, then the oldest deadline; within each in the same order."""
        late, whole = f"({_LATE_ORDER})", "OVER (PARTITION BY customer)"
        return self._cases(
            f"WHERE {_OPEN} AND {DUE}<? ORDER BY max({late}) {whole} DESC, "
            f"min({DUE}) {whole}, customer, {late} DESC, {DUE}, id",
            by, now, now,
        )  # fmt: skip

    def notices(self, case: int) -> list[CaseNotice]:
        """Return the notices and orders that name the file of a case, in the order of their receipt."""
        query = (
            "SELECT number, kind, role, sender, reference, member_state, basis, received, min(stated), "
            "acknowledge, acknowledged, answered, coalesce(subject, ''), coalesce(name, ''), "
            "coalesce(explanation, ''), coalesce(authentication, ''), coalesce(pictures, '[]') "
            "FROM notices JOIN notice_items ON notice=number LEFT JOIN notice_texts USING (notice) "
            "LEFT JOIN notice_mails USING (notice) "
            "WHERE id=? GROUP BY number ORDER BY received, number"
        )
        rows = self._ledger.rows(query, case)
        return [CaseNotice(*(*values, json.loads(pictures))) for *values, pictures in rows]

    def _cases(self, where: str, *parameters: object) -> Iterator[Case]:
        for row in self._ledger.rows(f"{_CASE} {where}", *parameters):
            values = list(row)
            values[7] = tuple(sorted(set(values[7].split())))
            yield Case(*values)

    def matches(self, case: int) -> list[dict[str, Any]]:
        """Return the entries that match a case, with the fields of `MATCH_KEYS`, the nearest first."""
        query = f"{MATCHES_QUERY} ORDER BY distance, list, entry, algorithm, variant"
        return [dict(zip(MATCH_KEYS, row, strict=True)) for row in self._ledger.rows(query, case)]

    def refused_content(self, case: int) -> RefusedContent | None:
        """Return the upload of a case; None for any other case."""
        row = self._ledger.one("SELECT address, name, digests, number, kept FROM refusals WHERE id=?", case)
        if row is None:
            return None
        address, name, digests, number, kept = row
        return RefusedContent(address, name, json.loads(digests), number, kept)

    def number_of(self, reference: str) -> int | None:
        """Return the number of the case of a reference; None if there is none."""
        row = self._ledger.one("SELECT id FROM refusals WHERE reference=?", reference)
        return None if row is None else int(row[0])

    def is_test(self, reference: str) -> bool:
        """Return True if a reference is one of the last of which only test entries match: it has no case."""
        query = "SELECT 1 FROM test_refusals WHERE reference=?"
        return self._ledger.one(query, reference) is not None

    def events(self, case: int) -> list[Event]:
        """Return the events of a case, in order."""
        query = "SELECT at, kind, words, who FROM events WHERE id=? ORDER BY at, number"
        return [Event(*row) for row in self._ledger.rows(query, case)]


def scans(ledger: Ledger, where: str = "ORDER BY started, id", *parameters: object) -> Iterator[ScanRun]:
    """Yield the scans that the end of a query in SQL selects.

    Raises:
        LedgerError: the ledger can't be read.
    """
    fields = "uuid, started, ended, exit_code, files, bytes, verdicts, incomplete, reasons"
    query = f"SELECT {fields} FROM scans {where}"  # noqa: S608 - no part of it comes from outside
    for row in ledger.rows(query, *parameters):
        uuid, started, ended, exit_code, files, size, *documents = row
        verdicts, incomplete, reasons = map(json.loads, documents)
        short = shortcomings_of({"incomplete": incomplete})
        yield ScanRun(uuid, started, ended, exit_code, files, size, verdicts, short, reasons)


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """The counts of a ledger."""

    last: ScanRun | None
    """The scan that was started last."""
    last_success: int | None
    """Time at which a scan that read files last ended complete; seconds since 1970."""
    open: Mapping[str, int]
    """Number of open cases by verdict."""
    overdue: int
    disputed: int
    opened_ever: int
    in_quarantine: int
    overdue_orders: int = 0
    unacknowledged: int = 0
    """Number of orders whose receipt should have been acknowledged."""


def ledger_stats(ledger: Ledger, deadlines: DeadlineCalculator, now: float) -> LedgerStats:
    """Return the counts of a ledger after a sync; `now` in seconds since 1970.

    Raises:
        LedgerError: the ledger can't be read.
    """
    deadlines.register(ledger)
    with ledger.reading():
        success = ledger.one("SELECT max(ended) FROM scans WHERE whole = 1 AND known = 0")
        counts = ledger.rows(f"SELECT verdict, count(*) FROM cases WHERE {_OPEN} GROUP BY verdict")  # noqa: S608
        overdue, orders, disputed = ledger.one(
            f"SELECT count(*) FILTER (WHERE {DUE}<?1), "  # noqa: S608
            f"count(*) FILTER (WHERE {_LATE_ORDER}1), count(disputed) FROM cases WHERE {_OPEN}",
            now,
        )
        (unacknowledged,) = ledger.one(
            "SELECT count(*) FROM notices WHERE acknowledged IS NULL AND acknowledge<?", now
        )
        return LedgerStats(
            next(scans(ledger, "ORDER BY started DESC, id DESC LIMIT 1"), None),
            success[0],
            dict(counts),
            overdue,
            disputed,
            ledger.one("SELECT max(id) FROM cases")[0] or 0,
            # An item is in quarantine if it was moved there and not taken out since.
            ledger.one(
                "SELECT count(*) FROM (SELECT kind, max(line) FROM custody "
                "WHERE kind IN ('moved', 'restored', 'released') GROUP BY log, item) WHERE kind = 'moved'"
            )[0],
            orders,
            unacknowledged,
        )
