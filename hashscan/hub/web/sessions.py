"""Find the session of a request, and set cookies; the sessions are in the database."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.accounts.sessions import Session, begin_session, drop_session, find_session
from hashscan.hub.accounts.sign_in import proxied_user
from hashscan.hub.accounts.users import User
from hashscan.hub.web.requests import Context
from hashscan.web.hosts import cookie_of, is_from_proxy, set_cookie
from hashscan.web.rendering import RefusedError

_COOKIE = "hashscan-session"
_FORM_COOKIE = "hashscan-form"
"""Has the token of a form for somebody who is not signed in yet."""


def session_of(context: Context, request: Request, now: int) -> tuple[Session | None, str, bool]:
    """Return the session of a request, the value of its cookie, and True if the cookie is a new one.

    There is no session if nobody has signed in; behind a proxy that names the user, there is always one.

    Raises:
        RefusedError: the proxy names nobody, or somebody who is no user of the hub.
    """
    token = session_token(context, request)
    with context.database.reading() as connection:
        session = find_session(connection, token, now) if token else None
    if not context.settings.trust_user_header:
        return session, token, False
    session, fresh = _proxied(context, request, session, now)
    return session, fresh or token, bool(fresh)


def _proxied(context: Context, request: Request, session: Session | None, now: int) -> tuple[Session, str]:
    """Return the session of the user whom the proxy names, and the value of its cookie if it is a new one."""
    values = request.headers.getlist(context.settings.trust_user_header)
    if not is_from_proxy(context.settings, request) or len(values) != 1 or not values[0].strip():
        raise RefusedError("Sign in through the hub's proxy.")
    name = values[0].strip().lower()
    if session is not None and session.user.name == name:
        return session, ""
    with context.database.transaction() as connection:
        user = proxied_user(connection, name)
        if user is None:
            raise RefusedError("You are signed in, but you are not a user of this hub. Ask its operator.")
        fresh = begin_session(connection, user.id, now)
        found = find_session(connection, fresh, now)
    assert found is not None
    return found, fresh


def session_token(context: Context, request: Request) -> str:
    """Return the value of the session's cookie; empty if there is none."""
    return cookie_of(context.settings, request, _COOKIE)


def set_session(context: Context, answer: Response, token: str) -> None:
    """Have an answer set the session's cookie; an empty value deletes it."""
    set_cookie(context.settings, answer, _COOKIE, token)


def replace_session(connection: Connection, old: str, user: User, now: int) -> str:
    """Begin a session in place of the one that the browser has, if any; return the value of its cookie."""
    drop_session(connection, old)
    return begin_session(connection, user.id, now)


def begin_form(context: Context, request: Request) -> str:
    """Return the token of a form for somebody who is not signed in yet: that of his cookie, or a new one."""
    token = form_token(context, request)
    return token if len(token) == 43 and token.isascii() else secrets.token_urlsafe(32)


def form_token(context: Context, request: Request) -> str:
    """Return the token in the cookie of somebody who is not signed in yet; empty if there is none."""
    return cookie_of(context.settings, request, _FORM_COOKIE)


def set_form(context: Context, answer: Response, token: str) -> None:
    """Have an answer set the cookie that belongs to such a form."""
    set_cookie(context.settings, answer, _FORM_COOKIE, token)
