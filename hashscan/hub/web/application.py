"""Make the FastAPI application of a hub: the HTTP interface for servers, and the pages for people."""

from __future__ import annotations

import functools

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hashscan.hub.web.check_routes import add_check_routes
from hashscan.hub.web.description import described, openapi_document, response
from hashscan.hub.web.intake_routes import add_intake_routes
from hashscan.hub.web.notice_routes import add_notice_routes
from hashscan.hub.web.pages.routes import add_pages
from hashscan.hub.web.pages.visits import client_address, error_page, is_from_proxy
from hashscan.hub.web.requests import JSON, Context, HubErrorCode, api, error_answer, in_thread, json_answer
from hashscan.hub.web.statistics_routes import add_statistics_routes
from hashscan.service.doors.http.app import ClearLengths
from hashscan.service.doors.http.documents import ErrorCode, Health, RequestError


def make_application(context: Context) -> FastAPI:
    """Return the application of a node."""
    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False,
        # Names and addresses go to no collector that happens to be set up.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )  # fmt: skip
    add_health_routes(app, context)
    add_check_routes(app, context)
    add_pages(app, context)
    add_intake_routes(app, context)
    add_notice_routes(app, context)
    add_statistics_routes(app, context)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_defect)
    app.add_middleware(ClearLengths)
    app.add_middleware(_ForwardedClients, context=context)
    return app


class _ForwardedClients:
    """Has a connection from a trusted proxy counted as one of the client that the proxy names."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        count_as = scope.get("state", {}).get("count_as")
        if scope["type"] == "http" and count_as is not None:
            request = Request(scope)
            if is_from_proxy(self._context, request):
                count_as(client_address(self._context, request))
        await self._app(scope, receive, send)


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        code, words = ErrorCode.METHOD_NOT_ALLOWED, "this path has no such method"
    else:
        code, words = ErrorCode.NOT_FOUND, "there is nothing at this path"
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/"):
        sent = error_page(code.status, f"{words.capitalize()}.")
    else:
        sent = error_answer(RequestError(code, words), close=True)
    for name in set(error.headers or {}) & {"Allow", "allow"}:
        sent.headers[name] = (error.headers or {})[name]
    return sent


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    places = {".".join(map(str, each["loc"])) for each in error.errors()}
    text = f"not valid: {', '.join(sorted(places))}"
    return error_answer(RequestError(ErrorCode.INVALID_DOCUMENT, text), close=True)


async def _answer_defect(request: Request, error: Exception) -> Response:
    return error_answer(RequestError(ErrorCode.DEFECT, "a defect of the hub; see its log"), close=True)


def add_health_routes(app: FastAPI, context: Context) -> None:
    """Add the routes that need no key: `/healthz`, `/readyz` and `/openapi.json`."""

    @api
    async def healthz() -> Response:
        """Say that the node runs."""
        return json_answer(Health("ok"))

    @api
    async def readyz() -> Response:
        """Say that the node can use the database."""
        await in_thread(_require_database, context)
        return json_answer(Health("ok"))

    # Anybody may ask for it, and making it takes longer than most requests.
    document = functools.cache(functools.partial(openapi_document, app))

    @api
    async def openapi() -> Response:
        """Describe all paths."""
        return Response(document(), media_type=JSON)

    add = app.add_api_route
    add("/healthz", healthz, methods=["GET"], **described(None, response(Health, "Good.")))
    ready = described(None, response(Health, "Good."), HubErrorCode.DATABASE_AWAY)
    add("/readyz", readyz, methods=["GET"], **ready)
    text = {200: {"description": "This document.", "content": {JSON: {"schema": {"type": "object"}}}}}
    add("/openapi.json", openapi, methods=["GET"], **described(None, text))


def _require_database(context: Context) -> None:
    with context.database.reading() as connection:
        connection.execute(text("SELECT 1"))
