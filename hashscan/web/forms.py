"""Take forms of our own pages alone: against cross-site request forgery (CSRF).

A form comes with our own `Origin`, and with a token that its page has.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request

from hashscan.service.doors.http.bodies import Body, parse_form, read_all
from hashscan.settings.service import DoorSettings
from hashscan.web.hosts import Site, origin_of
from hashscan.web.rendering import RefusedError

FORM_BYTES_MAX = 64 << 10
FORM_TYPE = "application/x-www-form-urlencoded"

Form = Mapping[str, tuple[str, ...]]


async def form_of(site: Site, door: DoorSettings, request: Request) -> Form:
    """Return the fields of a form that one of our pages has sent; `door` bounds its time.

    Raises:
        RefusedError: it comes from elsewhere, or is no form.
        RequestError, TooLarge, ClientLeftError: it can't be received.
    """
    require_origin(site, request)
    if media_type(request) != FORM_TYPE:
        raise RefusedError("Send a form.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    request.state.body = body = Body(request, door)
    body.accept(FORM_BYTES_MAX)
    data = await read_all(body)
    try:
        return parse_form(data)
    except ValueError:
        raise RefusedError("The form is not valid.", HTTPStatus.BAD_REQUEST) from None


def media_type(request: Request) -> str:
    """Return the type that a request states of its body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_origin(site: Site, request: Request) -> None:
    """Refuse what a page of another site has sent.

    Raises:
        RefusedError: it comes from elsewhere.
    """
    origins = request.headers.getlist("origin")
    if [origin.lower() for origin in origins] != [origin_of(site, request)]:
        raise RefusedError("The form was not sent by one of these pages.")


def require_token(form: Form, token: str, reason: str) -> None:
    """Require that a form has a token.

    Raises:
        RefusedError: it has another one, or none; with this reason.
    """
    given = form.get("csrf", ("",))[-1]
    if not token or not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        raise RefusedError(reason)
