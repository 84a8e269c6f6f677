"""The pages about cases and notices: lists with filters, one case, and the queue of those to decide on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection, Row, and_, func, not_, or_, select
from starlette.responses import Response

from hashscan.errors import UsageError
from hashscan.hub.accounts.sessions import switches
from hashscan.hub.notices.notices import KINDS, NewNotice, late_order, send_notice, withdraw_notice
from hashscan.hub.review.cases import (
    BULK_MAX,
    CASE_ORDERS,
    CASE_STATES,
    DECISIONS,
    CaseFilter,
    CaseMovedError,
    CaseOrder,
    CaseState,
    Decision,
    case_numbered,
    count_cases,
    decide,
    decide_many,
    events_of,
    find_cases,
    find_decidable,
    next_to_decide,
    position,
    review_queue,
)
from hashscan.hub.storage.tables import CASES, NOTICES, ORGANISATIONS, SERVERS
from hashscan.hub.web.pages.visits import (
    EVERYBODY,
    OPERATORS,
    REVIEWERS,
    PageRoute,
    Visit,
    page,
    sentence,
)
from hashscan.hub.web.requests import Context
from hashscan.model import CATEGORIES, KNOWN_GOOD_CATEGORY, TEST_CATEGORY
from hashscan.schema import InvalidDocumentError, decode_json
from hashscan.web.rendering import NoPageError

PAGE = 100
_VERDICTS = ("match", "held", "review", "notice")
_STATES: Mapping[CaseState, str] = {
    "open": "open",
    "overdue": "overdue",
    "waiting": "waiting for a decision",
    "second": "waiting for a second person",
    "excess": "beyond the quota of a day",
    "removed": "removed",
    "contradicted": "removed, and seen there since",
    "closed": "closed",
    "rejected": "rejected",
    "all": "all",
}
_ORDERS: Mapping[CaseOrder, str] = {
    "newest": "the newest first",
    "oldest": "the oldest first",
    "deadline": "the earliest deadline first",
}
_DECISIONS: Mapping[Decision, str] = {
    "confirmed": "Confirmed: it is what the list says",
    "rejected": "Rejected: it is not",
}
_FILTERS = ("state", "verdict", "category", "organisation", "host", "server", "order")
_QUEUE = ("category", "organisation", "host")
"""Fields by which the queue is filtered."""
_ENTRIES = 50
_FIELDS = (
    "organisation", "url", "path", "host", "category", "kind", "member_state", "legal_basis", "hours",
    "reference",
)  # fmt: skip
_HOUR = 3600
_HOURS_MAX = 87_600
_DECIDABLE = frozenset({"waiting", "second", "excess"})
"""States of cases on which people decide many at once."""
_OF_ENTRY = ("list", "entry", "algorithm", "distance", "category")
_OPEN_NOTICE = and_(NOTICES.c.removed.is_(None), NOTICES.c.closed.is_(None), NOTICES.c.withdrawn.is_(None))


def case_pages(context: Context) -> list[PageRoute]:
    """Return the pages."""
    return [
        page(context, "/cases", _list, EVERYBODY),
        page(context, "/cases", _decide_many, REVIEWERS, "POST"),
        page(context, "/cases/{number}", _case, EVERYBODY),
        page(context, "/cases/{number}", _decide, REVIEWERS, "POST"),
        page(context, "/review", _review, REVIEWERS),
        page(context, "/notices", _notices, EVERYBODY),
        page(context, "/notices", _send_notice, OPERATORS, "POST"),
        page(context, "/notices/withdraw", _withdraw_notice, OPERATORS, "POST"),
    ]


def keyset(text: str) -> tuple[int, ...]:
    """Return the numbers of a position in a list, as a link has them; none for any other text."""
    numbers = [small_number(part) for part in text.split("-", 2)]
    return tuple(number for number in numbers if number is not None) if None not in numbers else ()


def link(path: str, query: Mapping[str, str], **changed: str) -> str:
    """Return a link to a page of this hub, with the fields that are not empty."""
    fields = {name: value for name, value in {**query, **changed}.items() if value}
    return path + (f"?{urlencode(fields)}" if fields else "")


def small_number(text: str) -> int | None:
    """Return a number of a row that a link has; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def server_id(text: str) -> int | None:
    """Return the number of a server by which a list is filtered: -1, which no row has, if it is not valid."""
    found = small_number(text)
    return (None if not text else -1) if found is None else found


