"""Count orders, notices and measures of a ledger for a transparency report, each figure with its cases.

What is received counts by the time of its receipt, what is done by the time at which it is done, so that the
figures of a period that is over stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from statistics import median

from hashscan.cases.ledger import Ledger
from hashscan.cases.notices.notice import ORDERS, NoticeKind, SenderRole
from hashscan.cases.reviews import Decision, outcomes
from hashscan.cases.statistics.dsa.template import (
    AUTOMATED,
    BY_NOTICE,
    DEEPFAKE,
    IN_ALL,
    MAIN,
    NO_NOTICE_CATEGORY,
    NO_ORDER_CATEGORY,
    NOT_AUTOMATED,
    NOTICES_AUTOMATED,
    NOTICES_NOT_AUTOMATED,
    OWN,
    PRECISION,
    TOTAL,
)
from hashscan.cases.statistics.periods import Period
from hashscan.cases.tracker import QUARANTINED, REFUSED


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with the cases and notices that it counts."""

    value: float
    cases: tuple[int, ...] = ()
    notices: tuple[int, ...] = ()


Figures = Sequence[Figure | None]
"""The figures of a row in the order of its columns; None for one that is not known."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The provider's own statements, which no ledger contains."""

    terms: frozenset[str] = frozenset()
    """Categories of which the provider removes content on the basis of its terms and conditions."""
    generated: frozenset[str] = frozenset()
    """Names of the lists of generated material (deepfakes)."""
    review_by: int = 1
    """Number of people who must agree on a case."""


_MINORS = f"{MAIN}PROTECTION_OF_MINORS"
_ABUSE = (_MINORS, "KEYWORD_CHILD_SEXUAL_ABUSE_MATERIAL")
_GENERATED = (_MINORS, DEEPFAKE)
_TERRORISM = (f"{MAIN}RISK_FOR_PUBLIC_SECURITY", "KEYWORD_TERRORIST_CONTENT")
Codes = tuple[str, ...]
"""The code of a category, and that of its sub-category if it has any; empty if the kind is not known, so that
no row can count it."""
_CODES: dict[str, Codes] = {
    **dict.fromkeys(("A1", "A2", "B1", "B2", "baseline", "listed"), _ABUSE),
    "terrorism": _TERRORISM,
    "ncii": (f"{MAIN}CYBER_VIOLENCE", "KEYWORD_NON_CONSENSUAL_IMAGE_SHARING"),
}
"""Codes by category, the gravest first; `other` says nothing of the kind."""


def _codes_of(names: set[str]) -> Codes:
    """Return the codes of the gravest of some categories."""
    return next((codes for name, codes in _CODES.items() if name in names), ())


def has_code(codes: Codes, code: str) -> bool:
    """Return True if the row of a code counts content with these codes."""
    return code in codes or (code == TOTAL and bool(codes))


@dataclass(frozen=True, slots=True)
class Received:
    """A notice or order; times in seconds since 1970."""

    number: int
    kind: NoticeKind
    trusted: bool
    """True for one of a trusted flagger."""
    state: str
    """The Member State as Eurostat writes it; empty if it is not known."""
    at: int
    acknowledged: int | None
    done: int | None
    """Time at which an order was given effect, or was answered."""
    items: int
    codes: Codes
    cases: tuple[int, ...]


class Restriction(StrEnum):
    """The restriction that a measure has imposed."""

    REMOVED = "removed"
    """The file was deleted or replaced, after its customer was told, or a notice or order asked for it."""
    DISABLED = "disabled"
    """It was moved into quarantine."""
    REFUSED = "refused"
    """An upload was never stored."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure against the content of a case."""

    case: int
    at: int
    restriction: Restriction
    own: bool
    """True if no notice or order came before it."""
    automated: bool
    """True if no person took part in it."""
    codes: Codes
    terms: bool
    """True if it rests on the provider's terms and conditions, and not on the law."""
    notice: Received | None = None
    """The first notice, of those that are no order, that came before it."""
    trusted: Received | None = None
    """The first of a trusted flagger."""


