"""Make the application of the public form: `GET /` shows it, `POST /v1/notices` takes a notice.

A form of the page is answered by a page, a JSON document by JSON. No other body is taken, so that no picture
can be sent: a multipart is refused by its type. A form needs this server's own `Origin`; a document of JSON
can't be sent by a page of another site without this server's consent, which it never gives.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from hashscan.attribution.customers import Customers
from hashscan.attribution.sites import Sites
from hashscan.cases.form_spool import EXPLANATION_MAX, URLS_MAX, Spool, SpooledNotice, SpoolFullError
from hashscan.notice_form.notices import InvalidFieldError, NoticeRequest, Receipt, checked
from hashscan.notice_form.rates import Rates
from hashscan.schema import InvalidDocumentError, decode_json, validated
from hashscan.service.doors.http.bodies import Body, parse_form, read_all
from hashscan.service.doors.http.description import (
    BODY_ERRORS,
    DOCUMENT,
    described,
    document_body,
    openapi_document,
    response,
)
from hashscan.service.doors.http.documents import AnyErrorCode, ErrorCode, Health, RequestError
from hashscan.service.doors.http.routing import (
    JSON,
    MethodRoute,
    answering,
    error_answer,
    json_answer,
    make_starlette,
)
from hashscan.service.engine.uploads import TooLarge
from hashscan.settings.notice_form import FormSettings
from hashscan.timefmt import format_utc_seconds
from hashscan.web.forms import FORM_TYPE, Form, media_type, require_origin
from hashscan.web.hosts import ForwardedClients, client_address, require_host
from hashscan.web.rendering import RefusedError, Renderer

BODY_MAX = 512 << 10
"""Longest body in bytes: the longest explanation in any script, and some hundred addresses."""
_FULL_SECONDS = 600
_SUBJECTS = (
    ("child_sexual_abuse", "Sexual abuse of children"),
    ("other", "Something else"),
)
_LABELS = {
    "urls": "Web addresses",
    "explanation": "Why it is illegal",
    "name": "Your name",
    "email": "Your e-mail address",
    "good_faith": "Good faith",
}
_TEXTS = ("subject", "explanation", "name", "email", "submission")
_RENDERER = Renderer(Path(__file__).with_name("templates"))

_log = logging.getLogger(__name__)


class FormErrorCode(AnyErrorCode):
    """The errors that the form has besides those of `hashscan serve`."""

    FORBIDDEN = "forbidden", 403
    """A form of another site's page."""
    MISDIRECTED = "misdirected", 421
    """The `Host` is not this server's."""
    UNSUPPORTED = "unsupported", 415
    """Neither a form without files nor JSON."""
    SPOOL_FULL = "spool_full", 503
    """Too many notices wait, or the disk is full."""


@dataclass(frozen=True, slots=True)
class FormContext:
    """The parts of a server of the form."""

    settings: FormSettings
    spool: Spool
    sites: Sites
    customers: Customers
    rates: Rates
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


def make_application(context: FormContext) -> Starlette:
    """Return the application."""
    answered = answering(context.settings.door, _request_error)

    @answered
    async def healthz(request: Request) -> Response:
        """Say that the server runs."""
        return json_answer(Health("ok"))

    @answered
    async def take(request: Request) -> Response:
        """Take a notice, and answer with its receipt once it is on the disk."""
        if media_type(request) == FORM_TYPE:
            return await _take_form(context, request)
        notice = await _received(context, request, JSON)
        return json_answer(_receipt(notice), HTTPStatus.CREATED)

    async def show(request: Request) -> Response:
        """Show the form."""
        try:
            require_host(context.settings, request)
        except RefusedError as error:
            return _error_page(context, error.status, str(error))
        return _form_page(context, HTTPStatus.OK, {})

    @answered
    async def openapi(request: Request) -> Response:
        """Describe all paths."""
        return Response(document, media_type=JSON)

    taken = described(
        None, response(Receipt, "The receipt.", status=HTTPStatus.CREATED), *BODY_ERRORS, *FormErrorCode,
        ErrorCode.RATE_LIMITED, body=document_body(NoticeRequest, FORM_TYPE),
    )  # fmt: skip
    routes = [
        MethodRoute("/healthz", healthz, "GET", described(None, response(Health, "Good."))),
        MethodRoute("/openapi.json", openapi, "GET", described(None, DOCUMENT)),
        MethodRoute("/v1/notices", take, "POST", taken),
    ]
    document = openapi_document(routes, "hashscan notices", "Send notices of illegal content.", "No key.")

    def unrouted(request: Request, error: RequestError) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return _error_page(context, error.error.status, "There is nothing at this address.")
        return error_answer(error, close=True)

    return make_starlette(
        [*routes, MethodRoute("/", show), MethodRoute("/static/{name}", _RENDERER.static)],
        Middleware(ForwardedClients, context.settings),
        unrouted=unrouted,
    )


