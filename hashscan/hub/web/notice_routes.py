"""Routes by which an organisation's servers fetch notices and answer them; see `hub_api`."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.accounts.keys import HubKey
from hashscan.hub.notices.notices import NoNoticeError, note_fetched, notices_since, take_update
from hashscan.hub.web.requests import Context, admitted, api, body_of, described, in_thread
from hashscan.hub_api import NOTICES, NoticesAnswer, NoticeUpdate
from hashscan.schema import Count, decode_json, validated
from hashscan.service.doors.http.description import BODY_ERRORS, document_body, parameters, response
from hashscan.service.doors.http.documents import ErrorCode, RequestError
from hashscan.service.doors.http.routing import MethodRoute, json_answer, query_of

_UPDATE_BYTES = 64 << 10
"""Largest answer to a notice in bytes."""
_HOST_MAX = 255


class _FetchQuery(Struct):
    since: Count = 0
    host: Annotated[str, Meta(max_length=_HOST_MAX)] = ""


class _NoticePath(Struct):
    number: Count


def notice_routes(context: Context) -> list[MethodRoute]:
    """Return the routes below `v1/notices`."""
    answered = api(context)

    @answered
    async def fetch(request: Request) -> Response:
        key = await admitted(context, request, "cases")
        asked = query_of(request, _FetchQuery)
        return json_answer(await in_thread(_fetch, context, key, asked.since, asked.host))

    @answered
    async def answer(request: Request) -> Response:
        key = await admitted(context, request, "cases")
        number = validated(request.path_params, _NoticePath, strict=False).number
        body = await body_of(context, request, _UPDATE_BYTES, key.organisation)
        update = validated(decode_json(body), NoticeUpdate)
        await in_thread(_answer, context, key, number, update)
        return Response(status_code=204)

    return [
        MethodRoute(
            f"/{NOTICES}", fetch, "GET",
            described(
                "cases", response(NoticesAnswer, "Notices that were sent or changed since a position."),
                ErrorCode.INVALID_DOCUMENT, summary="Fetch notices",
                parameters=parameters(_FetchQuery, "query"),
            ),
        ),
        MethodRoute(
            f"/{NOTICES}/{{number}}", answer, "POST",
            described(
                "cases", {204: {"description": "Stored."}}, *BODY_ERRORS, ErrorCode.NOT_FOUND,
                summary="Answer a notice", body=document_body(NoticeUpdate),
                parameters=parameters(_NoticePath, "path"),
            ),
        ),
    ]  # fmt: skip


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