def organisation_id(connection: Connection, name: str) -> int:
    """Return the id of an organisation; -1, which no row has, if there is none."""
    found = connection.execute(select(ORGANISATIONS.c.id).where(ORGANISATIONS.c.name == name)).scalar()
    return -1 if found is None else int(found)


def documents(text: str) -> list[Any]:
    """Return the JSON array in a column; an empty one if there is none."""
    try:
        found = decode_json(text.encode("utf-8", "replace")) if text else []
    except InvalidDocumentError:
        return []
    return found if isinstance(found, list) else []


def _asked(visit: Visit, names: tuple[str, ...]) -> dict[str, str]:
    """Return the fields of a filter, from the address or from a form."""
    return {name: (visit.value(name) or visit.query.get(name, "").strip())[:255] for name in names}


def _filter(visit: Visit, asked: Mapping[str, str], state: CaseState) -> CaseFilter:
    organisation = visit.organisation
    if organisation is None and asked.get("organisation"):
        organisation = organisation_id(visit.connection, asked["organisation"])
    return CaseFilter(
        organisation,
        server_id(asked.get("server", "")),
        asked.get("host", ""),
        state,
        asked.get("verdict", ""),
        asked.get("category", ""),
        next((each for each in CASE_ORDERS if each == asked.get("order")), ""),
    )


def _state(asked: Mapping[str, str]) -> CaseState:
    return next((each for each in CASE_STATES if each == asked["state"]), "open")


def _list(visit: Visit, failed: str = "", reason: str = "") -> Response:
    asked = _asked(visit, _FILTERS)
    two = switches(visit.connection)["decisions_need_two"]
    state = _state(asked)
    chosen = _filter(visit, asked, state)
    excess = CaseFilter(organisation=visit.organisation, state="excess")
    after = keyset(visit.query.get("after", ""))
    rows = find_cases(visit.connection, chosen, visit.now, two=two, after=after, limit=PAGE + 1)
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    further = {} if last is None else {"after": "-".join(map(str, position(chosen, last)))}
    return visit.page(
        "cases.html",
        "Cases",
        HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK,
        section="/cases",
        failed=failed,
        reason=reason,
        may_decide=visit.is_one_of(REVIEWERS) and state in _DECIDABLE,
        decisions=list(_DECISIONS.items()),
        bulk=BULK_MAX,
        newest=visit.connection.execute(select(func.max(CASES.c.id))).scalar() or 0,
        excess=visit.context.slow_answers.get(
            ("excess", visit.organisation),
            visit.connection,
            partial(count_cases, chosen=excess, now=visit.now, two=two),
        ),
        orders=[("", "as usual"), *_ORDERS.items()],
        sorted=_ORDERS["deadline" if chosen.by_deadline else chosen.order or "newest"],
        rows=rows[:PAGE],
        asked={**asked, "state": state},
        states=[(each, _STATES[each]) for each in CASE_STATES if two or each != "second"],
        verdicts=[("", "any"), *((each, each) for each in _VERDICTS)],
        categories=[("", "any"), *((each, each) for each in _categories_with(asked["category"]))],
        server_name=_server_name(visit, chosen.server),
        two=two,
        first=link("/cases", asked) if after else "",
        further=link("/cases", asked, **further) if further else "",
    )