async def _take_form(context: FormContext, request: Request) -> Response:
    """Answer a form of the page: with a receipt, or with the form and what is wrong in it."""
    values: dict[str, Any] = {}
    try:
        notice = await _received(context, request, FORM_TYPE, values)
    except InvalidFieldError as error:
        failed = f"{_LABELS[error.field]}: {error.reason}"
        return _form_page(context, HTTPStatus.UNPROCESSABLE_ENTITY, values, failed, error.field)
    except InvalidDocumentError as error:
        return _form_page(context, HTTPStatus.UNPROCESSABLE_ENTITY, values, str(error))
    except (RequestError, TooLarge) as trouble:
        refused = _request_error(trouble)
        body: Body = request.state.body
        if refused.error is not ErrorCode.TOO_SLOW:
            await body.drop()
        answer = _error_page(context, refused.error.status, f"{str(refused).capitalize()}.")
        answer.headers.update(refused.headers)
        return answer
    receipt = _receipt(notice)
    return _page(
        context, "receipt.html", HTTPStatus.CREATED, title="Received", receipt=receipt,
        received=notice.received,
    )  # fmt: skip


async def _received(
    context: FormContext, request: Request, kind: str, values: dict[str, Any] | None = None
) -> SpooledNotice:
    """Return the notice of a request when it is on the disk.

    Args:
        values: gets the fields of a form, to be shown again.

    Raises:
        RequestError, TooLarge, ClientLeftError: it is refused.
        InvalidDocumentError: a field is not valid.
    """
    try:
        require_host(context.settings, request)
        if kind == FORM_TYPE or "origin" in request.headers:
            require_origin(context.settings, request)
    except RefusedError as error:
        is_host = error.status == HTTPStatus.MISDIRECTED_REQUEST
        code = FormErrorCode.MISDIRECTED if is_host else FormErrorCode.FORBIDDEN
        raise RequestError(code, str(error)) from None
    if media_type(request) != kind:
        raise RequestError(FormErrorCode.UNSUPPORTED, "send JSON, or the form of the page, without a file")
    context.rates.admit(client_address(context.settings, request))
    body: Body = request.state.body
    body.accept(BODY_MAX)
    data = await read_all(body)
    if values is None:
        document = decode_json(data, unique_keys=True)
    else:
        try:
            values.update(_fields(parse_form(data)))
        except ValueError:
            raise InvalidDocumentError("the form is not valid") from None
        document = {**values, "urls": values["urls"].split()}
    notice = validated(document, NoticeRequest)
    # In a thread, since rules may look into folders; one after another, so that the spool's limit holds.
    async with context.writing:
        return await asyncio.to_thread(_store, context, notice)


def _fields(form: Form) -> dict[str, Any]:
    """Return the fields of a form, of which unknown ones are an error."""
    if unknown := sorted(form.keys() - {*_TEXTS, "urls", "good_faith"}):
        raise InvalidDocumentError(f"{unknown[0]}: there is no such field")
    return {
        **{name: form.get(name, ("",))[-1] for name in (*_TEXTS, "urls")},
        "good_faith": "good_faith" in form,
    }


def _store(context: FormContext, request: NoticeRequest) -> SpooledNotice:
    notice = checked(request, int(time.time()), context.sites, context.customers)
    context.rates.count()
    try:
        return context.spool.add(notice)
    except SpoolFullError:
        _log.error("a notice was refused: the spool is full; run `hashscan cases list` to take its notices")
    except OSError as error:
        _log.error("a notice was refused: the spool can't be written: %s", error.strerror)
    text = "no more notices can be stored now; send this again later"
    raise RequestError(FormErrorCode.SPOOL_FULL, text, _FULL_SECONDS)


def _receipt(notice: SpooledNotice) -> Receipt:
    return Receipt(notice.reference, format_utc_seconds(notice.received), len(notice.urls))


def _request_error(error: Exception) -> RequestError:
    """Return how an error is answered; raise it again if it is a defect."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, InvalidDocumentError):
        return RequestError(ErrorCode.INVALID_DOCUMENT, str(error))
    if isinstance(error, TooLarge):
        return RequestError(ErrorCode.TOO_LARGE, str(error))
    raise error


def _page(context: FormContext, template: str, status: int, **values: Any) -> Response:
    reporter = context.settings.reporter
    return _RENDERER.page(
        template,
        status,
        user=None,
        operator="" if reporter is None else reporter.organisation,
        contact="" if reporter is None else reporter.email,
        **values,
    )


def _error_page(context: FormContext, status: int, reason: str) -> Response:
    return _page(context, "error.html", status, title=HTTPStatus(status).phrase, reason=reason)


def _form_page(
    context: FormContext, status: int, values: Mapping[str, Any], failed: str = "", wrong: str = ""
) -> Response:
    """Return the form.

    Args:
        failed: says what is wrong.
        wrong: name of the field that it is about.
    """
    empty: dict[str, Any] = dict.fromkeys((*_TEXTS, "urls"), "")
    return _page(
        context, "form.html", status, title="Report illegal content", failed=failed, wrong=wrong,
        form={**empty, "good_faith": False, **values}, subjects=_SUBJECTS, urls_max=URLS_MAX,
        explanation_max=EXPLANATION_MAX,
        submission=str(values.get("submission") or secrets.token_urlsafe(16)),
    )  # fmt: skip
