"""Admit people to a hub's pages: who visits, from where, with which role; and answer with pages.

Each page is a function that gets a `Visit` in a thread, within one transaction, and declares the roles that
may use it; a page that others may not see answers as a missing one. A POST has a session's CSRF token and
this hub's own `Origin`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import Connection
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hashscan.errors import HashscanError, UsageError
from hashscan.hub.accounts.sessions import (
    Session,
    note_session,
    switches,
)
from hashscan.hub.accounts.users import ROLES, User
from hashscan.hub.storage.database import DatabaseAwayError, DatabaseError, DeletedMeanwhileError
from hashscan.hub.web.pages.rendering import error_page, page_answer
from hashscan.hub.web.requests import DATABASE_SECONDS, Context, in_thread
from hashscan.hub.web.sessions import session_of, set_session
from hashscan.service.doors.http.bodies import ClientLeftError
from hashscan.service.doors.http.documents import RequestError
from hashscan.service.doors.http.routing import Endpoint, MethodRoute
from hashscan.service.engine.uploads import TooLarge
from hashscan.text import printable
from hashscan.web.forms import Form, form_of, require_token
from hashscan.web.hosts import require_host
from hashscan.web.rendering import NoPageError, RefusedError

EVERYBODY: tuple[str, ...] = ROLES
STAFF = ("operator", "reviewer", "viewer")
REVIEWERS = ("operator", "reviewer")
OPERATORS = ("operator",)
_SET_UP = frozenset({"/account", "/account/password", "/account/second-factor", "/sign-out"})
"""Pages for one who must change his password, or set up a second factor, before he sees others."""

_log = logging.getLogger(__name__)


_REFUSALS: Mapping[type[Exception], tuple[int, str]] = {
    NoPageError: (HTTPStatus.NOT_FOUND, "There is no such page, or not for you."),
    TooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too large."),
    DeletedMeanwhileError: (HTTPStatus.CONFLICT, "This was deleted meanwhile, so nothing was changed."),
}


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page, by a user whose role may use it."""

    context: Context
    connection: Connection
    session: Session
    path: Mapping[str, str]
    """The parts of the path that vary."""
    query: Mapping[str, str]
    form: Form
    now: int
    token: str
    """Value of the session's cookie."""

    @property
    def user(self) -> User:
        """The user."""
        return self.session.user

    @property
    def organisation(self) -> int | None:
        """The only organisation whose data the user may see; None for all."""
        return self.user.organisation

    def is_one_of(self, roles: Collection[str]) -> bool:
        """Return True if the user has one of these roles."""
        return self.user.role in roles

    def value(self, name: str) -> str:
        """Return a field of the form, without spaces around it; empty if it was not sent."""
        return self.form.get(name, ("",))[-1].strip()

    def number(self) -> int:
        """Return the number in the path.

        Raises:
            NoPageError: there is none that a row can have.
        """
        text = self.path["number"]
        if not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise NoPageError
        return int(text)

    def page(self, template: str, title: str, status: int = HTTPStatus.OK, **values: Any) -> Response:
        """Return a page."""
        return page_answer(
            template,
            status,
            title=printable(title),
            user=self.user,
            csrf=self.session.csrf,
            now=self.now,
            by_proxy=bool(self.context.settings.trust_user_header),
            **values,
        )

    def see(self, path: str) -> Response:
        """Return an answer that sends the browser to another page of this hub."""
        return see_other(path)