@dataclass(slots=True)
class Activity:
    """All that was received and done until the end of a period."""

    period: Period
    received: list[Received] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    """Those within the period."""
    unattributed: list[int] = field(default_factory=list)
    """Cases whose file was gone in the period although nobody is known to have done anything."""
    caseless: int = 0
    """Number of files that were moved into quarantine and have no case."""
    disputed: list[int] = field(default_factory=list)
    """Cases that were disputed in the period."""
    judged: dict[int, bool] = field(default_factory=dict)
    """Cases of matches that people judged in the period: True for rightful ones."""
    noticed: frozenset[int] = frozenset()
    """The cases of all notices and orders."""

    @property
    def own(self) -> list[Measure]:
        """The measures at the provider's own initiative."""
        return [one for one in self.measures if one.own]

    def within(self, at: int | None) -> bool:
        """Return True if a time is in the period."""
        return at is not None and self.period.begin <= at < self.period.end

    def touches(self, one: Received) -> bool:
        """Return True if something or its receipt is counted."""
        return any(map(self.within, (one.at, one.acknowledged, one.done)))


_RECEIVED = (
    "SELECT n.number, n.kind, n.role, n.member_state, n.received, n.acknowledged, n.answered, "
    "hex(i.item), iif(i.category='' AND t.subject='child_sexual_abuse', 'A1', i.category), c.id, "
    "c.categories, c.removed, c.closed FROM notices AS n JOIN notice_items AS i ON i.notice=n.number "
    "JOIN cases AS c USING (id) LEFT JOIN notice_texts AS t ON t.notice=n.number "
    "WHERE n.received<? ORDER BY n.received, n.number, c.id"
)
"""A form's notice names no category; its subject says as much as the DSA's templates distinguish."""
_EUROSTAT = {"GR": "EL"}
"""Eurostat's codes where they differ from ISO 3166."""


def activity_of(ledger: Ledger, period: Period, choices: Choices) -> Activity:
    """Return what a ledger knows of a period.

    Raises:
        LedgerError: the ledger can't be read.
    """
    found = Activity(period)
    rows = ledger.rows(_RECEIVED, period.end)
    found.received = [_received(list(group)) for _, group in groupby(rows, key=itemgetter(0))]
    by_case: dict[int, list[Received]] = {}
    for one in found.received:
        for case in one.cases:
            by_case.setdefault(case, []).append(one)
    found.noticed = frozenset(by_case)
    found.judged = _judged(ledger, period, choices.review_by)
    first = dict(ledger.rows(_FIRST_JUDGED))
    for number, at, restriction, told in _endings(ledger, period):
        if number is None:
            found.caseless += 1
            continue
        received = by_case.get(number, ())
        measure = _measure(ledger, number, at, restriction, choices, received, first.get(number))
        if restriction is Restriction.REMOVED and measure.own and (told is None or told > at):
            found.unattributed.append(number)
        else:
            found.measures.append(measure)
    disputes = "SELECT DISTINCT id FROM events WHERE kind='disputed' AND at>=? AND at<? ORDER BY id"
    found.disputed = [case for (case,) in ledger.rows(disputes, period.begin, period.end)]
    return found


def _received(rows: Sequence[tuple[object, ...]]) -> Received:
    values: tuple[int, str, str, str, int, int | None, int | None] = rows[0][:7]  # type: ignore[assignment]
    number, kind, role, state, at, acknowledged, answered = values
    claimed = {str(row[8]) for row in rows}
    listed = {name for row in rows for name in str(row[10]).split()}
    ends: dict[int, tuple[int | None, int | None]] = {row[9]: row[11:13] for row in rows}  # type: ignore[misc]
    unknown = NO_NOTICE_CATEGORY if kind == NoticeKind.NOTICE else NO_ORDER_CATEGORY
    codes = _codes_of(claimed) or _codes_of(listed) or (unknown,)
    if kind == NoticeKind.TERRORIST:
        codes = _TERRORISM
    removed = [end for end, _ in ends.values() if end is not None]
    waits = any(end is None and closed is None for end, closed in ends.values())
    done = answered if kind == NoticeKind.INFORM else None if waits or not removed else max(removed)
    return Received(
        number,
        NoticeKind(kind),
        role == SenderRole.TRUSTED_FLAGGER,
        _EUROSTAT.get(state, state),
        at,
        acknowledged,
        done,
        len({row[7] for row in rows}),
        codes,
        tuple(ends),
    )


