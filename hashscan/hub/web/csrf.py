"""Take forms of this hub's own pages alone: against cross-site request forgery (CSRF).

A form comes with this hub's own `Origin`, and with the token of its sender's session; that of somebody who is
not signed in yet, with the token of a cookie of its own.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.web.hosts import origin_of
from hashscan.hub.web.pages.rendering import RefusedError
from hashscan.hub.web.requests import Context, body_of
from hashscan.hub.web.sessions import cookie_of, set_cookie

FORM_BYTES_MAX = 64 << 10
_FIELDS_MAX = 200
_COOKIE = "hashscan-form"

Form = Mapping[str, tuple[str, ...]]


async def form_of(context: Context, request: Request) -> Form:
    """Return the fields of a form that one of this hub's pages has sent.

    Raises:
        RefusedError: it comes from elsewhere, or is no form.
    """
    origins = request.headers.getlist("origin")
    if [origin.lower() for origin in origins] != [origin_of(context, request)]:
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


def require_token(form: Form, token: str, reason: str) -> None:
    """Require that a form has a token.

    Raises:
        RefusedError: it has another one, or none; with this reason.
    """
    given = form.get("csrf", ("",))[-1]
    if not token or not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        raise RefusedError(reason)


def begin_form(context: Context, request: Request) -> str:
    """Return the token of a form for somebody who is not signed in yet: that of his cookie, or a new one."""
    token = form_token(context, request)
    return token if len(token) == 43 and token.isascii() else secrets.token_urlsafe(32)


def form_token(context: Context, request: Request) -> str:
    """Return the token in the cookie of somebody who is not signed in yet; empty if there is none."""
    return cookie_of(context, request, _COOKIE)


def set_form(context: Context, answer: Response, token: str) -> None:
    """Have an answer set the cookie that belongs to such a form."""
    set_cookie(context, answer, _COOKIE, token)