def see_other(path: str) -> Response:
    """Return an answer that sends the browser to another page of this hub."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def local_path(text: str) -> str:
    """Return a path of this hub, with its query; `/` for everything else, which may lead to another site."""
    if not text.startswith("/") or text[1:2] in {"/", "\\"} or not text.isprintable() or "\\" in text:
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc else text


PageFunction = Callable[[Visit], Response]


class PageRoute(MethodRoute):
    """The route of a page."""

    def __init__(
        self, path: str, endpoint: Endpoint, method: str = "GET", roles: tuple[str, ...] = ()
    ) -> None:
        """Make a route; `roles` may use it, or everybody."""
        super().__init__(path, endpoint, method)
        self.roles = roles


def page(
    context: Context,
    path: str,
    function: PageFunction,
    roles: tuple[str, ...],
    method: str = "GET",
    *,
    transaction: bool | None = None,
) -> PageRoute:
    """Return a page that users with one of some roles may use.

    Args:
        transaction: True if the function makes changes by the visit's connection, which are undone if it
            raises; by default for a POST.
    """
    writes = method == "POST" if transaction is None else transaction

    async def answered(request: Request) -> Response:
        return await guarded(context, request, _visited(context, request, function, roles, writes))

    return PageRoute(path, answered, method, roles)


def open_page(context: Context, path: str, function: Any, method: str = "GET") -> PageRoute:
    """Return a page for everybody: a coroutine function that gets the context and the request."""

    async def answered(request: Request) -> Response:
        return await guarded(context, request, function(context, request))

    return PageRoute(path, answered, method)


async def guarded(context: Context, request: Request, answering: Coroutine[Any, Any, Response]) -> Response:
    """Await an answer; return errors as pages."""
    try:
        require_host(context.settings, request)
        return await answering
    except ClientLeftError:
        return Response(status_code=HTTPStatus.BAD_REQUEST)  # it is sent to nobody
    except (NoPageError, TooLarge, DeletedMeanwhileError) as error:
        return error_page(*_REFUSALS[type(error)])
    except RefusedError as error:
        answer = error_page(error.status, str(error))
        if error.retry_after:
            answer.headers["Retry-After"] = str(error.retry_after)
        return answer
    except UsageError as error:
        return error_page(HTTPStatus.BAD_REQUEST, str(error))
    except RequestError as error:
        return error_page(error.error.status, str(error))
    except DatabaseAwayError as error:
        _log.error("%s", error)
        answer = error_page(
            HTTPStatus.SERVICE_UNAVAILABLE, "The database can't be reached now. Try again in some seconds."
        )
        answer.headers["Retry-After"] = str(DATABASE_SECONDS)
        return answer
    except HashscanError:
        _log.exception("a page can't be made")
        return error_page(HTTPStatus.INTERNAL_SERVER_ERROR, "The page can't be made. See the hub's log.")
    finally:
        answering.close()


def sentence(error: UsageError) -> str:
    """Return an error and its remedy as sentences, for the person who has sent a form."""
    text = str(error)
    return f"{text[0].upper()}{text[1:]}. {error.remedy}".strip()


async def _visited(
    context: Context, request: Request, function: PageFunction, roles: tuple[str, ...], writes: bool
) -> Response:
    form: Form = {}
    if request.method == "POST":
        form = await form_of(context.settings, context.settings.door, request)
    return await in_thread(_visit, context, request, function, roles, writes, form)


def _visit(
    context: Context,
    request: Request,
    function: PageFunction,
    roles: tuple[str, ...],
    writes: bool,
    form: Form,
) -> Response:
    now = int(time.time())
    session, token, is_new = session_of(context, request, now)
    if session is None:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return see_other(
            f"/sign-in?next={quote(path, safe='')}" if request.method == "GET" and path != "/" else "/sign-in"
        )
    opened = context.database.transaction if writes else context.database.reading
    with opened() as connection:
        if request.method == "POST":
            require_token(form, session.csrf, "The form is too old. Load its page again.")
        if session.user.role not in roles:
            raise NoPageError
        todo = _to_set_up(connection, context, session.user)
        if todo and request.url.path not in _SET_UP:
            return see_other(todo)
        visit = Visit(
            context,
            connection,
            session,
            request.path_params,
            {name: value.replace("\0", "") for name, value in request.query_params.items()},
            form,
            now,
            token,
        )
        answer = function(visit)
    # After the answer, since it may have to wait for other writers.
    answer.background = BackgroundTask(_after, context, session, now)
    if is_new:
        set_session(context, answer, token)
    return answer


def _after(context: Context, session: Session, now: int) -> None:
    try:
        note_session(context.database, session, now)
        context.slow_answers.renew(context.database)
    except DatabaseError as error:
        _log.error("%s", error)


def _to_set_up(connection: Connection, context: Context, user: User) -> str:
    """Return the page with what a user has to do first; empty if there is nothing."""
    if context.settings.trust_user_header:
        return ""
    if user.must_change:
        return "/account/password"
    if user.role == "operator" and not user.has_second_factor:
        return "/account/second-factor" if switches(connection)["operators_need_second_factor"] else ""
    return ""
