"""Make Starlette applications of tables of routes, and answer errors as JSON documents with stable codes.

`hashscan serve` and the hub share this. Starlette sends nothing to a collector of telemetry, unless a
middleware for that is added.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hashscan.errors import HashscanError
from hashscan.schema import InvalidDocumentError, validated
from hashscan.service.doors.http.bodies import Body, ClientLeftError
from hashscan.service.doors.http.documents import ErrorCode, RequestError
from hashscan.settings.service import DoorSettings

T = TypeVar("T", bound=Struct)
Endpoint = Callable[[Request], Awaitable[Response]]

JSON = "application/json"


class MethodRoute(Route):
    """A route of one method; unlike Starlette's, a GET does not admit HEAD."""

    def __init__(
        self, path: str, endpoint: Endpoint, method: str = "GET", operation: Mapping[str, Any] | None = None
    ) -> None:
        """Make a route.

        Args:
            operation: the description for OpenAPI, see `described`; None for a route that it does not have.
        """
        super().__init__(path, endpoint, methods=[method])
        self.method = method
        self.methods = {method}
        self.operation = operation


def make_starlette(
    routes: Sequence[Route],
    *middleware: Middleware,
    unrouted: Callable[[Request, RequestError], Response] | None = None,
) -> Starlette:
    """Return an application.

    Args:
        middleware: the outermost first.
        unrouted: answers where there is no path or no method; None for a JSON document.
    """

    async def answer_unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            found = RequestError(ErrorCode.METHOD_NOT_ALLOWED, "this path has no such method")
        else:
            found = RequestError(ErrorCode.NOT_FOUND, "there is nothing at this path")
        answer = error_answer(found, close=True) if unrouted is None else unrouted(request, found)
        answer.headers.update(error.headers or {})
        return answer

    app = Starlette(
        routes=routes,
        middleware=[*middleware, Middleware(ClearLengths)],
        exception_handlers={HTTPException: answer_unrouted, Exception: _answer_defect},
    )
    app.router.redirect_slashes = False
    return app


def answering(
    settings: DoorSettings, request_error: Callable[[Exception], RequestError]
) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that has the errors of a route answered as JSON documents.

    The state of a request has its `body`, and what is left of that is dropped before an error is answered.

    Args:
        settings: have the times in which a body must come.
        request_error: returns how an error is answered; raises it again if it is a defect.
    """

    def decorated(route: Endpoint) -> Endpoint:
        @functools.wraps(route)
        async def answered(request: Request) -> Response:
            request.state.body = Body(request, settings)
            try:
                answer = await route(request)
                if not request.state.body.complete:
                    answer.headers["Connection"] = "close"
                return answer
            except ClientLeftError:
                return Response(status_code=HTTPStatus.BAD_REQUEST)  # it is sent to nobody
            except asyncio.CancelledError:
                # By the end of the server; uvicorn sends no answer of its own then.
                return error_answer(RequestError(ErrorCode.STOPPING, "the server stops"), close=True)
            except (HashscanError, InvalidDocumentError) as trouble:
                error = request_error(trouble)
            body: Body = request.state.body
            if error.error is not ErrorCode.TOO_SLOW:
                await body.drop()
            # Where the length is not clear, another server may take the next bytes for another request.
            unclear = error.error is ErrorCode.INVALID_REQUEST
            return error_answer(error, close=unclear or not body.complete)

        return answered

    return decorated


def query_of(request: Request, shape: type[T]) -> T:
    """Return the parameters of an address; others are ignored.

    Raises:
        InvalidDocumentError: one is missing, not valid, or sent twice, so that another server could read the
            other one.
    """
    values = request.query_params
    known = {name: values.getlist(name) for name in shape.__struct_encode_fields__}
    if twice := [name for name, texts in known.items() if len(texts) > 1]:
        raise InvalidDocumentError(f"{twice[0]}: sent twice")
    return validated({name: texts[0] for name, texts in known.items() if texts}, shape, strict=False)


def json_answer(document: Any, status: int = HTTPStatus.OK) -> Response:
    """Return an answer with a document."""
    return Response(msgspec.json.encode(document), status, media_type=JSON)


def error_answer(error: RequestError, *, close: bool = False) -> Response:
    """Return the answer that tells an error."""
    headers = {**error.headers, **({"Connection": "close"} if close else {})}
    return Response(error.body, error.error.status, headers, media_type=JSON)


async def _answer_defect(request: Request, error: Exception) -> Response:
    return error_answer(RequestError(ErrorCode.DEFECT, "a defect of the server; see its log"), close=True)


class ClearLengths:
    """Refuses requests that have two lengths, whatever their path and key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it and end its connection."""
        answer: ASGIApp = self._app
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            text = "the request has a Content-Length and a Transfer-Encoding"
            answer = error_answer(RequestError(ErrorCode.INVALID_REQUEST, text), close=True)
        await answer(scope, receive, send)
