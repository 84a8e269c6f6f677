"""Add the routes by which servers send reports of scans."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI
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
from hashscan.hub.web.description import BODY_ERRORS, described, document_body, lines_body, response
from hashscan.hub.web.requests import (
    Context,
    HubErrorCode,
    admitted,
    api,
    body_of,
    in_thread,
    json_answer,
)
from hashscan.hub_api import RECORDS_BYTES_MAX, REPORTS, ReportBegin, ReportBehind, ReportState, Uuid
from hashscan.schema import NUMBER_MAX, Count, decode_json, validated
from hashscan.service.doors.http.documents import ErrorCode, RequestError

T = TypeVar("T")

_BEGIN_BYTES = 4096
_WRITERS = 3
"""Parts that are written to PostgreSQL at the same time; SQLite has one writer at a time. One further part is
decoded meanwhile, and no more: pages use the same threads and the same database."""


def add_intake_routes(app: FastAPI, context: Context) -> None:
    """Add the routes below `hub_api.REPORTS`."""
    writers = 1 if context.database.is_sqlite else _WRITERS
    decoding, writing = asyncio.Semaphore(writers + 1), asyncio.Semaphore(writers)

    @api
    async def begin(request: Request, uuid: str) -> Response:
        key = await admitted(context, request, "report")
        body = await body_of(context, request, _BEGIN_BYTES, key.organisation)
        wanted = validated(decode_json(body), ReportBegin)
        async with writing:
            return json_answer(await in_thread(_begun, context, key, _uuid(uuid), wanted))

    @api
    async def records(request: Request, uuid: str) -> Response:
        key = await admitted(context, request, "report")
        body = await body_of(context, request, RECORDS_BYTES_MAX, key.organisation)
        name, first = _uuid(uuid), _first(request)
        async with decoding:
            decoded = await in_thread(_decoded, body, first)
            async with writing:
                answer = await in_thread(_received, context, key, name, first, decoded)
        return json_answer(answer, 409 if isinstance(answer, ReportBehind) else 200)

    @api
    async def state(request: Request, uuid: str) -> Response:
        key = await admitted(context, request, "report")
        answer = await in_thread(_explained, report_state, context.database, key.organisation, _uuid(uuid))
        return json_answer(answer)

    path, add = f"/{REPORTS}/{{uuid}}", app.add_api_route
    received = response(ReportState, "The part of the report that was received, durably.")
    add(
        path, begin, methods=["POST"], summary="Begin a report", openapi_extra=document_body(ReportBegin),
        **described("report", received, *BODY_ERRORS, ErrorCode.NOT_FOUND, HubErrorCode.QUOTA_EXCEEDED),
    )  # fmt: skip
    add(
        f"{path}/records", records, methods=["POST"], summary="Send records of a report",
        openapi_extra={**lines_body("Records of the report, a line each."), "parameters": [_FROM]},
        **described(
            "report", received | response(ReportBehind, "Records before these are missing.", status=409),
            *BODY_ERRORS, ErrorCode.NOT_FOUND, HubErrorCode.NEWER_SCHEMA,
        ),
    )  # fmt: skip
    add(
        path, state, methods=["GET"], summary="Ask which records were received",
        **described("report", received, ErrorCode.NOT_FOUND),
    )  # fmt: skip


_FROM: Mapping[str, Any] = {
    "name": "from", "in": "query", "required": True, "description": "Index of the first record, from 0.",
    "schema": {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX},
}  # fmt: skip


def _uuid(text: str) -> str:
    try:
        return msgspec.convert(text, Uuid)
    except msgspec.ValidationError:
        raise RequestError(ErrorCode.NOT_FOUND, "this is not the uuid of a report") from None


def _first(request: Request) -> int:
    values = request.query_params.getlist("from")
    try:
        return validated(
            int(values[0]) if len(values) == 1 and values[0].isascii() and values[0].isdigit() else None,
            Count,
        )
    except ValueError:
        raise RequestError(
            ErrorCode.INVALID_DOCUMENT, "send ?from=N, the index of the first record"
        ) from None


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
