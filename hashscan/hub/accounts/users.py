"""Keep the people who use a hub's pages: roles, passwords, second factors; disable and reset them.

Passwords are stored by argon2. The operator never knows the password of another: a new user, and one who was
reset, gets a one-time password, which must be replaced at the first sign-in.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any, Literal, NamedTuple, get_args

import argon2
from msgspec import Struct
from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from hashscan.errors import UsageError
from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.organisations import organisation_named
from hashscan.hub.storage.tables import ORGANISATIONS, SESSIONS, USERS

Role = Literal["operator", "reviewer", "viewer", "member"]
ROLES: tuple[Role, ...] = get_args(Role)
"""operator: does all; reviewer: reads all and decides on cases; viewer: reads all; member: reads what
concerns his organisation."""

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}", re.ASCII)
PASSWORD_MIN, PASSWORD_MAX = 12, 256
ONE_TIME_SECONDS = 7 * 86_400
"""Seconds for which a one-time password is valid."""

HASHER = argon2.PasswordHasher()
"""Argon2id with the parameters of RFC 9106 for 64 MiB."""

_ONE_TIME = re.compile(r"once (\d+) (.+)", re.ASCII)


class User(Struct, frozen=True):
    """A user, without secrets."""

    id: int
    name: str
    role: Role
    organisation: int | None
    """The organisation of a member; None for others."""
    organisation_name: str
    has_password: bool
    """False for one who signs in by a proxy alone."""
    must_change: bool
    """True if the password is one that was given out for one sign-in."""
    has_second_factor: bool
    locked: int | None
    created: int
    disabled: int | None
    admitted: bool
    """False if the user is disabled, or his organisation closed."""

    @property
    def actor(self) -> str:
        return f"user {self.name}"


class StoredPassword(NamedTuple):
    """A password as it is stored."""

    hash: str
    expires: int | None
    """For one that is valid once."""


def stored_password(text: str) -> StoredPassword:
    found = _ONE_TIME.fullmatch(text)
    return StoredPassword(text, None) if found is None else StoredPassword(found[2], int(found[1]))


USER_QUERY: Select[Any] = select(
    USERS, ORGANISATIONS.c.name.label("organisation_name"), ORGANISATIONS.c.closed
).outerjoin(ORGANISATIONS, USERS.c.organisation == ORGANISATIONS.c.id)


def user_of(row: Row[Any]) -> User:
    return User(
        row.id,
        row.name,
        row.role,
        row.organisation,
        row.organisation_name or "",
        bool(row.password),
        stored_password(row.password).expires is not None,
        bool(row.totp),
        row.locked,
        row.created,
        row.disabled,
        row.disabled is None and row.closed is None,
    )


def users(connection: Connection, organisation: int | None = None) -> list[User]:
    """Return the users, or those of an organisation, by name."""
    query = USER_QUERY.order_by(USERS.c.name)
    if organisation is not None:
        query = query.where(USERS.c.organisation == organisation)
    return [user_of(row) for row in connection.execute(query)]


def user_named(connection: Connection, name: str) -> User:
    """Return a user."""
    row = connection.execute(USER_QUERY.where(USERS.c.name == name)).first()
    if row is None:
        raise UsageError(f"there is no user {name!r}", advice="See `hashscan hub user list`.")
    return user_of(row)


def add_user(
    connection: Connection,
    actor: str,
    name: str,
    role: Role,
    organisation: str = "",
    *,
    password: str = "",
    by_proxy: bool = False,
) -> str:
    """Add a user, and return the one-time password, to be shown once.

    Args:
        organisation: name of a member's organisation; empty for others.
        password: the one-time password; empty to make one.
        by_proxy: give no password, since a proxy signs the user in; then an empty text is returned.

    Raises:
        UsageError: a value is not valid, the name is taken, or there is no such organisation.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name that a user can have",
            advice="Use up to 128 lower-case letters, digits and the characters . _ @ + -",
        )
    if (role == "member") != bool(organisation):
        raise UsageError(
            "a member belongs to an organisation, and nobody else does",
            advice="Name the organisation of a member, and of no other.",
        )
    owner = organisation_named(connection, organisation).id if organisation else None
    if connection.execute(select(USERS.c.id).where(USERS.c.name == name)).first():
        raise UsageError(f"there already is a user {name}", advice="Choose another name, or reset that user.")
    secret = "" if by_proxy else _one_time(password)
    connection.execute(
        insert(USERS).values(
            name=name,
            role=role,
            organisation=owner,
            password=_hashed_once(secret) if secret else "",
            created=int(time.time()),
        )
    )
    record(connection, actor, "user.add", owner, {"name": name, "role": role})
    return secret


def reset_user(connection: Connection, actor: str, name: str, password: str = "") -> str:
    """Give a user a new one-time password, and return it; remove the second factor, lock and sessions.

    Raises:
        UsageError: there is no such user, or the password is not valid.
    """
    user = user_named(connection, name)
    secret = _one_time(password)
    values = {"password": _hashed_once(secret), "totp": "", "totp_step": 0, "failures": 0, "locked": None}
    connection.execute(update(USERS).where(USERS.c.id == user.id).values(**values))
    _end_sessions(connection, user.id)
    record(connection, actor, "user.reset", user.organisation, {"name": name})
    return secret


def disable_user(connection: Connection, actor: str, name: str, *, disabled: bool = True) -> None:
    """Refuse a user from the next request on, or admit him again.

    Raises:
        UsageError: there is no such user.
    """
    user = user_named(connection, name)
    at = int(time.time()) if disabled else None
    connection.execute(update(USERS).where(USERS.c.id == user.id).values(disabled=at))
    _end_sessions(connection, user.id)
    record(
        connection, actor, "user.disable" if disabled else "user.enable", user.organisation, {"name": name}
    )


def hash_password(password: str, name: str) -> str:
    """Return the stored form of a password that a user has chosen."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise UsageError(
            f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters", advice="Choose another password."
        )
    if name in password.casefold() or len(set(password)) < 5:
        raise UsageError("the password is too easy to guess", advice="Choose another password.")
    return HASHER.hash(password)


def set_password(connection: Connection, user: User, hashed: str, session: bytes) -> None:
    """Store a password that the user has chosen, and end all of his sessions but the present one."""
    connection.execute(update(USERS).where(USERS.c.id == user.id).values(password=hashed))
    _end_sessions(connection, user.id, session)
    record(connection, user.actor, "user.password", user.organisation)


def _end_sessions(connection: Connection, user: int, but: bytes = b"") -> None:
    connection.execute(delete(SESSIONS).where(SESSIONS.c.user == user, SESSIONS.c.sha256 != but))


def _one_time(password: str) -> str:
    if password and (len(password) < PASSWORD_MIN or len(password) > PASSWORD_MAX):
        raise UsageError(f"a one-time password has {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    return password or secrets.token_urlsafe(15)


def _hashed_once(secret: str) -> str:
    return f"once {int(time.time()) + ONE_TIME_SECONDS} {HASHER.hash(secret)}"