def _decide_many(visit: Visit) -> Response:
    """Decide on the cases that were chosen, or on all of the filter up to the newest that was shown."""
    asked = _asked(visit, _FILTERS)
    decision: Decision | None = next((each for each in DECISIONS if each == visit.value("decision")), None)
    reason = visit.value("reason").replace("\r\n", "\n")
    two = switches(visit.connection)["decisions_need_two"]
    state, until = _state(asked), small_number(visit.value("until"))
    if decision is None:
        return _list(visit, "Choose a decision.", reason)
    chosen_cases = map(keyset, visit.form.get("case", ()))
    pairs = [(pair[0], pair[1]) for pair in chosen_cases if len(pair) == 2]
    if visit.value("all") == "yes" and until is not None and state in _DECIDABLE:
        chosen = _filter(visit, asked, state)
        pairs = find_decidable(visit.connection, chosen, visit.user, decision, until, visit.now, two=two)
    if not pairs:
        return _list(visit, "No case was chosen on which you can decide so.", reason)
    try:
        done = decide_many(visit.connection, visit.user, pairs, decision, reason, visit.now, two=two)
    except UsageError as error:
        return _list(visit, sentence(error), reason)
    if done < len(pairs):
        failed = f"Decided on {done}. {len(pairs) - done} were changed meanwhile, or need another person."
        return _list(visit, failed, reason)
    return visit.see(link("/cases", asked))


def _categories_with(asked: str) -> list[str]:
    """Return the categories that a case can have, and the one that was asked for, if it is another one."""
    known = [each for each in CATEGORIES if each not in {KNOWN_GOOD_CATEGORY, TEST_CATEGORY}]
    return known if not asked or asked in known else [*known, asked]


def _server_name(visit: Visit, server: int | None) -> str:
    if server is None:
        return ""
    query = select(SERVERS.c.name).where(SERVERS.c.id == server)
    if visit.organisation is not None:
        query = query.where(SERVERS.c.organisation == visit.organisation)
    return str(visit.connection.execute(query).scalar() or "")


def _case(visit: Visit) -> Response:
    row = case_numbered(visit.connection, visit.number(), visit.organisation)
    if row is None:
        raise NoPageError
    return _case_page(visit, row)


def _case_page(
    visit: Visit,
    row: Row[Any],
    failed: str = "",
    reason: str = "",
    *,
    queue: Mapping[str, str] | None = None,
    status: int = HTTPStatus.OK,
) -> Response:
    notice = None
    if row.notice is not None:
        notice = visit.connection.execute(select(NOTICES).where(NOTICES.c.id == row.notice)).first()
    two = switches(visit.connection)["decisions_need_two"]
    entries = [each for each in documents(row.entries)[:_ENTRIES] if isinstance(each, dict)]
    waits = two and bool(row.decision) and not row.seconded_by
    mine = waits and row.decided_by == visit.user.name
    return visit.page(
        "case.html",
        f"Case {row.id}",
        status,
        section="/cases" if queue is None else "/review",
        row=row,
        entries=[
            {key: "" if each.get(key) is None else str(each[key]) for key in _OF_ENTRY} for each in entries
        ],
        events=events_of(visit.connection, row.id),
        notice=notice,
        two=two,
        waits=waits,
        mine=mine,
        may_decide=visit.is_one_of(REVIEWERS) and row.removed is None and row.closed is None,
        # Somebody can't be the second person of his own decision, but change it.
        decisions=[each for each in _DECISIONS.items() if not mine or each[0] != row.decision],
        failed=failed,
        reason=reason,
        queue=None if queue is None else review_queue(visit.connection, visit.user, visit.now, two=two),
        asked=queue or {},
        passed="" if queue is None else link("/review", queue, after=str(row.id)),
    )


def _review(visit: Visit) -> Response:
    two = switches(visit.connection)["decisions_need_two"]
    after = small_number(visit.query.get("after", "")) or 0
    asked = _asked(visit, _QUEUE)
    chosen = _filter(visit, asked, "waiting")
    row = next_to_decide(visit.connection, visit.user, chosen, visit.now, two=two, after=after)
    if row is None:
        queue = review_queue(visit.connection, visit.user, visit.now, two=two)
        first = link("/review", asked) if after else ""
        return visit.page(
            "review-empty.html", "Review", section="/review", first=first, asked=asked, queue=queue, two=two
        )
    return _case_page(visit, row, queue=asked)


