"""The pages about servers: the list, and one server with its last scans."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select
from starlette.responses import Response

from hashscan.errors import EXIT_MEANINGS
from hashscan.hub.accounts.sessions import switches
from hashscan.hub.review.cases import CaseFilter, count_cases
from hashscan.hub.storage.tables import ORGANISATIONS, SCANS, SERVERS
from hashscan.hub.web.pages.cases import documents, link, organisation_id
from hashscan.hub.web.pages.visits import EVERYBODY, PageRoute, Visit, page
from hashscan.hub.web.requests import Context
from hashscan.reports.page.frame import number
from hashscan.schema import InvalidDocumentError, decode_json
from hashscan.web.rendering import NoPageError

PAGE = 100
_SCANS = 30
_QUERY = (
    select(
        SERVERS,
        ORGANISATIONS.c.name.label("organisation_name"),
        SCANS.c.started,
        SCANS.c.ended,
        SCANS.c.exit_code,
        SCANS.c.version,
        SCANS.c.files,
        SCANS.c.findings,
        SCANS.c.verdicts,
        SCANS.c.lists,
    )
    .join(ORGANISATIONS, SERVERS.c.organisation == ORGANISATIONS.c.id)
    .outerjoin(SCANS, (SERVERS.c.scan == SCANS.c.uuid) & (SERVERS.c.organisation == SCANS.c.organisation))
)


def server_pages(context: Context) -> list[PageRoute]:
    """Return the pages."""
    return [
        page(context, "/servers", _list, EVERYBODY),
        page(context, "/servers/{number}", _server, EVERYBODY),
    ]


def counts(text: str | None) -> dict[str, int]:
    """Return the JSON object of counts in a column; an empty one if there is none."""
    try:
        found = decode_json(text.encode("utf-8", "replace")) if text else {}
    except InvalidDocumentError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _undecoded_share(row: Row[Any]) -> str:
    """Return the share of files in which something was not hashed, in percent; empty if there was no file."""
    return f"{100 * counts(row.verdicts).get('undecoded', 0) / row.files:.2g} %" if row.files else ""


def _lists_of(row: Row[Any]) -> list[dict[str, str]]:
    def shown(value: Any) -> str:
        return number(value) if isinstance(value, int) else str(value)

    return [
        {name: shown(each.get(name, "")) for name in ("name", "version", "entries", "state")}
        for each in documents(row.lists or "")
        if isinstance(each, dict)
    ]


def _list(visit: Visit) -> Response:
    asked = {name: visit.query.get(name, "")[:255] for name in ("organisation", "name", "silent")}
    query = _QUERY
    if visit.organisation is not None:
        query = query.where(SERVERS.c.organisation == visit.organisation)
    elif asked["organisation"]:
        query = query.where(
            SERVERS.c.organisation == organisation_id(visit.connection, asked["organisation"])
        )
    if asked["name"]:
        query = query.where(SERVERS.c.name.contains(asked["name"], autoescape=True))
    if asked["silent"]:
        query = query.where(SERVERS.c.silent.is_not(None))
    after = visit.query.get("after", "")
    if after.isascii() and after.isdigit() and len(after) <= 15:
        query = query.where(SERVERS.c.id > int(after))
    rows = visit.connection.execute(query.order_by(SERVERS.c.id).limit(PAGE + 1)).all()
    return visit.page(
        "servers.html",
        "Servers",
        section="/servers",
        rows=[(row, _undecoded_share(row), _lists_of(row)) for row in rows[:PAGE]],
        asked=asked,
        silences=[("", "any"), ("yes", "silent")],
        first=link("/servers", asked) if after else "",
        further=link("/servers", asked, after=str(rows[PAGE - 1].id)) if len(rows) > PAGE else "",
    )


def _server(visit: Visit) -> Response:
    query = _QUERY.where(SERVERS.c.id == visit.number())
    if visit.organisation is not None:
        query = query.where(SERVERS.c.organisation == visit.organisation)
    row = visit.connection.execute(query).first()
    if row is None:
        raise NoPageError
    scans = select(SCANS).where(SCANS.c.server == row.id).order_by(SCANS.c.started.desc()).limit(_SCANS)
    two = switches(visit.connection)["decisions_need_two"]
    found = CaseFilter(server=row.id)
    return visit.page(
        "server.html",
        f"Server {row.name}",
        section="/servers",
        row=row,
        meaning=EXIT_MEANINGS.get(row.exit_code, ""),
        open_cases=count_cases(visit.connection, found, visit.now, two=two),
        undecoded=_undecoded_share(row),
        lists=_lists_of(row),
        verdicts=counts(row.verdicts),
        scans=visit.connection.execute(scans).all(),
    )
