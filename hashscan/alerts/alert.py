"""An alert (notification) and the JSON document that channels get."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, convert, structs, to_builtins

from hashscan.alerts.channels.base import one_line
from hashscan.alerts.channels.mail import mail_domain, new_message_id
from hashscan.schema import Time
from hashscan.shortcomings import Shortcoming

SCHEMA: Literal[1] = 1
"""The version of the document; increased when a hook for the older version could misunderstand the newer
one."""
CASES_NAMED = 1000
"""The number of cases whose ids a document contains; `hashscan cases list` shows the others."""
CASES_IN_TEXT = 20
DETAILS_MAX = 20
"""The number of findings that one alert describes, if it describes findings at all."""


class Kind(StrEnum):
    """The subject of an alert."""

    FOUND = "found"
    OVERDUE = "overdue"
    ESCALATED = "escalated"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    LIST = "list"
    WITHDRAWN = "withdrawn"
    LEGAL_BASIS = "legal_basis"
    MAILS = "mails"
    SILENT = "silent"
    PROBED = "probed"
    DONE = "done"
    DIGEST = "digest"
    LETTER = "letter"
    TEST = "test"


SEVERITIES: Mapping[Kind, str] = {
    Kind.FOUND: "crit",
    Kind.OVERDUE: "alert",
    Kind.ESCALATED: "alert",
    Kind.FAILED: "err",
    Kind.INCOMPLETE: "warning",
    Kind.LIST: "warning",
    Kind.WITHDRAWN: "warning",
    Kind.LEGAL_BASIS: "warning",
    Kind.MAILS: "warning",
    Kind.SILENT: "err",
    Kind.PROBED: "alert",
    Kind.DONE: "info",
    Kind.DIGEST: "info",
    Kind.LETTER: "info",
    Kind.TEST: "notice",
}
"""The severity of each kind, as a syslog level."""

FOUND_KINDS = frozenset({Kind.FOUND, Kind.OVERDUE, Kind.ESCALATED})
"""The kinds that are sent to those who want alerts about findings only."""

WHOLE_KINDS = frozenset({Kind.DIGEST, Kind.LETTER})
"""The kinds that are sent as they are, however many alerts have waited."""


class AlertDetail(Struct, kw_only=True):
    """The data of a case that a person needs to act."""

    case: int
    verdict: str
    categories: str = ""
    customer: str = ""
    path: str | UnsetType = UNSET
    path_b64: str | UnsetType = UNSET
    url: str = ""
    entries: str = ""


class AlertDocument(Struct, kw_only=True):
    """An alert."""

    schema: Literal[1]
    kind: Kind
    severity: str
    host: str
    at: Time
    message_id: str
    """`Message-ID` of the alert's mail."""
    subject: str
    text: str
    counts: dict[str, int]
    cases: list[int]
    details: list[AlertDetail]
    to: str | UnsetType = UNSET
    """Address of a letter."""
    reply_to: str | UnsetType = UNSET
    """Address for answers to the letter."""
    who: str | UnsetType = UNSET
    """User who has sent the letter."""
    answer: str | UnsetType = UNSET
    """Kind of the answer, if the letter is one to the sender of a notice."""
    notice: int | UnsetType = UNSET
    """Number of that notice."""


class SentAlert(AlertDocument, kw_only=True):
    """An alert as channels get it, with its number: 0 for a test."""

    id: int


