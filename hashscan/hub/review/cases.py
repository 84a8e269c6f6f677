"""Find cases by filters, page by page, and decide on them: confirmed or rejected, by one person or by two.

The evidence stays on its server. A decision changes neither the file nor the case's deadline; a rejected case
no longer counts as open, and stays until its file is gone, since every scan reports the file again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Literal, NamedTuple, get_args

from msgspec import Struct, structs
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    func,
    insert,
    not_,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.sql import true

from hashscan.cases.notices.notice import ORDERS
from hashscan.errors import HashscanError, UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.users import User
from hashscan.hub.storage.tables import (
    CASES,
    CONTRADICTED,
    EVENTS,
    NOTICES,
    ORGANISATIONS,
    SERVERS,
    TO_REVIEW,
)
from hashscan.text import is_printable_line

Decision = Literal["confirmed", "rejected"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
CaseState = Literal[
    "open", "overdue", "waiting", "second", "excess", "removed", "contradicted", "closed", "rejected", "all"
]
CASE_STATES: tuple[CaseState, ...] = get_args(CaseState)
"""open: neither removed, closed nor rejected; overdue: open after its deadline; waiting: for a decision;
second: for a second person, where two decide; excess: for review, beyond the quota of its day, and in none of
the states before; contradicted: said to be removed, and seen there since."""
CaseOrder = Literal["newest", "oldest", "deadline"]
CASE_ORDERS: tuple[CaseOrder, ...] = get_args(CaseOrder)
BULK_MAX = 500
"""Most cases on which one form decides."""
REASON_MAX = 1000


class CaseMovedError(HashscanError):
    """An error for a case that somebody else has changed meanwhile."""

    advice = "Look at the case again, then decide."


class CaseFilter(Struct, frozen=True):
    """The cases that somebody wants to see."""

    organisation: int | None = None
    server: int | None = None
    host: str = ""
    """Name of servers, of any organisation that is seen."""
    state: CaseState = "open"
    verdict: str = ""
    category: str = ""
    order: CaseOrder | Literal[""] = ""
    """deadline: the earliest first, without those that have none. Empty: the same for overdue ones, those of
    orders before all others, and else the newest first."""

    @property
    def by_deadline(self) -> bool:
        """True if the earliest deadline comes first."""
        return self.order == "deadline" or self.orders_first

    @property
    def orders_first(self) -> bool:
        """True if cases of orders come before all others."""
        return not self.order and self.state == "overdue"


_QUERY: Select[Any] = (
    select(
        CASES,
        ORGANISATIONS.c.name.label("organisation_name"),
        SERVERS.c.name.label("server_name"),
        NOTICES.c.kind.label("notice_kind"),
    )
    .join(ORGANISATIONS, CASES.c.organisation == ORGANISATIONS.c.id)
    .outerjoin(SERVERS, CASES.c.server == SERVERS.c.id)
    .outerjoin(NOTICES, CASES.c.notice == NOTICES.c.id)
)
_OF_ORDER = CASES.c.notice.in_(select(NOTICES.c.id).where(NOTICES.c.kind.in_(ORDERS)))
_PRESENT = and_(CASES.c.removed.is_(None), CASES.c.closed.is_(None))
# As the index says it, without parameters.
_TO_REVIEW = text(f"({TO_REVIEW})")


def final(*, two: bool) -> ColumnElement[bool]:
    """Return the condition of a decision that counts; with `two`, it needs a second person."""
    return and_(CASES.c.decision != "", CASES.c.seconded_by != "" if two else true())


def state_condition(state: CaseState, now: int, *, two: bool) -> ColumnElement[bool]:
    rejected = and_(CASES.c.decision == "rejected", final(two=two))
    in_time = CASES.c.excess == 0
    opened = and_(_PRESENT, not_(rejected), in_time)
    conditions: dict[CaseState, ColumnElement[bool]] = {
        "open": opened,
        "overdue": and_(opened, CASES.c.deadline < now),
        "waiting": and_(_PRESENT, _TO_REVIEW, not_(final(two=two)), in_time),
        "second": and_(_PRESENT, _TO_REVIEW, CASES.c.decision != "", not_(final(two=two))),
        "excess": and_(_PRESENT, _TO_REVIEW, not_(in_time)),
        "removed": CASES.c.removed.is_not(None),
        "contradicted": CONTRADICTED,
        "closed": CASES.c.closed.is_not(None),
        "rejected": and_(_PRESENT, rejected),
        "all": true(),
    }
    return conditions[state]


def find_cases(
    connection: Connection,
    chosen: CaseFilter,
    now: int,
    *,
    two: bool,
    after: Sequence[int] = (),
    limit: int = 100,
    further: ColumnElement[bool] | None = None,
) -> list[Row[Any]]:
    """Return cases in their order, after the `position` of the last case of the page before (empty for the
    first page); `further` is a condition besides those of `chosen`."""
    if chosen.orders_first:
        # One query each, so that both read an index in its order.
        earliest: CaseFilter = structs.replace(chosen, order="deadline")
        rows: list[Row[Any]] = []
        for phase, kind in enumerate((_OF_ORDER, or_(CASES.c.notice.is_(None), not_(_OF_ORDER)))):
            if len(rows) < limit and tuple(after[:1]) <= (phase,):
                begin = after[1:] if tuple(after[:1]) == (phase,) else ()
                both = kind if further is None else and_(kind, further)
                rows += find_cases(
                    connection, earliest, now, two=two, after=begin, limit=limit - len(rows), further=both
                )
        return rows
    by_deadline, oldest = chosen.by_deadline, chosen.order == "oldest"
    order: tuple[Any, ...] = (CASES.c.id,) if oldest else (CASES.c.id.desc(),)
    if by_deadline:
        order = (CASES.c.deadline, CASES.c.id)
    # The ids first, which the database reads from an index alone.
    query = select(CASES.c.id).where(_condition(chosen, now, two=two))
    if further is not None:
        query = query.where(further)
    if by_deadline:
        query = query.where(CASES.c.deadline.is_not(None))
    if len(after) == 2 and by_deadline:
        query = query.where(tuple_(CASES.c.deadline, CASES.c.id) > tuple_(*after))
    elif after and not by_deadline:
        query = query.where(CASES.c.id > after[-1] if oldest else CASES.c.id < after[-1])
    numbers = connection.execute(query.order_by(*order).limit(limit)).scalars().all()
    return list(connection.execute(_QUERY.where(CASES.c.id.in_(numbers)).order_by(*order)))


def find_decidable(
    connection: Connection,
    chosen: CaseFilter,
    user: User,
    decision: Decision,
    until: int,
    now: int,
    *,
    two: bool,
) -> list[tuple[int, int]]:
    """Return number and `moved` of the oldest cases, up to the number `until`, on which a user can decide so,
    at most `BULK_MAX`."""
    mine = and_(CASES.c.decision == decision, CASES.c.decided_by == user.name)
    further = and_(CASES.c.id <= until, not_(mine))
    if chosen.by_deadline:
        further = and_(further, CASES.c.deadline.is_not(None))
    oldest = structs.replace(chosen, order="oldest")
    rows = find_cases(connection, oldest, now, two=two, limit=BULK_MAX, further=further)
    return [(row.id, row.moved) for row in rows]


def position(chosen: CaseFilter, row: Row[Any]) -> tuple[int, ...]:
    """Return the numbers that say where a list of cases goes on after a row."""
    if chosen.orders_first:
        return (int(row.notice_kind not in ORDERS), row.deadline, row.id)
    return (row.deadline, row.id) if chosen.by_deadline else (row.id,)


class CaseCounts(NamedTuple):
    """Numbers of cases that have not ended."""

    open: int
    overdue: int


def count_open(
    connection: Connection, organisations: Collection[int], now: int, *, two: bool
) -> dict[int, CaseCounts]:
    """Return the numbers of open and overdue cases by organisation, of those that have any."""
    query = (
        select(CASES.c.organisation, func.count(), func.count().filter(CASES.c.deadline < now))
        .where(state_condition("open", now, two=two), CASES.c.organisation.in_(organisations))
        .group_by(CASES.c.organisation)
    )
    return {key: CaseCounts(int(count), int(late)) for key, count, late in connection.execute(query)}


def count_cases(connection: Connection, chosen: CaseFilter, now: int, *, two: bool) -> int:
    query = select(func.count()).select_from(CASES).where(_condition(chosen, now, two=two))
    return int(connection.execute(query).scalar_one())


def _condition(chosen: CaseFilter, now: int, *, two: bool) -> ColumnElement[bool]:
    parts = [state_condition(chosen.state, now, two=two)]
    if chosen.organisation is not None:
        parts.append(CASES.c.organisation == chosen.organisation)
    if chosen.server is not None:
        parts.append(CASES.c.server == chosen.server)
    if chosen.host:
        parts.append(CASES.c.server.in_(select(SERVERS.c.id).where(SERVERS.c.name == chosen.host)))
    if chosen.verdict:
        parts.append(CASES.c.verdict == chosen.verdict)
    if chosen.category:
        # Names, separated by spaces.
        parts.append((" " + CASES.c.categories + " ").contains(f" {chosen.category} ", autoescape=True))
    return and_(*parts)


class Queue(NamedTuple):
    """Numbers of cases that wait for a decision, as one reviewer sees them."""

    first: int
    """Cases that have no decision yet."""
    second: int
    """On which somebody else has decided, and a second person is needed."""
    own: int
    """On which the reviewer has decided, and somebody else is needed."""


def review_queue(connection: Connection, user: User, now: int, *, two: bool) -> Queue:
    """Return the numbers of cases that wait for a decision."""
    undecided, own = CASES.c.decision == "", CASES.c.decided_by == user.name
    query = select(
        func.count().filter(undecided),
        func.count().filter(not_(undecided), not_(own)),
        func.count().filter(not_(undecided), own),
    ).where(state_condition("waiting", now, two=two))
    return Queue(*map(int, connection.execute(query).one()))


def next_to_decide(
    connection: Connection, user: User, chosen: CaseFilter, now: int, *, two: bool, after: int = 0
) -> Row[Any] | None:
    """Return the oldest case that waits for a decision by this user, of those in the state `waiting` that are
    looked at, and after the number that is passed over; None if there is none."""
    waiting = (
        select(CASES.c.id)
        .where(
            _condition(chosen, now, two=two),
            or_(CASES.c.decision == "", CASES.c.decided_by != user.name),
            CASES.c.id > after,
        )
        .order_by(CASES.c.id)
        .limit(1)
    )
    return connection.execute(_QUERY.where(CASES.c.id == waiting.scalar_subquery())).first()


def case_numbered(connection: Connection, number: int, organisation: int | None) -> Row[Any] | None:
    """Return a case; None if there is none, or it is not of the only organisation that may be seen."""
    query = _QUERY.where(CASES.c.id == number)
    if organisation is not None:
        query = query.where(CASES.c.organisation == organisation)
    return connection.execute(query).first()


def events_of(connection: Connection, number: int, limit: int = 200) -> list[Row[Any]]:
    """Return the last events of a case, the newest first."""
    query = select(EVENTS).where(EVENTS.c.case == number).order_by(EVENTS.c.id.desc()).limit(limit)
    return list(connection.execute(query))


def decide(
    connection: Connection,
    user: User,
    number: int,
    moved: int,
    decision: Decision,
    reason: str,
    now: int,
    *,
    two: bool,
    recorded: bool = True,
) -> None:
    """Record the decision of a person on a case, whose column `moved` is as the person saw it (CaseMovedError
    if somebody has changed the case meanwhile). Where two people are needed, the decision counts when another
    person makes the same one; another decision replaces the first, and waits for a second person itself.
    Unless `recorded`, the caller writes the line of the audit log."""
    _require_reason(reason)
    row = case_numbered(connection, number, None)
    if row is None:
        raise UsageError(f"there is no case {number}")
    if row.removed is not None or row.closed is not None:
        raise CaseMovedError(f"case {number} is no longer open")
    seconds = two and row.decision == decision and not row.seconded_by
    if seconds and row.decided_by == user.name:
        raise UsageError("a second person must confirm your decision")
    values: dict[str, Any] = {"moved": moved + 1, "excess": 0}
    if seconds:
        values["seconded_by"] = user.name
    else:
        values |= {
            "decision": decision,
            "reason": reason,
            "decided_by": user.name,
            "decided": now,
            "seconded_by": "",
        }
    same = and_(CASES.c.id == number, CASES.c.moved == moved)
    if connection.execute(update(CASES).where(same).values(**values)).rowcount != 1:
        raise CaseMovedError(f"somebody else has changed case {number} meanwhile")
    kind = "seconded" if seconds else "decided"
    words = f"{decision}: {reason}"
    connection.execute(insert(EVENTS).values(case=number, at=now, kind=kind, words=words, who=user.name))
    if recorded:
        details = {"case": number, "decision": decision}
        record(connection, user.actor, f"case.{kind}", row.organisation, details)


def decide_many(
    connection: Connection,
    user: User,
    cases: Sequence[tuple[int, int]],
    decision: Decision,
    reason: str,
    now: int,
    *,
    two: bool,
) -> int:
    """Record one decision on many cases (numbers, and the column `moved` of each as the person saw it), as
    `decide` does; return on how many. Passed over are cases that somebody else has changed meanwhile, and
    those that need another person."""
    _require_reason(reason)
    done = []
    for number, moved in cases:
        with suppress(CaseMovedError, UsageError):
            decide(connection, user, number, moved, decision, reason, now, two=two, recorded=False)
            done.append(number)
    query = select(CASES.c.organisation, CASES.c.id).where(CASES.c.id.in_(done))
    rows = connection.execute(query.order_by(CASES.c.organisation, CASES.c.id)).all()
    for organisation, group in groupby(rows, lambda row: row.organisation):
        details = {"cases": [row.id for row in group], "decision": decision}
        record(connection, user.actor, "case.decided_many", organisation, details)
    return len(done)


def _require_reason(reason: str) -> None:
    if not reason or len(reason) > REASON_MAX or not is_printable_line(reason.replace("\n", " "), REASON_MAX):
        raise UsageError(f"give a reason of at most {REASON_MAX} printable characters")
