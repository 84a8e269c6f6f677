"""Routes of the public statistics: released figures alone, without a key, for caches, too.

While nothing is public, they answer with status 404.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.statistics.page import Published, csv_parts, html_parts, json_parts
from hashscan.hub.statistics.publications import Publication, public_state, publications
from hashscan.hub.web.requests import Context, HubErrorCode, api, described, in_thread
from hashscan.service.doors.http.description import Responses, response, text_response
from hashscan.service.doors.http.documents import ErrorCode, RequestError
from hashscan.service.doors.http.routing import Endpoint, MethodRoute

Parts = Callable[[list[Publication]], Iterator[bytes]]
_HTML = "text/html"
_FORMS: dict[str, tuple[Parts, str, Responses]] = {
    "/statistics": (
        html_parts,
        _HTML,
        text_response("A page with charts.", _HTML) | text_response("Nothing is published.", _HTML, 404),
    ),
    "/statistics.csv": (csv_parts, "text/csv", text_response("A table.", "text/csv")),
    "/statistics.json": (json_parts, "application/json", response(Published, "Figures and answers.")),
}
_CACHED_SECONDS = 300
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def statistics_routes(context: Context) -> list[MethodRoute]:
    """Return the public page, and the same figures as CSV and JSON."""
    unchanged = {304: {"description": "The figures that the client has (`If-None-Match`)."}}
    return [
        MethodRoute(
            path, _route(context, parts, media_type), "GET",
            described(
                None, answered | unchanged, HubErrorCode.DATABASE_AWAY,
                *(() if media_type == _HTML else (ErrorCode.NOT_FOUND,)),
                summary="Read the public figures",
            ),
        )
        for path, (parts, media_type, answered) in _FORMS.items()
    ]  # fmt: skip


def _route(context: Context, parts: Parts, media_type: str) -> Endpoint:
    """Return the route of one form of the figures.

    Args:
        context: the parts of the node.
        parts: yields the document.
        media_type: its type.
    """

    made = _Made(context, parts)

    @api(context)
    async def answer(request: Request) -> Response:
        body, is_public = await in_thread(made.document)
        if not is_public and media_type != _HTML:
            raise RequestError(ErrorCode.NOT_FOUND, "nothing is published")
        if not is_public:
            return Response(body, HTTPStatus.NOT_FOUND, _HEADERS, media_type)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"Cache-Control": f"public, max-age={_CACHED_SECONDS}", "ETag": tag, **_HEADERS}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(body, headers=headers, media_type=media_type)

    return answer


class _Made:
    """One form of the figures; it is made again only when others are public, since anybody may ask for it."""

    def __init__(self, context: Context, parts: Parts) -> None:
        self._context = context
        self._parts = parts
        self._making = threading.Lock()
        self._state: object = None
        self._document = b"", False

    def document(self) -> tuple[bytes, bool]:
        """Return the document, and True if anything is public."""
        with self._making, self._context.database.reading() as connection:
            state = public_state(connection)
            if state != self._state:
                found = publications(connection, public=True)
                self._document = b"".join(self._parts(found)), bool(found)
                self._state = state
            return self._document
