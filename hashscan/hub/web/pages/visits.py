"""Admit people to a hub's pages: who visits, from where, with which role; and answer with pages.

Each page is a function that gets a `Visit` in a thread, within one transaction, and declares the roles that
may use it; a page that others may not see answers as a missing one. A POST has a session's CSRF token and
this hub's own `Origin`. The Host header is used for nothing but to be compared.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from sqlalchemy import Connection
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hashscan.errors import HashscanError, UsageError
from hashscan.hub.accounts.sessions import (
    Session,
    begin_session,
    drop_session,
    find_session,
    note_session,
    switches,
)
from hashscan.hub.accounts.sign_in import proxied_user
from hashscan.hub.accounts.users import ROLES, User
from hashscan.hub.storage.database import DatabaseAwayError, DatabaseError, DeletedMeanwhileError
from hashscan.hub.web.pages.rendering import page_answer
from hashscan.hub.web.requests import DATABASE_SECONDS, Context, body_of, in_thread
from hashscan.service.doors.http.bodies import ClientLeftError
from hashscan.service.doors.http.documents import RequestError
from hashscan.service.doors.http.routing import Endpoint, MethodRoute
from hashscan.service.engine.uploads import TooLarge
from hashscan.settings.service import UnixAddress
from hashscan.text import printable

FORM_BYTES_MAX = 64 << 10
_FIELDS_MAX = 200
EVERYBODY: tuple[str, ...] = ROLES
STAFF = ("operator", "reviewer", "viewer")
REVIEWERS = ("operator", "reviewer")
OPERATORS = ("operator",)
_SESSION, _FORM = "hashscan-session", "hashscan-form"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SET_UP = frozenset({"/account", "/account/password", "/account/second-factor", "/sign-out"})
"""Pages for one who must change his password, or set up a second factor, before he sees others."""

_log = logging.getLogger(__name__)


class NoPageError(Exception):
    """A page that does not exist, or not for this user."""


class RefusedError(Exception):
    """A request that is refused, with the reason for its sender."""

    def __init__(self, reason: str, status: int = HTTPStatus.FORBIDDEN, retry_after: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


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
    form: Mapping[str, tuple[str, ...]]
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
        _require_host(context, request)
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
    # The remedy of all such errors is about the command line.
    remedy = "" if error.remedy == UsageError.advice else error.remedy
    return f"{text[0].upper()}{text[1:]}. {remedy}".strip()


def error_page(status: int, reason: str) -> Response:
    """Return a page with a reason."""
    return page_answer("error.html", status, title=HTTPStatus(status).phrase, reason=reason, user=None)


async def _visited(
    context: Context, request: Request, function: PageFunction, roles: tuple[str, ...], writes: bool
) -> Response:
    form: Mapping[str, tuple[str, ...]] = {}
    if request.method == "POST":
        form = await form_of(context, request)
    return await in_thread(_visit, context, request, function, roles, writes, form)


def _visit(
    context: Context,
    request: Request,
    function: PageFunction,
    roles: tuple[str, ...],
    writes: bool,
    form: Mapping[str, tuple[str, ...]],
) -> Response:
    now = int(time.time())
    token = request.cookies.get(cookie_name(context, _SESSION), "")
    fresh = ""
    with context.database.reading() as connection:
        session = find_session(connection, token, now) if token else None
    if context.settings.trust_user_header:
        session, fresh = _proxied(context, request, session, now)
        token = fresh or token
    if session is None:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return see_other(
            f"/sign-in?next={quote(path, safe='')}" if request.method == "GET" and path != "/" else "/sign-in"
        )
    opened = context.database.transaction if writes else context.database.reading
    with opened() as connection:
        if request.method == "POST" and not _same(form.get("csrf", ("",))[-1], session.csrf):
            raise RefusedError("The form is too old. Load its page again.")
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
    if fresh:
        set_session(context, answer, fresh)
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


def _proxied(context: Context, request: Request, session: Session | None, now: int) -> tuple[Session, str]:
    """Return the session of the user whom the proxy names, and the value of its cookie if it is a new one."""
    values = request.headers.getlist(context.settings.trust_user_header)
    if not is_from_proxy(context, request) or len(values) != 1 or not values[0].strip():
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


def is_from_proxy(context: Context, request: Request) -> bool:
    """Return True if a request came by a Unix socket, or from the address of a trusted proxy."""
    if isinstance(context.settings.address, UnixAddress):
        return True
    try:
        address = ip_address(peer_of(request))
    except ValueError:
        return False
    return any(address in network for network in context.settings.trusted_proxies)


def peer_of(request: Request) -> str:
    """Return the address at the other end of the connection, without brackets and port."""
    return "" if request.client is None else request.client.host


def client_address(context: Context, request: Request) -> str:
    """Return the address of the client: the last one that a trusted proxy has seen."""
    if is_from_proxy(context, request):
        seen = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
        if seen:
            return seen
    return peer_of(request)


def is_secure(context: Context) -> bool:
    """Return True if browsers reach the hub by TLS, its own or a proxy's."""
    settings = context.settings
    if settings.public_url:
        return settings.public_url.startswith("https:")
    return settings.tls is not None and not isinstance(settings.address, UnixAddress)


