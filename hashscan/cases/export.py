"""Export cases for other programs, as JSON and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs

from hashscan.cases.notices.notice import NoticeKind, SenderRole
from hashscan.cases.queries import Case, CaseNotice, CaseState, CaseVerdict, Event, RefusedContent
from hashscan.cases.web_looks import WebLook
from hashscan.reports.csv import cell
from hashscan.schema import Time, encode_json
from hashscan.text import path_fields
from hashscan.timefmt import format_time

_TIMES = (
    "found",
    "began",
    "seen",
    "noticed",
    "ordered",
    "acknowledge",
    "withheld",
    "due",
    "told",
    "disputed",
    "removed",
    "closed",
)
_TEXTS = (
    "version", "host", "url", "customer", "because", "how", "why", "dispute", "etag", "door", "reference",
    "witness", "assignee",
)  # fmt: skip
_NUMBERS = ("size", "uid", "previous")
COLUMNS = (
    "case", "state", "overdue", "verdict", "categories", "customer", "path", "version", "url", "due", "found",
    "noticed", "ordered", "acknowledge", "told", "disputed", "removed", "how", "closed", "why", "dispute",
    "hours", "because", "door", "reference", "assignee", "withheld",
)  # fmt: skip


class CaseDocument(Struct, kw_only=True):
    """A case; unknown values are left out."""

    case: int
    state: CaseState
    verdict: CaseVerdict
    path: str | UnsetType = UNSET
    path_b64: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    host: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    customer: str | UnsetType = UNSET
    because: str | UnsetType = UNSET
    how: str | UnsetType = UNSET
    why: str | UnsetType = UNSET
    dispute: str | UnsetType = UNSET
    etag: str | UnsetType = UNSET
    door: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    witness: str | UnsetType = UNSET
    """The observer that saw the file at the time `seen`; left out if nobody here has ever seen it."""
    assignee: str | UnsetType = UNSET
    """The person who works on it."""
    categories: Sequence[str]
    overdue: bool
    found: Time | UnsetType = UNSET
    began: Time | UnsetType = UNSET
    seen: Time | UnsetType = UNSET
    noticed: Time | UnsetType = UNSET
    ordered: Time | UnsetType = UNSET
    """The receipt of the first order to act."""
    acknowledge: Time | UnsetType = UNSET
    """Time until which the receipt of an order must be acknowledged; left out where none waits for that."""
    withheld: Time | UnsetType = UNSET
    """Time before which the customer may not be told of it; left out if it is not withheld."""
    due: Time | UnsetType = UNSET
    told: Time | UnsetType = UNSET
    disputed: Time | UnsetType = UNSET
    removed: Time | UnsetType = UNSET
    closed: Time | UnsetType = UNSET
    hours: float | UnsetType = UNSET
    size: int | UnsetType = UNSET
    uid: int | UnsetType = UNSET
    previous: int | UnsetType = UNSET


class CaseMatch(Struct):
    """An entry that matches the file of a case."""

    list: str
    entry: str
    algorithm: str
    variant: str
    category: str
    distance: int


class CaseEvent(Struct):
    """An event of a case."""

    at: Time
    kind: str
    words: str | UnsetType = UNSET
    who: str | UnsetType = UNSET


class NoticeDocument(Struct):
    """A notice or an order about the file of a case; unknown values are left out."""

    kind: NoticeKind
    role: SenderRole
    received: Time
    sender: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    member_state: str | UnsetType = UNSET
    legal_basis: str | UnsetType = UNSET
    deadline: Time | UnsetType = UNSET
    acknowledge: Time | UnsetType = UNSET
    acknowledged: Time | UnsetType = UNSET
    answered: Time | UnsetType = UNSET
    authentication: str | UnsetType = UNSET
    """Authentication-Results of its mail, as found; they may be forged, and nothing is decided by them."""
    pictures: Sequence[Mapping[str, str]] | UnsetType = UNSET
    """Digests in hex by algorithm of the pictures that were attached to its mail."""
    subject: str | UnsetType = UNSET
    """The content as the sender sees it: `child_sexual_abuse` or `other`."""
    name: str | UnsetType = UNSET
    """The name of the person who has sent it."""
    explanation: str | UnsetType = UNSET
    """The reason for which the content is illegal, as the sender says it."""


class WholeCase(CaseDocument, kw_only=True):
    """A case with all that is known of it."""

    upload: RefusedContent | UnsetType = UNSET
    notices: Sequence[NoticeDocument]
    matches: Sequence[CaseMatch]
    events: Sequence[CaseEvent]
    web: Sequence[WebLook] | UnsetType = UNSET
    """The answers of its URL at the last `cases check --web`; left out if it was never asked."""


def document_of(case: Case, now: float) -> CaseDocument:
    """Return a case as a JSON document at a time in seconds since 1970."""
    known: dict[str, Any] = {} if case.path is None else path_fields(case.path)
    known |= {key: text for key in _TEXTS if (text := getattr(case, key))}
    known |= {key: format_time(at) for key in _TIMES if (at := getattr(case, key)) is not None}
    known |= {key: number for key in _NUMBERS if (number := getattr(case, key)) is not None}
    return CaseDocument(
        case=case.id,
        state=case.state,
        verdict=case.verdict,
        categories=case.categories,
        overdue=case.overdue(now),
        hours=UNSET if case.hours is None else round(case.hours, 3),
        **known,
    )


def whole_document(
    case: Case,
    matches: Iterable[Mapping[str, Any]],
    events: Iterable[Event],
    now: float,
    upload: RefusedContent | None = None,
    notices: Iterable[CaseNotice] = (),
    looks: Sequence[WebLook] = (),
) -> WholeCase:
    """Return a case as a JSON document with its notices, matches and events, and with its upload if it is of
    one."""
    return WholeCase(
        **structs.asdict(document_of(case, now)),
        upload=upload or UNSET,
        notices=[_notice_document(notice) for notice in notices],
        matches=[CaseMatch(**match) for match in matches],
        events=[
            CaseEvent(format_time(event.at), event.kind, event.words or UNSET, event.who or UNSET)
            for event in events
        ],
        web=looks or UNSET,
    )


def _notice_document(notice: CaseNotice) -> NoticeDocument:
    def time_of(at: int | None) -> Time | UnsetType:
        return UNSET if at is None else format_time(at)

    return NoticeDocument(
        notice.kind,
        notice.role,
        format_time(notice.received),
        notice.sender or UNSET,
        notice.reference or UNSET,
        notice.member_state or UNSET,
        notice.basis or UNSET,
        time_of(notice.stated),
        time_of(notice.acknowledge),
        time_of(notice.acknowledged),
        time_of(notice.answered),
        notice.authentication or UNSET,
        notice.pictures or UNSET,
        notice.subject or UNSET,
        notice.name or UNSET,
        notice.explanation or UNSET,
    )


def json_lines(cases: Iterable[Case], now: float) -> Iterator[str]:
    """Yield a JSON line for each case."""
    for case in cases:
        yield encode_json(document_of(case, now)).decode() + "\n"


def csv_lines(cases: Iterable[Case], now: float) -> Iterator[str]:
    """Yield a CSV header and a row for each case; no cell begins a spreadsheet formula."""
    yield ",".join(COLUMNS) + "\r\n"
    for case in cases:
        fields = {**structs.asdict(document_of(case, now)), "categories": " ".join(case.categories)}
        known = ("" if fields[key] is UNSET else fields[key] for key in COLUMNS)
        yield csv_line(known, quoting=csv.QUOTE_NONNUMERIC)


def csv_line(values: Iterable[object], **form: Any) -> str:
    """Return a CSV line in a form of `csv.writer`; texts, which may come from other machines, are escaped."""
    buffer = StringIO()
    escaped = (str(value).lower() if isinstance(value, bool) else value for value in values)
    csv.writer(buffer, **form).writerow(cell(v) if isinstance(v, str) else v for v in escaped)
    return buffer.getvalue()


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest non-zero units, such as `3 h 20 min`."""
    minutes = int(abs(seconds)) // 60
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
