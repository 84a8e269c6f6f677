"""Keep the sessions of signed-in users, and the hub's settings that operators change on its pages.

A session's cookie has 256 random bits; only its SHA-256 is stored. Users are read from the database with each
request, so that a disabled one is refused by all nodes at once.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import Connection, delete, insert, or_, select, update

from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.users import USER_QUERY, User, user_of
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import SESSIONS, SETTINGS, USERS
from hashscan.schema import decode_json, encode_json

IDLE_SECONDS = 3600
"""Seconds without a request after which a session ends."""
ABSOLUTE_SECONDS = 12 * 3600
"""Seconds after which it ends all the same."""
_NOTE_SECONDS = 60


class Session(Struct, frozen=True):
    """A session."""

    sha256: bytes
    user: User
    csrf: str
    created: int
    seen: int


def begin_session(connection: Connection, user: int, now: int) -> str:
    """Begin a session, and return the value of its cookie; forget those that have ended."""
    ended = or_(SESSIONS.c.seen <= now - IDLE_SECONDS, SESSIONS.c.created <= now - ABSOLUTE_SECONDS)
    connection.execute(delete(SESSIONS).where(ended))
    token = secrets.token_urlsafe(32)
    values = {"user": user, "csrf": secrets.token_urlsafe(32), "created": now, "seen": now}
    connection.execute(insert(SESSIONS).values(sha256=_digest(token), **values))
    return token


def find_session(connection: Connection, token: str, now: int) -> Session | None:
    """Return the session of a cookie; None if there is none, it has ended, or its user is not admitted."""
    query = USER_QUERY.add_columns(
        SESSIONS.c.csrf, SESSIONS.c.seen, SESSIONS.c.created.label("begun"), SESSIONS.c.sha256
    ).join(SESSIONS, SESSIONS.c.user == USERS.c.id)
    row = connection.execute(query.where(SESSIONS.c.sha256 == _digest(token))).first()
    if row is None or row.seen + IDLE_SECONDS <= now or row.begun + ABSOLUTE_SECONDS <= now:
        return None
    user = user_of(row)
    return Session(row.sha256, user, row.csrf, row.begun, row.seen) if user.admitted else None


def note_session(database: Database, session: Session, now: int) -> None:
    """Record that a session is in use, at most once a minute."""
    if session.seen + _NOTE_SECONDS <= now:
        with database.transaction() as connection:
            connection.execute(update(SESSIONS).where(SESSIONS.c.sha256 == session.sha256).values(seen=now))


def end_session(connection: Connection, session: Session) -> None:
    connection.execute(delete(SESSIONS).where(SESSIONS.c.sha256 == session.sha256))
    record(connection, session.user.actor, "user.sign-out", session.user.organisation)


def drop_session(connection: Connection, token: str) -> None:
    """Delete the session of a cookie, if there is one, since another takes its place."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.sha256 == _digest(token)))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


class Switch(NamedTuple):
    """A setting that is on or off."""

    title: str
    words: str
    default: bool


SWITCHES: dict[str, Switch] = {
    "operators_need_second_factor": Switch(
        "Operators need a second factor",
        "An operator who has none must set one up after the next sign-in by password.",
        True,
    ),
    "decisions_need_two": Switch(
        "Two people decide on a case",
        "A decision counts only when a second person has confirmed it.",
        False,
    ),
}


def switches(connection: Connection) -> dict[str, bool]:
    """Return the state of each switch."""
    query = select(SETTINGS.c.name, SETTINGS.c.value).where(SETTINGS.c.name.in_(SWITCHES))
    stored = {row.name: decode_json(row.value.encode()) is True for row in connection.execute(query)}
    return {name: stored.get(name, switch.default) for name, switch in SWITCHES.items()}


def set_switch(database: Database, connection: Connection, actor: str, name: str, on: bool) -> None:
    """Turn a switch on or off."""
    value = encode_json(on).decode()
    statement = database.insert(SETTINGS).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))
    record(connection, actor, "settings.change", None, {"name": name, "value": on})