def _require_host(context: Context, request: Request) -> None:
    """Refuse a Host header that is not the hub's, so that no other site's name leads here."""
    hosts = request.headers.getlist("host")
    host = hosts[0].lower() if len(hosts) == 1 else ""
    if context.settings.public_url:
        known = host == urlsplit(context.settings.public_url).netloc.lower()
    else:
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        known = (is_secure(context) and bool(host)) or name in _LOOPBACK
    if not known:
        raise RefusedError(
            "The hub is not reached by its own name. Its operator sets that with --public-url.",
            HTTPStatus.MISDIRECTED_REQUEST,
        )


def _origin(context: Context, request: Request) -> str:
    if context.settings.public_url:
        parts = urlsplit(context.settings.public_url)
        return f"{parts.scheme}://{parts.netloc}".lower()
    return f"{'https' if is_secure(context) else 'http'}://{request.headers['host']}".lower()


async def form_of(context: Context, request: Request) -> Mapping[str, tuple[str, ...]]:
    """Return the fields of a form that one of this hub's pages has sent.

    Raises:
        RefusedError: it comes from elsewhere, or is no form.
    """
    origins = request.headers.getlist("origin")
    if [origin.lower() for origin in origins] != [_origin(context, request)]:
        raise RefusedError("The form was not sent by a page of this hub.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RefusedError("Send a form.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    data = await body_of(context, request, FORM_BYTES_MAX)
    fields: dict[str, tuple[str, ...]] = {}
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX
        )
    except ValueError:
        raise RefusedError("The form is not valid.", HTTPStatus.BAD_REQUEST) from None
    for name, value in pairs:
        fields[name] = (*fields.get(name, ()), value.replace("\0", ""))
    return fields


def cookie_name(context: Context, name: str) -> str:
    """Return the full name of a cookie; behind TLS, browsers take it from this very host only."""
    return f"__Host-{name}" if is_secure(context) else name


def set_session(context: Context, answer: Response, token: str) -> None:
    """Have an answer set the session's cookie."""
    set_cookie(context, answer, _SESSION, token)


def session_token(context: Context, request: Request) -> str:
    """Return the value of the session's cookie; empty if there is none."""
    return request.cookies.get(cookie_name(context, _SESSION), "")


def set_cookie(context: Context, answer: Response, name: str, value: str, max_age: int | None = None) -> None:
    """Have an answer set a cookie; an empty value deletes it."""
    answer.set_cookie(
        cookie_name(context, name),
        value,
        max_age=max_age if value else 0,
        path="/",
        secure=is_secure(context),
        httponly=True,
        samesite="lax",
    )


def end_cookie(context: Context, answer: Response) -> None:
    """Have an answer delete the session's cookie."""
    set_cookie(context, answer, _SESSION, "")


def begin_form(context: Context, request: Request) -> str:
    """Return the token of a form for somebody who is not signed in yet: that of his cookie, or a new one."""
    token = request.cookies.get(cookie_name(context, _FORM), "")
    return token if len(token) == 43 and token.isascii() else secrets.token_urlsafe(32)


def set_form(context: Context, answer: Response, token: str) -> None:
    """Have an answer set the cookie that belongs to such a form."""
    set_cookie(context, answer, _FORM, token)


def is_own_form(context: Context, request: Request, form: Mapping[str, tuple[str, ...]]) -> bool:
    """Return True if the token of such a form is that of the cookie."""
    token = request.cookies.get(cookie_name(context, _FORM), "")
    return bool(token) and _same(form.get("csrf", ("",))[-1], token)


def replace_session(connection: Connection, old: str, user: User, now: int) -> str:
    """Begin a session in place of the one that the browser has, if any; return the value of its cookie."""
    drop_session(connection, old)
    return begin_session(connection, user.id, now)


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
