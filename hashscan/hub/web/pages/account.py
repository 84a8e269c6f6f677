"""The pages on which people sign in and out, change their password, and set up a second factor."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hashscan.errors import UsageError
from hashscan.hub.accounts.sessions import end_session, switches
from hashscan.hub.accounts.sign_in import (
    ATTEMPTS,
    ATTEMPTS_PER_SECOND,
    is_password_of,
    limited_address,
    new_second_factor,
    second_factor_uri,
    set_second_factor,
    sign_in,
)
from hashscan.hub.accounts.users import User, hash_password, set_password
from hashscan.hub.web.pages.rendering import page_answer
from hashscan.hub.web.pages.visits import (
    EVERYBODY,
    PageRoute,
    Visit,
    local_path,
    open_page,
    page,
    see_other,
)
from hashscan.hub.web.requests import Context, in_thread
from hashscan.hub.web.sessions import (
    begin_form,
    form_token,
    replace_session,
    session_token,
    set_form,
    set_session,
)
from hashscan.service.doors.http.keys import RequestLimiter
from hashscan.web.forms import form_of, require_token
from hashscan.web.hosts import client_address, cookie_of, set_cookie
from hashscan.web.rendering import NoPageError, RefusedError

REFUSED_SECONDS = 1.0
"""Seconds after which each failed attempt to sign in is answered, so that its time tells nothing."""
_AT_ONCE = 2
"""Passwords that are verified at the same time; each takes 64 MiB."""
_WAITING_MAX = 20
_BROWSER = "hashscan-browser"
_BROWSER_SECONDS = 365 * 86_400
_FAILED = (
    "You are not signed in: name, password or code is wrong, or there were too many attempts by this name. "
    "Each code works once, so wait for the next one."
)


class _Desk:
    """The sign-in of a node: its limits, and the threads that verify passwords."""

    def __init__(self) -> None:
        self.limiter = RequestLimiter()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "passwords")
        self._waiting = 0

    def admit(self, *keys: str) -> None:
        """Count an attempt.

        Raises:
            RefusedError: there were too many.
        """
        now = time.monotonic()
        waits = [self.limiter.wait_seconds(key, ATTEMPTS_PER_SECOND, ATTEMPTS, now) for key in keys]
        if any(waits):
            raise RefusedError(
                "There were too many attempts. Try again in a minute.",
                HTTPStatus.TOO_MANY_REQUESTS,
                int(max(waits)) + 1,
            )

    async def run(self, function: Any, *args: Any) -> Any:
        """Run a function that verifies a password in one of the few threads for this.

        Raises:
            RefusedError: too many wait.
        """
        if self._waiting >= _WAITING_MAX:
            raise RefusedError("Too many people sign in.", HTTPStatus.SERVICE_UNAVAILABLE, 5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        finally:
            self._waiting -= 1


def account_pages(context: Context) -> list[PageRoute]:
    """Return the pages."""
    desk = _Desk()

    async def sign_in_posted(context: Context, request: Request) -> Response:
        return await _sign_in(desk, context, request)

    def change_password(visit: Visit) -> Response:
        return _change_password(desk, visit)

    return [
        open_page(context, "/sign-in", _sign_in_page),
        open_page(context, "/sign-in", sign_in_posted, "POST"),
        page(context, "/sign-out", _sign_out, EVERYBODY, "POST"),
        page(context, "/account", _account, EVERYBODY),
        page(context, "/account/password", _password_page, EVERYBODY),
        page(context, "/account/password", change_password, EVERYBODY, "POST", transaction=False),
        page(context, "/account/second-factor", _factor_page, EVERYBODY),
        page(context, "/account/second-factor", _set_factor, EVERYBODY, "POST"),
    ]


async def _sign_in_page(context: Context, request: Request) -> Response:
    if context.settings.trust_user_header:
        raise NoPageError
    return _form(context, request, local_path(request.query_params.get("next", "/")))


def _form(context: Context, request: Request, path: str, failed: str = "", name: str = "") -> Response:
    token = begin_form(context, request)
    answer = page_answer(
        "sign-in.html",
        HTTPStatus.FORBIDDEN if failed else HTTPStatus.OK,
        title="Sign in",
        user=None,
        csrf=token,
        next=path,
        failed=failed,
        name=name,
    )
    set_form(context, answer, token)
    return answer


async def _sign_in(desk: _Desk, context: Context, request: Request) -> Response:
    if context.settings.trust_user_header:
        raise NoPageError
    form = await form_of(context.settings, context.settings.door, request)
    reason = "The form is too old. Load the page to sign in again."
    require_token(form, form_token(context, request), reason)
    name, password, code, path = (form.get(key, ("",))[-1] for key in ("name", "password", "code", "next"))
    mark = cookie_of(context.settings, request, _BROWSER)
    desk.admit(
        limited_address(client_address(context.settings, request)),
        *([f"browser {mark[:32]}"] if mark else []),
    )
    begun = time.monotonic()
    found = await desk.run(sign_in, context.database, name, password, code, mark, int(time.time()))
    if found is None:
        await asyncio.sleep(max(0.0, begun + REFUSED_SECONDS - time.monotonic()))
        return _form(context, request, local_path(path), _FAILED, name if name.isprintable() else "")
    user, mark = found
    token = await in_thread(_begin, context, session_token(context, request), user)
    answer = see_other(local_path(path))
    set_session(context, answer, token)
    set_cookie(context.settings, answer, _BROWSER, mark, _BROWSER_SECONDS)
    return answer


def _begin(context: Context, old: str, user: User) -> str:
    with context.database.transaction() as connection:
        return replace_session(connection, old, user, int(time.time()))


def _sign_out(visit: Visit) -> Response:
    end_session(visit.connection, visit.session)
    answer = visit.see("/" if visit.context.settings.trust_user_header else "/sign-in")
    set_session(visit.context, answer, "")
    return answer


def _account(visit: Visit) -> Response:
    return visit.page("account.html", "Your account")


def _password_page(visit: Visit, failed: str = "") -> Response:
    if not visit.user.has_password:
        raise NoPageError
    status = HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK
    return visit.page("password.html", "Change your password", status, failed=failed)


def _change_password(desk: _Desk, visit: Visit) -> Response:
    desk.admit(f"user {visit.user.id}")
    old, new, again = (visit.form.get(key, ("",))[-1] for key in ("old", "new", "again"))
    if not is_password_of(visit.context.database, visit.user, old):
        return _password_page(visit, "The present password is wrong.")
    if new != again:
        return _password_page(visit, "The new password was not typed twice in the same way.")
    if new == old:
        return _password_page(visit, "The new password is the present one.")
    try:
        hashed = hash_password(new, visit.user.name)
    except UsageError as error:
        return _password_page(visit, f"{error}.")
    with visit.context.database.transaction() as connection:
        set_password(connection, visit.user, hashed, visit.session.sha256)
    return visit.see("/account")


def _factor_page(visit: Visit, failed: str = "") -> Response:
    secret = new_second_factor(visit.token)
    return visit.page(
        "second-factor.html",
        "Second factor",
        HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK,
        failed=failed,
        is_required=visit.user.role == "operator"
        and switches(visit.connection)["operators_need_second_factor"],
        secret=" ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        uri=second_factor_uri(secret, visit.user),
    )


def _set_factor(visit: Visit) -> Response:
    if visit.user.has_second_factor:
        return _factor_page(visit, "You have a second factor. An operator can remove it.")
    secret = new_second_factor(visit.token)
    if not set_second_factor(visit.connection, visit.user, secret, visit.value("code"), visit.now):
        return _factor_page(visit, "This is not the code that belongs to the secret now.")
    return visit.see("/account")
