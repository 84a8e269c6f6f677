"""Draft the answers to a notice or an order from templates: to its sender, to an authority, to a customer."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from hashscan.cases.ledger import Ledger
from hashscan.cases.letters.letter import Letter, fill, require_tellable
from hashscan.cases.notices.notice import ORDERS, NoticeKind
from hashscan.cases.queries import Case, CaseNotice, Queries
from hashscan.cases.tracker import CaseTracker
from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.text import printable
from hashscan.timefmt import short_time


class AnswerKind(StrEnum):
    """The kinds of answers; each is the name of a template."""

    ACKNOWLEDGEMENT = "acknowledgement"
    """The receipt of an order, to the authority."""
    RECEIPT = "receipt"
    """The receipt of a notice, to its sender (DSA, article 16(4))."""
    OUTCOME = "outcome"
    """The decision on each item, to the sender (DSA, articles 9(1) and 16(5))."""
    STATEMENT = "statement"
    """The statement of reasons, to the customer (DSA, article 17)."""
    RECIPIENT = "recipient"
    """That there is an order, to the customer (DSA, articles 9(5) and 10(5))."""
    TCO_REMOVED = "tco-removed"
    """That terrorist content was removed (Regulation (EU) 2021/784, annex II)."""
    TCO_IMPOSSIBLE = "tco-impossible"
    """That it can't be removed (Regulation (EU) 2021/784, annex III)."""


_FOR_CUSTOMER = (AnswerKind.STATEMENT, AnswerKind.RECIPIENT)
_DECIDED = (AnswerKind.OUTCOME, AnswerKind.TCO_REMOVED)
_KINDS: dict[AnswerKind, tuple[NoticeKind, ...]] = {
    AnswerKind.ACKNOWLEDGEMENT: (*ORDERS, NoticeKind.INFORM),
    AnswerKind.RECEIPT: (NoticeKind.NOTICE,),
    AnswerKind.OUTCOME: tuple(NoticeKind),
    AnswerKind.STATEMENT: (NoticeKind.NOTICE,),
    AnswerKind.RECIPIENT: (*ORDERS, NoticeKind.INFORM),
    AnswerKind.TCO_REMOVED: (NoticeKind.TERRORIST,),
    AnswerKind.TCO_IMPOSSIBLE: (NoticeKind.TERRORIST,),
}
"""The kinds of notices that each answers."""


def draft(
    ledger: Ledger,
    queries: Queries,
    kind: AnswerKind,
    reporter: Reporter,
    now: float,
    *,
    number: int | None = None,
    case: int | None = None,
    language: str = "en",
    templates: Path | None = None,
) -> Letter:
    """Return an answer about a notice, with all its items; one to a customer is about one case alone.

    Args:
        number: the notice; None for the only one of the case that such an answer is for.
        case: a case of it.
        now: seconds since 1970.

    Raises:
        UsageError: there is no such notice or case, the answer does not fit it, a case is not decided yet, or
            the customer may not be told; a template can't be used.
        LedgerError: the ledger can't be read.
    """
    if case is None:
        row = ledger.one("SELECT id FROM notice_items WHERE notice=? ORDER BY id", number)
        if row is None:
            raise UsageError(f"there is no notice {number}", advice="See `hashscan cases show`.")
        case = int(row[0])
        if kind in _FOR_CUSTOMER:
            raise UsageError("an answer to a customer is about one case", advice="Name the case.")
    about = _case(queries, case)
    notices = queries.notices(case)
    if kind in _FOR_CUSTOMER:
        require_tellable(about, now)
    if kind is AnswerKind.STATEMENT and any(notice.kind in ORDERS for notice in notices):
        raise UsageError(
            f"case {case} is of an order, of which article 17 of the DSA requires no statement of reasons",
            advice="Use --kind recipient: the notice of article 9(5).",
        )
    fitting = [one for one in notices if one.kind in _KINDS[kind] and number in (None, one.number)]
    if kind is AnswerKind.STATEMENT and not notices:
        return _filled(kind, None, [about], reporter, language, templates)
    if len(fitting) != 1:
        raise UsageError(
            f"{len(fitting)} notices fit an answer of the kind {kind}",
            advice="Name one by --notice; its numbers: "
            + (", ".join(f"{one.number} ({one.kind})" for one in notices) or "none"),
        )
    notice = fitting[0]
    rows = ledger.rows("SELECT DISTINCT id FROM notice_items WHERE notice=? ORDER BY id", notice.number)
    cases = [about] if kind in _FOR_CUSTOMER else [_case(queries, one) for (one,) in rows]
    waiting = sum(one.open for one in cases)
    if kind in _DECIDED and waiting:
        raise UsageError(
            f"{waiting} of {len(cases)} cases of notice {notice.number} are open",
            advice="One answer is about all of them: remove or close them first.",
        )
    return _filled(kind, notice, cases, reporter, language, templates)


def _case(queries: Queries, number: int) -> Case:
    found = queries.case(number)
    if found is None:
        raise UsageError(f"there is no case {number}", advice="See `hashscan cases list --status all`.")
    return found


def _filled(
    kind: AnswerKind,
    notice: CaseNotice | None,
    cases: list[Case],
    reporter: Reporter,
    language: str,
    templates: Path | None,
) -> Letter:
    named = {
        "notice": notice is not None,
        "sender": "" if notice is None else printable(notice.sender),
        "reference": "" if notice is None else printable(notice.reference),
        "member_state": "" if notice is None else notice.member_state,
        "legal_basis": "" if notice is None else printable(notice.basis),
        "received": "" if notice is None else f"{short_time(notice.received)} UTC",
        "cases": [_fields(case, for_customer=kind in _FOR_CUSTOMER) for case in cases],
        "number": len(cases),
        "organisation": reporter.organisation,
        "name": reporter.name,
        "email": reporter.email,
        "phone": reporter.phone,
    }
    made = fill(kind, language, templates, named, tuple(case.id for case in cases))
    return made if notice is None or kind in _FOR_CUSTOMER else replace(made, notice=notice.number)


def record_answer(database: sqlite3.Connection, kind: str, notice: int, to: str, who: str, now: int) -> None:
    """Record in a transaction of the ledger that a mail server has accepted an answer to a notice's sender.

    Args:
        kind: a value of `AnswerKind`.
        now: seconds since 1970.
    """
    tracker = CaseTracker(database)
    is_receipt = kind in {AnswerKind.ACKNOWLEDGEMENT, AnswerKind.RECEIPT}
    if is_receipt:
        database.execute(
            "UPDATE notices SET acknowledged=coalesce(acknowledged, ?) WHERE number=?", (now, notice)
        )
    rows = database.execute("SELECT DISTINCT id FROM notice_items WHERE notice=?", (notice,)).fetchall()
    for (case,) in rows:
        event = "acknowledged" if is_receipt else "answered"
        tracker.add_event(case, now, event, f"{kind} by mail to {to}", who)


def _fields(case: Case, *, for_customer: bool) -> dict[str, Any]:
    """Return the fields of a case; a path of this machine is for its customer alone."""
    path = "" if case.path is None or not for_customer else os.fsdecode(case.path)
    return {
        "number": case.id,
        "url": printable(case.url),
        "path": printable(path),
        "categories": list(case.categories),
        "state": case.state,
        "removed": "" if case.removed is None else f"{short_time(case.removed)} UTC",
        "automated": case.verdict in {"match", "held", "review"},
    }
