"""Add the routes by which an organisation's servers send reports and answer notices; see `hub_api`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.accounts.keys import HubKey
from hashscan.hub.intake.records import Kept, NewerSchemaError, decode_records
from hashscan.hub.intake.reports import (
    MissingReportError,
    OutOfOrderError,
    TooManyServersError,
    begin_report,
    receive_records,
    report_state,
)
from hashscan.hub.notices.notices import NoNoticeError, note_fetched, notices_since, take_update
from hashscan.hub.web.check_routes import NDJSON
from hashscan.hub.web.requests import (
    Context,
    HubErrorCode,
    admitted,
    api,
    body_of,
    described,
    in_thread,
)
from hashscan.hub_api import (
    NOTICES,
    RECORDS_BYTES_MAX,
    REPORTS,
    NoticesAnswer,
    NoticeUpdate,
    ReportBegin,
    ReportBehind,
    ReportState,
    Uuid,
)
from hashscan.schema import Count, decode_json, validated
from hashscan.service.doors.http.description import (
    BODY_ERRORS,
    document_body,
    parameters,
    response,
)
from hashscan.service.doors.http.documents import ErrorCode, RequestError
from hashscan.service.doors.http.routing import MethodRoute, json_answer, query_of

_UPDATE_BYTES = 64 << 10
"""Largest answer to a notice in bytes."""
_HOST_MAX = 255
T = TypeVar("T")

_BEGIN_BYTES = 4096
_WRITERS = 3
"""Parts that are written to PostgreSQL at the same time; SQLite has one writer at a time. One further part is
decoded meanwhile, and no more: pages use the same threads and the same database."""


class _RecordsQuery(Struct):
    first: Annotated[Count, Meta(description="Index of the first record, from 0.")] = msgspec.field(
        name="from"
    )


def intake_routes(context: Context) -> list[MethodRoute]:
    """Return the routes below `hub_api.REPORTS`."""
    answered = api(context)
    writers = 1 if context.database.is_sqlite else _WRITERS
    decoding, writing = asyncio.Semaphore(writers + 1), asyncio.Semaphore(writers)

    @answered
    async def begin(request: Request) -> Response:
        key = await admitted(context, request, "report")
        body = await body_of(context, request, _BEGIN_BYTES, key.organisation)
        wanted = validated(decode_json(body), ReportBegin)
        async with writing:
            return json_answer(await in_thread(_begun, context, key, _uuid(request), wanted))

    @answered
    async def records(request: Request) -> Response:
        key = await admitted(context, request, "report")
        body = await body_of(context, request, RECORDS_BYTES_MAX, key.organisation)
        name, first = _uuid(request), query_of(request, _RecordsQuery).first
        async with decoding:
            decoded = await in_thread(_decoded, body, first)
            async with writing:
                answer = await in_thread(_received, context, key, name, first, decoded)
        return json_answer(answer, 409 if isinstance(answer, ReportBehind) else 200)

    @answered
    async def state(request: Request) -> Response:
        key = await admitted(context, request, "report")
        answer = await in_thread(_explained, report_state, context.database, key.organisation, _uuid(request))
        return json_answer(answer)

    path = f"/{REPORTS}/{{uuid}}"
    received = response(ReportState, "The part of the report that was received, durably.")
    behind = response(ReportBehind, "Records before these are missing.", status=409)
    lines = {NDJSON: {"schema": {"type": "string"}}}
    return [
        MethodRoute(
            path, begin, "POST",
            described(
                "report", received, *BODY_ERRORS, ErrorCode.NOT_FOUND, HubErrorCode.QUOTA_EXCEEDED,
                summary="Begin a report", body=document_body(ReportBegin),
            ),
        ),
        MethodRoute(
            f"{path}/records", records, "POST",
            described(
                "report", received | behind, *BODY_ERRORS, ErrorCode.NOT_FOUND, HubErrorCode.NEWER_SCHEMA,
                summary="Send records of a report",
                body={
                    "required": True, "description": "Records of the report, a line each.", "content": lines
                },
                parameters=parameters(_RecordsQuery, "query"),
            ),
        ),
        MethodRoute(
            path, state, "GET",
            described("report", received, ErrorCode.NOT_FOUND, summary="Ask which records were received"),
        ),
    ]  # fmt: skip


def _uuid(request: Request) -> str:
    try:
        return msgspec.convert(request.path_params["uuid"], Uuid)
    except msgspec.ValidationError:
        raise RequestError(ErrorCode.NOT_FOUND, "this is not the uuid of a report") from None


def _begun(context: Context, key: HubKey, uuid: str, wanted: ReportBegin) -> ReportState:
    try:
        return begin_report(context.database, key.organisation, uuid, wanted, int(time.time()))
    except TooManyServersError:
        raise RequestError(HubErrorCode.QUOTA_EXCEEDED, "the organisation has too many servers") from None


def _decoded(body: bytes, first: int) -> list[Kept]:
    try:
        return decode_records(body, first)
    except NewerSchemaError as error:
        raise RequestError(HubErrorCode.NEWER_SCHEMA, f"a newer hashscan wrote this: {error}") from None


def _received(context: Context, key: HubKey, uuid: str, first: int, records: Sequence[Kept]) -> ReportState:
    try:
        return _explained(
            receive_records, context.database, key.organisation, uuid, first, records, int(time.time())
        )
    except OutOfOrderError as error:
        return ReportBehind(error.state.received, error.state.complete)


def _explained(function: Callable[..., T], *args: object) -> T:
    try:
        return function(*args)
    except MissingReportError:
        raise RequestError(ErrorCode.NOT_FOUND, "there is no such report; begin it first") from None


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