_FIRST_JUDGED = "SELECT id, min(at) FROM events WHERE kind IN ('confirmed', 'reviewed') GROUP BY id"
_ENDINGS = (
    "SELECT id, at, 'moved', NULL FROM custody WHERE kind='moved' AND at>=?1 AND at<?2 "
    "UNION ALL SELECT id, removed, how, told FROM cases WHERE removed>=?1 AND removed<?2 AND how<>? "
    "ORDER BY 2, 1"
)
_RESTRICTIONS = {"moved": Restriction.DISABLED, REFUSED: Restriction.REFUSED}


def _endings(ledger: Ledger, period: Period) -> Iterator[tuple[int | None, int, Restriction, int | None]]:
    """Yield case, time, restriction and the time at which the customer was told, of what ended in a period.

    A file that was put back later was moved all the same, so moves are those of the quarantine log.
    """
    for case, at, how, told in ledger.rows(_ENDINGS, period.begin, period.end, QUARANTINED):
        yield case, at, _RESTRICTIONS.get(how, Restriction.REMOVED), told


def _measure(
    ledger: Ledger,
    case: int,
    at: int,
    restriction: Restriction,
    choices: Choices,
    received: Sequence[Received],
    judged: int | None,
) -> Measure:
    before = [one for one in received if one.at <= at]
    notices = [one for one in before if one.kind is NoticeKind.NOTICE]
    categories, claimed = ledger.one("SELECT categories, claimed FROM cases WHERE id=?", case)
    names = set(f"{categories} {claimed if before else ''}".split())
    codes = notices[0].codes if notices else _codes_of(names)
    lists = {name for (name,) in ledger.rows("SELECT list FROM matches WHERE id=?", case)}
    if codes == _ABUSE and not before and lists and lists <= choices.generated:
        codes = _GENERATED
    by_program = restriction is not Restriction.REMOVED and not before
    return Measure(
        case,
        at,
        restriction,
        own=not before,
        automated=by_program and (judged is None or judged > at),
        codes=codes,
        terms=bool(names) and names <= choices.terms,
        notice=notices[0] if notices else None,
        trusted=next((one for one in notices if one.trusted), None),
    )


def _judged(ledger: Ledger, period: Period, review_by: int) -> dict[int, bool]:
    """Return the cases of matches that people judged in a period: True for rightful ones.

    Without a decision of a review, a removal that was confirmed is rightful, and a file that was put back
    from quarantine was a wrong match.
    """
    query = (
        "SELECT id, kind='confirmed' FROM events WHERE kind IN ('confirmed', 'restored') "
        "AND at>=? AND at<? AND id IN (SELECT id FROM matches) ORDER BY at, number"
    )
    found = {case: bool(rightful) for case, rightful in ledger.rows(query, period.begin, period.end)}
    for case, outcome in outcomes(ledger, review_by).items():
        if outcome.kinds and outcome.final:
            found.pop(case, None)
            if period.begin <= outcome.at < period.end:
                found[case] = outcome.decision is Decision.CONFIRMED
    return found


def _of_received(chosen: Sequence[Received], value: Callable[[Received], int] = lambda _: 1) -> Figure:
    cases = sorted({case for one in chosen for case in one.cases})
    return Figure(sum(map(value, chosen)), tuple(cases), tuple(one.number for one in chosen))


def _of_measures(chosen: Sequence[Measure]) -> Figure:
    notices = sorted({one.notice.number for one in chosen if one.notice is not None})
    return Figure(len(chosen), tuple(sorted({one.case for one in chosen})), tuple(notices))


