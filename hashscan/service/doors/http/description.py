"""Describe the HTTP interface for OpenAPI: bodies, answers and errors of each path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from msgspec import Struct
from starlette.responses import Response

from hashscan import __version__
from hashscan.matching_service_api import Changes, CheckAnswer, CheckRequest, Info
from hashscan.schema import json_schemas
from hashscan.service.doors.http.documents import ErrorAnswer, ErrorCode, Health, ListsAnswer, ScanAnswer
from hashscan.service.doors.http.keys import Right

JSON = "application/json"

SCAN_ERRORS = (
    ErrorCode.MULTIPART_INVALID,
    ErrorCode.TOO_SLOW,
    ErrorCode.TOO_LARGE,
    ErrorCode.MULTIPART_TOO_MANY,
    ErrorCode.ENCODED,
    ErrorCode.MULTIPART_ENCODED,
    ErrorCode.INVALID_DOCUMENT,
    ErrorCode.OVERLOADED,
    ErrorCode.UNCHECKED,
)
KEY_ERRORS = (
    ErrorCode.KEY_MISSING,
    ErrorCode.KEY_INVALID,
    ErrorCode.RIGHT_MISSING,
    ErrorCode.RATE_LIMITED,
    ErrorCode.KEYS_UNAVAILABLE,
)
CHECK_ERRORS = (
    ErrorCode.TOO_SLOW,
    ErrorCode.TOO_LARGE,
    ErrorCode.TOO_MANY_DIGESTS,
    ErrorCode.ENCODED,
    ErrorCode.INVALID_DOCUMENT,
    ErrorCode.OVERLOADED,
    ErrorCode.UNCHECKED,
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PART = {"contentMediaType": "application/octet-stream"}
_FORM = {"schema": {"type": "object", "additionalProperties": _PART}}
"""Any form: a part of any name and any type is bytes on the wire, and checked as a file."""
SCAN_BODY = {
    "requestBody": {
        "description": "One file, or a form of which each part is a file. Any other type is taken as a file.",
        "content": {"application/octet-stream": _BINARY, "multipart/form-data": _FORM},
    }
}
CHECK_BODY = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/CheckRequest"}}},
    }
}
_DOCUMENTS = (
    ErrorAnswer,
    ScanAnswer,
    ListsAnswer,
    Health,
    Info,
    CheckRequest,
    CheckAnswer,
    Changes,
)


def components() -> Mapping[str, Any]:
    """Return the JSON schemas of all documents, by name, for the `components` of OpenAPI."""
    return json_schemas(_DOCUMENTS, "#/components/schemas/{name}")[1]


def response(document: type[Struct], description: str) -> dict[str, Any]:
    """Return how OpenAPI describes an answer with this document."""
    schema = {"$ref": f"#/components/schemas/{document.__name__}"}
    return {"description": description, "content": {JSON: {"schema": schema}}}


def error_responses(*errors: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI describes these errors, by status, and those of every request."""
    by_status: dict[int, list[str]] = {}
    for error in (ErrorCode.INVALID_REQUEST, *errors, ErrorCode.DEFECT, ErrorCode.STOPPING):
        by_status.setdefault(error.status, []).append(error.code)
    return {
        status: response(ErrorAnswer, f"Codes: {', '.join(sorted(set(codes)))}.")
        for status, codes in sorted(by_status.items())
    }


def described(
    right: Right | None, responses: dict[int, dict[str, Any]], *errors: ErrorCode, keyed: bool
) -> dict[str, Any]:
    """Return the arguments of a route: the right that it needs if the door has keys, and its answers."""
    if right is None:
        return {"responses": {**error_responses(), **responses}, "response_class": Response}
    merged = error_responses(*errors, *KEY_ERRORS)
    for status, described in responses.items():
        merged[status] = _either(described, merged[status]) if status in merged else described
    needed = HTTPBearer(auto_error=False, description="A key; each path says which right it must have.")
    return {
        "responses": merged,
        "response_class": Response,
        "description": f"Needs the right `{right}`.",
        "dependencies": [Depends(needed)] if keyed else [],
    }


def _either(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return how OpenAPI describes an answer with one of two documents."""
    schemas = [each["content"][JSON]["schema"] for each in (one, other)]
    text = f"{one['description']} {other['description']}"
    return {"description": text, "content": {JSON: {"schema": {"anyOf": schemas}}}}


def openapi_document(app: FastAPI) -> bytes:
    """Return the description of all paths."""
    document = get_openapi(
        title="hashscan", version=__version__, routes=app.routes,
        description="Check uploads and digests against hash lists before they are stored.",
    )  # fmt: skip
    document.setdefault("components", {})["schemas"] = components()
    for path in document["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            if "422" in answers and "HTTPValidationError" in str(answers["422"]):
                del answers["422"]
    return msgspec.json.encode(document)
