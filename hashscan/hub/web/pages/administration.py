"""The pages about lists, the audit log, users and settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from sqlalchemy import literal, select, tuple_
from starlette.responses import Response

from hashscan.errors import UsageError
from hashscan.hub.accounts.sessions import SWITCHES, set_switch, switches
from hashscan.hub.accounts.users import ROLES, Role, add_user, disable_user, reset_user, users
from hashscan.hub.intake.servers import ServerDefaults, change_defaults, server_defaults
from hashscan.hub.storage.tables import AUDIT, FEEDBACK, ORGANISATIONS
from hashscan.hub.web.pages.cases import link, organisation_id, small_number
from hashscan.hub.web.pages.visits import EVERYBODY, OPERATORS, STAFF, PageRoute, Visit, page, sentence
from hashscan.hub.web.requests import Context
from hashscan.model import ACTING_CATEGORIES, TEST_CATEGORY
from hashscan.settings.values import parse_duration

PAGE = 100
_DURATION_MAX = 3650 * 86_400
_WITH_DEADLINE = tuple(sorted(ACTING_CATEGORIES - {TEST_CATEGORY}))
_OF_THE_CHAIN = frozenset({"n", "previous", "check", "at", "actor", "action", "organisation"})


def administration_pages(context: Context) -> list[PageRoute]:
    """Return the pages."""
    return [
        page(context, "/lists", _lists, STAFF),
        page(context, "/opinions", _opinions, EVERYBODY),
        page(context, "/audit", _audit, EVERYBODY),
        page(context, "/users", _users, OPERATORS),
        *(
            page(context, f"/users/{action}", function, OPERATORS, "POST")
            for action, function in (("add", _add_user), ("reset", _reset_user), ("disable", _disable_user))
        ),
        page(context, "/settings", _settings, OPERATORS),
        page(context, "/settings", _change_settings, OPERATORS, "POST"),
        page(context, "/settings/servers", _change_defaults, OPERATORS, "POST", transaction=False),
    ]


def _lists(visit: Visit) -> Response:
    lookup = visit.context.lookup
    return visit.page("lists.html", "Lists", section="/lists", lists=lookup.infos, version=lookup.version)


def _opinions(visit: Visit) -> Response:
    names = ("entry", "opinion", "organisation")
    asked = {name: visit.query.get(name, "").strip()[:255] for name in names}
    query = select(FEEDBACK, ORGANISATIONS.c.name.label("organisation_name")).join(ORGANISATIONS)
    if visit.organisation is not None:
        query = query.where(FEEDBACK.c.organisation == visit.organisation)
    elif asked["organisation"]:
        own = organisation_id(visit.connection, asked["organisation"])
        query = query.where(FEEDBACK.c.organisation == own)
    for name in ("entry", "opinion"):
        if asked[name]:
            query = query.where(FEEDBACK.c[name] == asked[name])
    order = (FEEDBACK.c.at, FEEDBACK.c.organisation, FEEDBACK.c.entry)
    at, _, rest = visit.query.get("after", "").partition("-")
    owner, _, entry = rest.partition("-")
    numbers = small_number(at), small_number(owner)
    after = None not in numbers
    if after:
        query = query.where(tuple_(*order) < tuple_(literal(numbers[0]), literal(numbers[1]), literal(entry)))
    rows = visit.connection.execute(query.order_by(*(each.desc() for each in order)).limit(PAGE + 1)).all()
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    further = "" if last is None else f"{last.at}-{last.organisation}-{last.entry}"
    return visit.page(
        "opinions.html",
        "Opinions",
        section="/opinions",
        rows=rows[:PAGE],
        asked=asked,
        opinions=[("", "any"), ("wrong", "wrong"), ("right", "right")],
        first=link("/opinions", asked) if after else "",
        further=link("/opinions", asked, after=further) if further else "",
    )


def _audit(visit: Visit) -> Response:
    asked = {name: visit.query.get(name, "").strip()[:255] for name in ("actor", "organisation")}
    query = select(
        AUDIT.c.number,
        AUDIT.c.at,
        AUDIT.c.actor,
        AUDIT.c.action,
        AUDIT.c.organisation,
        AUDIT.c.line,
        ORGANISATIONS.c.name.label("organisation_name"),
    ).outerjoin(ORGANISATIONS, AUDIT.c.organisation == ORGANISATIONS.c.id)
    if visit.organisation is not None:
        query = query.where(AUDIT.c.organisation == visit.organisation)
    elif asked["organisation"]:
        # A deleted organisation has no name any more.
        number = small_number(asked["organisation"])
        own = organisation_id(visit.connection, asked["organisation"])
        query = query.where(AUDIT.c.organisation == (number if own < 0 and number is not None else own))
    if asked["actor"]:
        query = query.where(AUDIT.c.actor == asked["actor"])
    after = small_number(visit.query.get("after", ""))
    if after is not None:
        query = query.where(AUDIT.c.number < after)
    rows = visit.connection.execute(query.order_by(AUDIT.c.number.desc()).limit(PAGE + 1)).all()
    return visit.page(
        "audit.html",
        "Audit log",
        section="/audit",
        rows=[(row, _details(row.line), link("/audit", asked, actor=row.actor)) for row in rows[:PAGE]],
        asked=asked,
        first=link("/audit", asked) if after is not None else "",
        further=link("/audit", asked, after=str(rows[PAGE - 1].number)) if len(rows) > PAGE else "",
    )


def _details(line: str) -> str:
    """Return what a line of the log says besides its columns."""
    found: dict[str, Any] = json.loads(line)
    return ", ".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in found.items()
        if key not in _OF_THE_CHAIN
    )


def _users(visit: Visit, failed: str = "", secret: str = "", made: str = "") -> Response:
    return visit.page(
        "users.html",
        "Users",
        HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK,
        section="/users",
        users=users(visit.connection),
        roles=[(each, each) for each in ROLES],
        form={name: visit.value(name) for name in ("name", "role", "organisation")},
        failed=failed,
        secret=secret,
        made=made,
    )


def _changed(visit: Visit, change: Callable[[], str]) -> Response:
    """Change a user; show a one-time password, once."""
    try:
        with visit.connection.begin_nested():
            secret = change()
    except UsageError as error:
        return _users(visit, sentence(error))
    return _users(visit, secret=secret, made=visit.value("name")) if secret else visit.see("/users")


def _add_user(visit: Visit) -> Response:
    role: Role = next((each for each in ROLES if each == visit.value("role")), "member")
    return _changed(
        visit,
        lambda: add_user(
            visit.connection,
            visit.user.actor,
            visit.value("name"),
            role,
            visit.value("organisation"),
            by_proxy=bool(visit.context.settings.trust_user_header),
        ),
    )


def _reset_user(visit: Visit) -> Response:
    def change() -> str:
        name = visit.value("name")
        if name == visit.user.name:
            raise UsageError("another operator must reset you")
        return reset_user(visit.connection, visit.user.actor, name)

    return _changed(visit, change)


def _disable_user(visit: Visit) -> Response:
    def change() -> str:
        name = visit.value("name")
        if name == visit.user.name:
            raise UsageError("another operator must disable you")
        disabled = visit.value("enable") != "yes"
        disable_user(visit.connection, visit.user.actor, name, disabled=disabled)
        return ""

    return _changed(visit, change)


def _settings(visit: Visit, failed: str = "") -> Response:
    defaults = server_defaults(visit.connection)
    stored = {
        "silent_after": defaults.silent_after,
        "deadline": defaults.deadline,
        "review_deadline": defaults.review_deadline,
        **{f"deadline-{name}": defaults.deadlines.get(name, 0) for name in _WITH_DEADLINE},
    }
    shown = {name: visit.value(name) if failed else short_duration(value) for name, value in stored.items()}
    return visit.page(
        "settings.html",
        "Settings",
        HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK,
        section="/settings",
        switches=SWITCHES,
        states=switches(visit.connection),
        defaults=shown,
        categories=_WITH_DEADLINE,
        failed=failed,
    )


def short_duration(seconds: int) -> str:
    """Return a duration as it is written in a form; empty for none."""
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds}s" if seconds else ""


def _change_settings(visit: Visit) -> Response:
    before = switches(visit.connection)
    for name in SWITCHES:
        on = visit.value(name) == "on"
        if on != before[name]:
            set_switch(visit.context.database, visit.connection, visit.user.actor, name, on)
    return visit.see("/settings")


def _change_defaults(visit: Visit) -> Response:
    try:
        change_defaults(
            visit.context.database,
            visit.user.actor,
            silent_after=_duration(visit, "silent_after") or ServerDefaults().silent_after,
            deadline=_duration(visit, "deadline"),
            review_deadline=_duration(visit, "review_deadline"),
            deadlines={name: _duration(visit, f"deadline-{name}") or None for name in _WITH_DEADLINE},
        )
    except UsageError as error:
        return _settings(visit, sentence(error))
    return visit.see("/settings")


def _duration(visit: Visit, name: str) -> int:
    """Return the seconds in a field of the form; 0 if it is empty."""
    text = visit.value(name)
    seconds = parse_duration(text) if text else 0.0
    if not 0 <= seconds <= _DURATION_MAX:
        raise UsageError(f"{text!r} is more than ten years", advice="Write a time such as 36h or 2d.")
    return int(seconds)