def _decide(visit: Visit) -> Response:
    number = visit.number()
    row = case_numbered(visit.connection, number, visit.organisation)
    if row is None:
        raise NoPageError
    moved, reason = small_number(visit.value("moved")), visit.value("reason").replace("\r\n", "\n")
    decision: Decision | None = next((each for each in DECISIONS if each == visit.value("decision")), None)
    queue = _asked(visit, _QUEUE) if visit.value("queue") == "yes" else None
    failed, status = "Choose a decision.", HTTPStatus.BAD_REQUEST
    if decision is not None and moved is not None:
        two = switches(visit.connection)["decisions_need_two"]
        try:
            with visit.connection.begin_nested():
                decide(visit.connection, visit.user, number, moved, decision, reason, visit.now, two=two)
        except CaseMovedError as error:
            # Nothing was changed; the person sees the case as it is now, and his own words.
            failed, status = f"{error}. Look at it again, then decide.", HTTPStatus.CONFLICT
        except UsageError as error:
            failed = f"{error}."
        else:
            return visit.see(f"/cases/{number}" if queue is None else link("/review", queue))
    return _case_page(visit, row, failed[0].upper() + failed[1:], reason, queue=queue, status=status)


def _notices(visit: Visit, failed: str = "") -> Response:
    asked = {name: visit.query.get(name, "")[:100] for name in ("state", "organisation")}
    query = select(NOTICES, ORGANISATIONS.c.name.label("organisation_name")).join(
        ORGANISATIONS, NOTICES.c.organisation == ORGANISATIONS.c.id
    )
    if visit.organisation is not None:
        query = query.where(NOTICES.c.organisation == visit.organisation)
    elif asked["organisation"]:
        query = query.where(
            NOTICES.c.organisation == organisation_id(visit.connection, asked["organisation"])
        )
    conditions = {
        "open": _OPEN_NOTICE,
        "overdue": and_(_OPEN_NOTICE, NOTICES.c.deadline < visit.now),
        "removed": NOTICES.c.removed.is_not(None),
        "withdrawn": NOTICES.c.withdrawn.is_not(None),
    }
    if asked["state"] in conditions:
        query = query.where(conditions[asked["state"]])
    late = late_order(visit.now)
    after = keyset(visit.query.get("after", ""))
    if len(after) == 2:
        others, newer = after[0] == 0, NOTICES.c.id < after[1]
        query = query.where(and_(not_(late), newer) if others else or_(not_(late), newer))
    query = query.add_columns(late.label("late"))
    rows = visit.connection.execute(query.order_by(late.desc(), NOTICES.c.id.desc()).limit(PAGE + 1)).all()
    return visit.page(
        "notices.html",
        "Notices",
        HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK,
        failed=failed,
        form={name: visit.value(name) for name in _FIELDS},
        section="/notices",
        rows=rows[:PAGE],
        asked=asked,
        states=[("", "any"), *((each, each) for each in conditions)],
        kinds=[(each.value, each.value) for each in KINDS],
        first=link("/notices", asked) if after else "",
        further=link("/notices", asked, after=f"{int(rows[PAGE - 1].late)}-{rows[PAGE - 1].id}")
        if len(rows) > PAGE
        else "",
    )


def _send_notice(visit: Visit) -> Response:
    values = {name: visit.value(name) for name in _FIELDS}
    hours = small_number(values["hours"])
    if values["hours"] and (hours is None or hours > _HOURS_MAX):
        return _notices(visit, f"The deadline is a whole number of hours, at most {_HOURS_MAX}.")
    texts = {name: values[name] for name in _FIELDS if name not in {"organisation", "hours"} and values[name]}
    wanted = NewNotice(**texts, deadline=None if hours is None else hours * _HOUR)
    try:
        with visit.connection.begin_nested():
            send_notice(visit.connection, visit.user.actor, values["organisation"], wanted, visit.now)
    except UsageError as error:
        return _notices(visit, sentence(error))
    return visit.see("/notices")


def _withdraw_notice(visit: Visit) -> Response:
    query = select(NOTICES.c.reference).where(NOTICES.c.id == small_number(visit.value("number")))
    reference = visit.connection.execute(query).scalar() or ""
    try:
        with visit.connection.begin_nested():
            withdraw_notice(visit.connection, visit.user.actor, reference, visit.now)
    except UsageError as error:
        return _notices(visit, sentence(error))
    return visit.see("/notices")
