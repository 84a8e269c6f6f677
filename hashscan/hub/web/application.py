"""Make the application of a hub: the HTTP interface for servers, and the pages for people."""

from __future__ import annotations

import functools

from sqlalchemy import text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.web.check_routes import check_routes
from hashscan.hub.web.intake_routes import intake_routes, notice_routes
from hashscan.hub.web.pages.rendering import error_page
from hashscan.hub.web.pages.routes import pages
from hashscan.hub.web.requests import Context, HubErrorCode, api, described, in_thread
from hashscan.hub.web.statistics_routes import statistics_routes
from hashscan.service.doors.http.description import DOCUMENT, openapi_document, response
from hashscan.service.doors.http.documents import Health, RequestError
from hashscan.service.doors.http.routing import (
    JSON,
    MethodRoute,
    error_answer,
    json_answer,
    make_starlette,
)
from hashscan.web.hosts import ForwardedClients


def make_application(context: Context) -> Starlette:
    """Return the application of a node."""
    described_routes = [
        *check_routes(context),
        *intake_routes(context),
        *notice_routes(context),
        *statistics_routes(context),
    ]
    return make_starlette(
        [*_health_routes(context, described_routes), *described_routes, *pages(context)],
        Middleware(ForwardedClients, context.settings),
        unrouted=_unrouted,
    )


def _unrouted(request: Request, error: RequestError) -> Response:
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/"):
        return error_page(error.error.status, f"{str(error).capitalize()}.")
    return error_answer(error, close=True)


def _health_routes(context: Context, others: list[MethodRoute]) -> list[MethodRoute]:
    """Return the routes that need no key: `/healthz`, `/readyz` and `/openapi.json`, which describes all."""
    answered = api(context)

    @answered
    async def healthz(request: Request) -> Response:
        """Say that the node runs."""
        return json_answer(Health("ok"))

    @answered
    async def readyz(request: Request) -> Response:
        """Say that the node can use the database."""
        await in_thread(_require_database, context)
        return json_answer(Health("ok"))

    # Anybody may ask for it, and making it takes longer than most requests.
    @functools.cache
    def document() -> bytes:
        return openapi_document(
            [*routes, *others],
            "hashscan hub",
            "Ask about digests, send reports of scans, and fetch notices.",
            "A key of an organisation; see each path for its right.",
        )

    @answered
    async def openapi(request: Request) -> Response:
        """Describe all paths."""
        return Response(document(), media_type=JSON)

    good = response(Health, "Good.")
    routes = [
        MethodRoute("/healthz", healthz, "GET", described(None, good)),
        MethodRoute("/readyz", readyz, "GET", described(None, good, HubErrorCode.DATABASE_AWAY)),
        MethodRoute("/openapi.json", openapi, "GET", described(None, DOCUMENT)),
    ]
    return routes


def _require_database(context: Context) -> None:
    with context.database.reading() as connection:
        connection.execute(text("SELECT 1"))
