"""Sign users in by password and second factor, so that neither names nor passwords can be searched for.

Each failure counts for the user; from the fifth on, each locks the name for a while, twice as long as the one
before, up to `_LOCK_MAX`. So that nobody can lock a user out by failing in his name, a browser in which the
user has signed in before is exempt: it holds a mark that only the user's stored password can have made. Such
browsers, and all addresses, have `ATTEMPTS` instead.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from functools import cache
from ipaddress import IPv6Address, ip_address
from typing import Any

import argon2
import pyotp
from sqlalchemy import Connection, Row, update

from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.users import HASHER, USER_QUERY, User, stored_password, user_of
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import USERS

FAILURES = 5
"""Failures that lock a name."""
_LOCK_MIN, _LOCK_MAX = 30, 900
"""Seconds of the first lock and of the longest."""
STEP_SECONDS = 30
ATTEMPTS = 10
"""Attempts in a row that one address, or one known browser, has."""
ATTEMPTS_PER_SECOND = 1 / 30
"""Rate at which it has further ones."""


def limited_address(address: str) -> str:
    """Return an address as it is limited: IPv6 by its network of 64 bits, which one customer has whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


def sign_in(
    database: Database, name: str, password: str, code: str, known_browser: str, now: int
) -> tuple[User, str] | None:
    """Return the user with this name, password and code (the six digits of the second factor), and the mark
    of his browser, which may have sent one; None if there is none. The work is the same for a name that does
    not exist."""
    name = name.strip().lower()
    with database.reading() as connection:
        row = connection.execute(USER_QUERY.where(USERS.c.name == name)).first()
    verified = "" if row is None else row.password
    right = _is_password(stored_password(verified).hash if verified else _dummy(), password)
    with database.transaction() as connection:
        # Row and lock may have changed meanwhile.
        row = connection.execute(USER_QUERY.where(USERS.c.name == name).with_for_update(of=USERS)).first()
        if row is None:
            return None
        known = is_known_browser(row.password, known_browser)
        if row.locked is not None and row.locked > now and not known:
            return None
        right = right and bool(verified) and row.password == verified and _admits(row, code, now)
        if not right:
            if not known:
                _count_failure(connection, row, now)
            return None
        values = {"failures": 0, "locked": None}
        if row.totp:
            values["totp_step"] = _step_of(row.totp, row.totp_step, code, now)
        connection.execute(update(USERS).where(USERS.c.id == row.id).values(**values))
        user = user_of(row)
        record(connection, user.actor, "user.sign-in", user.organisation)
    return user, known_browser if known else _mark(row.password)


def _admits(row: Row[Any], code: str, now: int) -> bool:
    """Return True if the user may sign in with this code, apart from the password."""
    expires = stored_password(row.password).expires
    if not user_of(row).admitted or (expires is not None and expires <= now):
        return False
    return not row.totp or _step_of(row.totp, row.totp_step, code, now) is not None


def _count_failure(connection: Connection, row: Row[Any], now: int) -> None:
    failures = row.failures + 1
    values = {"failures": failures}
    if failures >= FAILURES:
        seconds = min(_LOCK_MAX, _LOCK_MIN << min(failures - FAILURES, 10))
        values["locked"] = now + seconds
        record(connection, "hub", "user.lock", row.organisation, {"name": row.name, "seconds": seconds})
    connection.execute(update(USERS).where(USERS.c.id == row.id).values(**values))


def new_second_factor(token: str) -> str:
    """Return the secret that a session offers to set up: 160 bits in base32, made of the cookie's value."""
    return base64.b32encode(hashlib.sha256(b"second factor " + token.encode()).digest()[:20]).decode()


def second_factor_uri(secret: str, user: User) -> str:
    """Return the `otpauth:` URI of a secret, for an app on the user's phone."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name="hashscan hub")


def set_second_factor(connection: Connection, user: User, secret: str, code: str, now: int) -> bool:
    """Store a second factor if the code is one of its present ones; return True if it is."""
    step = _step_of(secret, 0, code, now)
    if step is None:
        return False
    values = {"totp": secret, "totp_step": step}
    connection.execute(update(USERS).where(USERS.c.id == user.id).values(**values))
    record(connection, user.actor, "user.second-factor", user.organisation)
    return True


def is_password_of(database: Database, user: User, password: str) -> bool:
    """Return True if this is the user's password."""
    with database.reading() as connection:
        row = connection.execute(USER_QUERY.where(USERS.c.id == user.id)).first()
    return (
        row is not None and bool(row.password) and _is_password(stored_password(row.password).hash, password)
    )


def proxied_user(connection: Connection, name: str) -> User | None:
    """Return the user whom a trusted proxy has signed in; None if there is none, or he is not admitted."""
    row = connection.execute(USER_QUERY.where(USERS.c.name == name.lower())).first()
    user = None if row is None else user_of(row)
    return user if user is not None and user.admitted else None


def is_known_browser(stored: str, mark: str) -> bool:
    """Return True if a mark was made for the user with this stored password."""
    nonce, _, code = mark.partition(".")
    return bool(stored and nonce) and hmac.compare_digest(_code_of(stored, nonce).encode(), code.encode())


def _mark(stored: str) -> str:
    nonce = secrets.token_hex(16)
    return f"{nonce}.{_code_of(stored, nonce)}"


def _code_of(stored: str, nonce: str) -> str:
    return hmac.new(stored.encode(), nonce.encode("utf-8", "replace"), "sha256").hexdigest()


def _step_of(secret: str, used: int, code: str, now: int) -> int | None:
    """Return the step of 30 seconds whose code this is, after those used; None if it is of none.

    The steps before and after the present one count, too, since phones' times differ.
    """
    digits = code.replace(" ", "")
    totp = pyotp.TOTP(secret)
    present = now // STEP_SECONDS
    for step in (present - 1, present, present + 1):
        same = hmac.compare_digest(totp.generate_otp(step).encode(), digits.encode("utf-8", "replace"))
        if same and step > used:
            return step
    return None


def _is_password(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password.encode("utf-8", "replace"))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


@cache
def _dummy() -> str:
    """Return a hash that no password has, for names that do not exist."""
    return HASHER.hash(secrets.token_bytes(32))