def _hours(spans: Iterable[int], of: Figure) -> Figure | None:
    """Return the median of times in seconds as hours; None if there are none."""
    times = [max(0, span) for span in spans]
    return Figure(round(median(times) / 3600, 2), of.cases, of.notices) if times else None


def orders_row(found: Activity, chosen: Sequence[Received]) -> Figures:
    """Return the figures of a row of part 3, of these orders."""
    figures: list[Figure | None] = []
    for kinds in (ORDERS, (NoticeKind.INFORM,)):
        orders = [one for one in chosen if one.kind in kinds]
        received = [one for one in orders if found.within(one.at)]
        figures.append(_of_received(received))
        if kinds is ORDERS:
            figures.append(_of_received(received, lambda one: one.items))
        told = [one for one in orders if found.within(one.acknowledged)]
        done = [one for one in orders if found.within(one.done)]
        figures.append(_hours(((one.acknowledged or 0) - one.at for one in told), _of_received(told)))
        figures.append(_hours(((one.done or 0) - one.at for one in done), _of_received(done)))
    return figures


def notices_row(found: Activity, code: str) -> Figures:
    """Return the figures of the row of a code in part 4."""
    kind = NoticeKind.NOTICE
    notices = [
        one
        for one in found.received
        if one.kind is kind and found.within(one.at) and has_code(one.codes, code)
    ]
    trusted = [one for one in notices if one.trusted]
    actions = [one for one in found.measures if one.notice and has_code(one.codes, code)]
    of_trusted = [one for one in actions if one.trusted]
    by_law, by_terms = ([one for one in actions if one.terms is terms] for terms in (False, True))
    return [
        _of_received(notices),
        _of_received(trusted),
        _of_received(notices, lambda one: one.items),
        _of_received(trusted, lambda one: one.items),
        _hours((one.at - one.notice.at for one in actions if one.notice), _of_measures(actions)),
        _hours((one.at - one.trusted.at for one in of_trusted if one.trusted), _of_measures(of_trusted)),
        _of_measures(by_law),
        _of_measures([one for one in by_law if one.trusted]),
        _of_measures(by_terms),
        _of_measures([one for one in by_terms if one.trusted]),
    ]


def measures_row(chosen: Sequence[Measure]) -> Figures:
    """Return the figures of a row of parts 5 and 6, of these measures."""
    by = {kind: _of_measures([one for one in chosen if one.restriction is kind]) for kind in Restriction}
    automated = _of_measures([one for one in chosen if one.automated])
    removed, disabled = by[Restriction.REMOVED], by[Restriction.DISABLED]
    # hashscan can neither demote, restrict by age nor label, and it doesn't record what is done to accounts.
    unknown = [None] * 4, [None] * 7
    return [
        _of_measures(chosen), automated, removed, disabled, *unknown[0], by[Restriction.REFUSED], *unknown[1]
    ]  # fmt: skip


def automation_figures(found: Activity) -> dict[tuple[str, str], Figure]:
    """Return the figures of part 8 by indicator and scope."""
    notices = [one for one in found.received if one.kind is NoticeKind.NOTICE and found.within(one.at)]
    # A notice alone moves no file: a person, or a list's match, does.
    figures = {
        (NOTICES_AUTOMATED, BY_NOTICE): Figure(0),
        (NOTICES_NOT_AUTOMATED, BY_NOTICE): _of_received(notices),
    }
    for scope, measures in ((IN_ALL, found.measures), (OWN, found.own)):
        for indicator, automated in ((AUTOMATED, True), (NOT_AUTOMATED, False)):
            figures[indicator, scope] = _of_measures([m for m in measures if m.automated is automated])
        judged = {
            case: rightful
            for case, rightful in found.judged.items()
            if scope == IN_ALL or case not in found.noticed
        }
        if judged:
            share = round(sum(judged.values()) / len(judged), 4)
            figures[PRECISION, scope] = Figure(share, tuple(sorted(judged)))
    return figures
