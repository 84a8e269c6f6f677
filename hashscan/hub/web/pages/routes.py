"""Add the pages of a hub, and make its overview."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, select
from sqlalchemy.sql import true
from starlette.responses import Response

from hashscan.hub.accounts.sessions import switches
from hashscan.hub.checks.counting import month_of
from hashscan.hub.review.cases import CaseFilter, CaseState, count_cases, find_cases
from hashscan.hub.statistics.page import chart
from hashscan.hub.storage.tables import CHECK_MONTHS, ORGANISATIONS, SERVERS
from hashscan.hub.web.pages.account import account_pages
from hashscan.hub.web.pages.administration import administration_pages
from hashscan.hub.web.pages.cases import case_pages
from hashscan.hub.web.pages.organisations import organisation_pages
from hashscan.hub.web.pages.rendering import RENDERER
from hashscan.hub.web.pages.servers import server_pages
from hashscan.hub.web.pages.visits import EVERYBODY, PageRoute, Visit, page
from hashscan.hub.web.requests import Context

_MONTHS = 12
_OVERDUE = 20
_SILENT = 20
_CATEGORIES = 12


def pages(context: Context) -> list[PageRoute]:
    """Return all pages, and the style sheets."""
    return [
        page(context, "/", _overview, EVERYBODY),
        *account_pages(context),
        *case_pages(context),
        *server_pages(context),
        *organisation_pages(context),
        *administration_pages(context),
        PageRoute("/static/{name}", RENDERER.static),
    ]


class _Year(NamedTuple):
    """Figures of the last months."""

    checks: list[tuple[str, int, int]]
    """Label, digests asked and digests detected of each month."""
    categories: list[tuple[str, int]]
    """Digests detected by category."""


def _overview(visit: Visit) -> Response:
    connection, now, own = visit.connection, visit.now, visit.organisation
    two = switches(connection)["decisions_need_two"]
    slow = visit.context.slow_answers
    year = slow.get(("year", own), connection, partial(_year, now=now, organisation=own))
    states: tuple[CaseState, ...] = ("open", "overdue", "waiting")
    chosen = [CaseFilter(organisation=own, state=state) for state in states]
    servers = true() if own is None else SERVERS.c.organisation == own
    silent = and_(servers, SERVERS.c.silent.is_not(None))
    return visit.page(
        "overview.html",
        "Overview",
        section="/",
        counts={
            each.state: slow.get((each, two), connection, partial(count_cases, chosen=each, now=now, two=two))
            for each in chosen
        },
        organisations=_count(connection, ORGANISATIONS.c.id, true()) if own is None else 1,
        servers=_count(connection, SERVERS.c.id, servers),
        silent_count=_count(connection, SERVERS.c.id, silent),
        silent=connection.execute(
            select(SERVERS, ORGANISATIONS.c.name.label("organisation_name"))
            .join(ORGANISATIONS, SERVERS.c.organisation == ORGANISATIONS.c.id)
            .where(silent)
            .order_by(SERVERS.c.silent, SERVERS.c.id)
            .limit(_SILENT)
        ).all(),
        overdue=find_cases(
            connection, CaseFilter(organisation=own, state="overdue"), now, two=two, limit=_OVERDUE
        ),
        two=two,
        charts=[
            chart(
                "checked", "Digests checked", "checked", [(label, asked) for label, asked, _ in year.checks]
            ),
            chart(
                "detected", "Digests detected", "accused", [(label, found) for label, _, found in year.checks]
            ),
        ],
        categories=_bars(year.categories),
    )


def _count(connection: Connection, column: Any, condition: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count(column)).where(condition)).scalar_one())


def _months(now: int) -> list[tuple[str, int]]:
    """Return the last months, the oldest first: label and begin."""
    found = [month_of(now)]
    while len(found) < _MONTHS:
        found.append(month_of(found[-1] - 1))
    return [(f"{datetime.fromtimestamp(begin, UTC):%Y-%m}", begin) for begin in reversed(found)]


def _year(connection: Connection, now: int, organisation: int | None) -> _Year:
    months = _months(now)
    name, month = CHECK_MONTHS.c.category, CHECK_MONTHS.c.month
    query = select(name, month, func.sum(CHECK_MONTHS.c.asked), func.sum(CHECK_MONTHS.c.detected))
    query = query.where(month >= months[0][1]).group_by(name, month)
    if organisation is not None:
        query = query.where(CHECK_MONTHS.c.organisation == organisation)
    sums: dict[int, tuple[int, int]] = {}
    categories: Counter[str] = Counter()
    for category, begin, asked, detected in connection.execute(query):
        if category:
            categories[category] += int(detected)
        else:
            sums[begin] = int(asked), int(detected)
    most = sorted(categories.items(), key=lambda each: (-each[1], each[0]))[:_CATEGORIES]
    return _Year([(label, *sums.get(begin, (0, 0))) for label, begin in months], most)


def _bars(lines: list[tuple[str, int]]) -> list[dict[str, Any]]:
    most = max((count for _, count in lines), default=0) or 1
    return [{"label": label, "count": count, "share": f"{100 * count / most:.3g}"} for label, count in lines]
