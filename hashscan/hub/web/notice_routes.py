"""Routes by which an organisation's servers fetch notices and answer them; see `hub_api`."""

from __future__ import annotations

import time

from fastapi import FastAPI, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.accounts.keys import HubKey
from hashscan.hub.notices.notices import NoNoticeError, note_fetched, notices_since, take_update
from hashscan.hub.web.description import BODY_ERRORS, described, document_body, response
from hashscan.hub.web.requests import Context, admitted, api, body_of, in_thread, json_answer
from hashscan.hub_api import NOTICES, NoticesAnswer, NoticeUpdate
from hashscan.schema import NUMBER_MAX, decode_json, validated
from hashscan.service.doors.http.documents import ErrorCode, RequestError

_UPDATE_BYTES = 64 << 10
"""Largest answer to a notice in bytes."""
_HOST_MAX = 255


def add_notice_routes(app: FastAPI, context: Context) -> None:
    """Add the routes below `v1/notices`."""

    @api
    async def fetch(
        request: Request,
        since: int = Query(0, ge=0, le=NUMBER_MAX),
        host: str = Query("", max_length=_HOST_MAX),
    ) -> Response:
        key = await admitted(context, request, "cases")
        return json_answer(await in_thread(_fetch, context, key, since, host))

    @api
    async def answer(request: Request, number: int = Path(ge=0, le=NUMBER_MAX)) -> Response:
        key = await admitted(context, request, "cases")
        body = await body_of(context, request, _UPDATE_BYTES, key.organisation)
        update = validated(decode_json(body), NoticeUpdate)
        await in_thread(_answer, context, key, number, update)
        return Response(status_code=204)

    add = app.add_api_route
    add(
        f"/{NOTICES}", fetch, methods=["GET"], summary="Fetch notices",
        **described(
            "cases", response(NoticesAnswer, "Notices that were sent or changed since a position."),
            ErrorCode.INVALID_DOCUMENT,
        ),
    )  # fmt: skip
    add(
        f"/{NOTICES}/{{number}}", answer, methods=["POST"], status_code=204, summary="Answer a notice",
        openapi_extra=document_body(NoticeUpdate),
        **described("cases", {204: {"description": "Stored."}}, *BODY_ERRORS, ErrorCode.NOT_FOUND),
    )  # fmt: skip


def _fetch(context: Context, key: HubKey, since: int, host: str) -> NoticesAnswer:
    now = int(time.time())
    with context.database.reading() as connection:
        answer, new = notices_since(connection, key.organisation, since, host)
    if new or host:
        with context.database.transaction() as connection:
            note_fetched(connection, key.organisation, new, host, now)
    return answer


def _answer(context: Context, key: HubKey, number: int, update: NoticeUpdate) -> None:
    try:
        with context.database.transaction() as connection:
            take_update(connection, key, number, update, int(time.time()))
    except NoNoticeError as error:
        raise RequestError(ErrorCode.NOT_FOUND, str(error)) from None
