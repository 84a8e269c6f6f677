"""The pages about organisations: the list, and one with its keys, users and figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus

from sqlalchemy import func, or_, select
from starlette.responses import Response

from hashscan.errors import UsageError
from hashscan.hub.accounts.keys import (
    DETAILS,
    DIGESTS_PER_DAY,
    RIGHTS,
    Detail,
    HubKey,
    add_key,
    key_named,
    keys_of,
    revoke_key,
    rotate_key,
)
from hashscan.hub.accounts.organisations import (
    NAME,
    NoticesVia,
    Organisation,
    add_organisation,
    organisation_named,
)
from hashscan.hub.accounts.sessions import switches
from hashscan.hub.accounts.users import users
from hashscan.hub.checks.near_queries import chains, forget_chains
from hashscan.hub.review.cases import CaseCounts, CaseFilter, count_cases, count_open
from hashscan.hub.storage.tables import ORGANISATIONS, SERVERS
from hashscan.hub.web.pages.cases import link, small_number
from hashscan.hub.web.pages.visits import (
    EVERYBODY,
    OPERATORS,
    STAFF,
    PageRoute,
    Visit,
    page,
    sentence,
)
from hashscan.hub.web.requests import Context
from hashscan.web.rendering import NoPageError, RefusedError

PAGE = 100
_WAYS: Mapping[NoticesVia, str] = {"sync": "fetched by its servers", "mail": "mailed to its contacts"}
_OVERLAP = 7 * 86_400
_DAY = 86_400


def organisation_pages(context: Context) -> list[PageRoute]:
    """Return the pages."""
    return [
        page(context, "/organisations", _list, EVERYBODY),
        page(context, "/organisations", _add, OPERATORS, "POST"),
        page(context, "/organisations/{name}", _organisation, EVERYBODY),
        page(context, "/organisations/{name}/chains/forget", _forget_chains, OPERATORS, "POST"),
        *(
            page(context, f"/organisations/{{name}}/keys/{action}", function, OPERATORS, "POST")
            for action, function in (("add", _add_key), ("rotate", _rotate_key), ("revoke", _revoke_key))
        ),
    ]


def _list(visit: Visit, failed: str = "") -> Response:
    search, after = visit.query.get("search", "")[:200], visit.query.get("after", "")[:63]
    query = select(
        ORGANISATIONS.c.id,
        ORGANISATIONS.c.name,
        ORGANISATIONS.c.title,
        ORGANISATIONS.c.country,
        ORGANISATIONS.c.created,
        ORGANISATIONS.c.closed,
    )
    if visit.organisation is not None:
        query = query.where(ORGANISATIONS.c.id == visit.organisation)
    if search:
        lower = search.lower()
        query = query.where(
            or_(
                ORGANISATIONS.c.name.contains(lower, autoescape=True),
                func.lower(ORGANISATIONS.c.title).contains(lower, autoescape=True),
            )
        )
    if after:
        query = query.where(ORGANISATIONS.c.name > after)
    rows = visit.connection.execute(query.order_by(ORGANISATIONS.c.name).limit(PAGE + 1)).all()
    shown = rows[:PAGE]
    ids = [row.id for row in shown]
    two = switches(visit.connection)["decisions_need_two"]
    return visit.page(
        "organisations.html",
        "Organisations",
        HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK,
        section="/organisations",
        rows=shown,
        cases=visit.context.slow_answers.get(
            ("open", *ids, two),
            visit.connection,
            partial(count_open, organisations=ids, now=visit.now, two=two),
        ),
        servers=_servers_of(visit, ids),
        search=search,
        failed=failed,
        form={name: visit.value(name) for name in ("name", "title", "country", "contacts", "via")},
        ways=_WAYS,
        first=link("/organisations", {"search": search}) if after else "",
        further=link("/organisations", {"search": search}, after=shown[-1].name) if len(rows) > PAGE else "",
    )


def _servers_of(visit: Visit, ids: list[int]) -> dict[int, int]:
    """Return the number of servers of some organisations."""
    own = SERVERS.c.organisation
    query = select(own, func.count()).where(own.in_(ids)).group_by(own)
    return {key: int(count) for key, count in visit.connection.execute(query)}


def _add(visit: Visit) -> Response:
    contacts = visit.value("contacts").replace(",", " ").split()
    try:
        made = add_organisation(
            visit.connection,
            visit.user.actor,
            visit.value("name"),
            title=visit.value("title"),
            country=visit.value("country").upper(),
            contacts=contacts,
            via="mail" if visit.value("via") == "mail" else "sync",
        )
    except UsageError as error:
        return _list(visit, sentence(error))
    return visit.see(f"/organisations/{made.name}")


def _found(visit: Visit) -> Organisation:
    if not NAME.fullmatch(visit.path["name"]):
        raise NoPageError
    try:
        found = organisation_named(visit.connection, visit.path["name"])
    except UsageError:
        raise NoPageError from None
    if visit.organisation not in {None, found.id}:
        raise NoPageError
    return found


def _organisation(visit: Visit) -> Response:
    return _page(visit, _found(visit))


def _page(visit: Visit, found: Organisation, failed: str = "", secret: str = "", made: str = "") -> Response:
    two = switches(visit.connection)["decisions_need_two"]
    servers = select(func.count()).select_from(SERVERS).where(SERVERS.c.organisation == found.id)
    return visit.page(
        "organisation.html",
        f"Organisation {found.name}",
        HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK,
        section="/organisations",
        found=found,
        way=_WAYS[found.via],
        failed=failed,
        secret=secret,
        made=made,
        keys=keys_of(visit.connection, found.name),
        users=users(visit.connection, found.id),
        servers=visit.connection.execute(servers).scalar_one(),
        counts=count_open(visit.connection, [found.id], visit.now, two=two).get(found.id, CaseCounts(0, 0)),
        removed=count_cases(
            visit.connection, CaseFilter(organisation=found.id, state="removed"), visit.now, two=two
        ),
        # Who is suspected is not told.
        chains=chains(visit.connection, found.id) if visit.is_one_of(STAFF) else [],
        rights=RIGHTS,
        details=[(each, each) for each in reversed(DETAILS)],
    )


def _forget_chains(visit: Visit) -> Response:
    found = _found(visit)
    forget_chains(visit.connection, visit.user.actor, found.id)
    return visit.see(f"/organisations/{found.name}")


def _changed(visit: Visit, change: Callable[[Organisation], tuple[str, str]]) -> Response:
    """Change the keys of the organisation; show a new one, once, with its name."""
    found = _found(visit)
    try:
        with visit.connection.begin_nested():
            secret, made = change(found)
    except UsageError as error:
        return _page(visit, found, sentence(error))
    return (
        _page(visit, found, secret=secret, made=made) if secret else visit.see(f"/organisations/{found.name}")
    )


def _add_key(visit: Visit) -> Response:
    def change(found: Organisation) -> tuple[str, str]:
        name = visit.value("name")
        detail: Detail = next((each for each in DETAILS if each == visit.value("detail")), "entry")
        rights = [right for right in RIGHTS if right in visit.form.get("right", ())]
        if not rights:
            raise UsageError("a key needs a right")
        days, quota = small_number(visit.value("days")), small_number(visit.value("digests_per_day"))
        if (days is None and visit.value("days")) or (quota is None and visit.value("digests_per_day")):
            raise UsageError("days and digests are whole numbers")
        expires = None if not days else int(time.time()) + min(days, 36_500) * _DAY
        secret = add_key(
            visit.connection,
            visit.user.actor,
            found.name,
            name,
            rights,
            detail=detail,
            digests_per_day=DIGESTS_PER_DAY if quota is None else quota,
            expires=expires,
        )
        return secret, name

    return _changed(visit, change)


def _key(visit: Visit, found: Organisation) -> HubKey:
    """Return the key that the form is about; a form that is sent twice is about one that was replaced."""
    key = key_named(visit.connection, found.name, visit.value("key"))
    if str(key.id) != visit.value("id"):
        raise RefusedError("The key was replaced meanwhile. Load the page again.", HTTPStatus.CONFLICT)
    return key


def _rotate_key(visit: Visit) -> Response:
    def change(found: Organisation) -> tuple[str, str]:
        name = _key(visit, found).name
        return rotate_key(visit.connection, visit.user.actor, found.name, name, _OVERLAP), name

    return _changed(visit, change)


def _revoke_key(visit: Visit) -> Response:
    def change(found: Organisation) -> tuple[str, str]:
        revoke_key(visit.connection, visit.user.actor, found.name, _key(visit, found).name)
        return "", ""

    return _changed(visit, change)