class ListedAlert(SentAlert, kw_only=True):
    """An alert, with the kinds of channels that it waits for, and those that have delivered it."""

    waits: list[str]
    sent: list[str]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it is built, before it has a number."""

    kind: Kind
    keys: tuple[str, ...]
    """The events that it reports; each event is reported only once, ever."""
    subject: str
    lines: tuple[str, ...] = ()
    cases: tuple[int, ...] = ()
    """The ids of the first `CASES_NAMED` cases."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The number of cases under `cases`, and numbers by kind."""
    details: Sequence[AlertDetail] = ()
    """For each case the data that a person needs to act; empty unless details were asked for."""

    def document(self, host: str, at: str) -> dict[str, Any]:
        """Return the document for channels, as JSON values; `at` is the time when it was built, RFC 3339."""
        named = f"hashscan on {host}: {self.subject}"
        lines = list(self.lines)
        if self.cases and self.kind is not Kind.DIGEST:
            more = max(len(self.cases), self.counts.get("cases", 0)) - CASES_IN_TEXT
            ids = ", ".join(map(str, self.cases[:CASES_IN_TEXT])) + (f" and {more} more" if more > 0 else "")
            lines.append(f"Cases: {ids}. See: hashscan cases list")
        lines += map(_detail_line, self.details[:DETAILS_MAX])
        if len(self.details) > DETAILS_MAX:
            lines.append(f"and {len(self.details) - DETAILS_MAX} more")
        document = AlertDocument(
            schema=SCHEMA,
            kind=self.kind,
            severity=SEVERITIES[self.kind],
            host=one_line(host),
            at=at,
            message_id=new_message_id(self.kind, host),
            subject=one_line(named),
            text="\n".join(one_line(line) for line in lines),
            counts=dict(self.counts),
            cases=list(self.cases[:CASES_NAMED]),
            details=list(self.details[:DETAILS_MAX]),
        )
        made: dict[str, Any] = to_builtins(document)
        return made


def merge_documents(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge several documents that have waited for a channel into one; the oldest comes first."""
    first, last = documents[0], documents[-1]
    gravest = min(documents, key=lambda document: _SEVERITY_ORDER.index(document["severity"]))
    lines = [f"{document['at']}  {document['subject']}" for document in documents[-DETAILS_MAX:]]
    if len(documents) > DETAILS_MAX:
        lines.insert(0, f"{len(documents) - DETAILS_MAX} older ones: see hashscan alerts list")
    cases = sorted({case for document in documents for case in document["cases"]})
    counts: dict[str, int] = {}
    for document in documents:
        for name, number in document["counts"].items():
            counts[name] = counts.get(name, 0) + number
    # The same alerts give the same message, so that a reader recognises it if it is sent twice.
    merged = hashlib.sha256(json.dumps(list(documents)).encode()).hexdigest()[:32]
    return {
        **last,
        "message_id": f"<merged.{merged}@{mail_domain(last['host'])}>",
        "kind": gravest["kind"],
        "severity": gravest["severity"],
        "subject": one_line(
            f"hashscan on {last['host']}: {len(documents)} alerts have waited since {first['at']}"
        ),
        "text": "\n".join(lines),
        "counts": counts,
        "cases": cases[:CASES_NAMED],
        "details": [],
    }


def without_customers(document: Mapping[str, Any], withheld: Collection[int]) -> Mapping[str, Any]:
    """Return a document without what leads to the customers of some cases: a hook may write to them."""
    lines = document["text"].split("\n")
    details = list(document["details"])
    for place, detail in enumerate(details):
        if detail["case"] in withheld:
            found = convert(detail, AlertDetail)
            told = structs.replace(found, customer="", path=UNSET, path_b64=UNSET, url="")
            old, new = one_line(_detail_line(found)), one_line(_detail_line(told))
            lines = [new if line == old else line for line in lines]
            details[place] = to_builtins(told)
    return {**document, "text": "\n".join(lines), "details": details} if withheld else document


def message_of(shortcoming: Shortcoming, *, details: bool) -> str:
    """Return the message of a shortcoming; unless there are to be details, without a path."""
    return shortcoming.message if details else without_paths(shortcoming.pathless or shortcoming.message)


def without_paths(reason: str) -> str:
    """Return a reason; if it may contain a path, where the reason is found instead."""
    return "The reason is in the report, or in the messages of the command." if "/" in reason else reason


_SEVERITY_ORDER = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def _detail_line(detail: AlertDetail) -> str:
    return ", ".join(f"{key} {value}" for key, value in structs.asdict(detail).items() if value)
