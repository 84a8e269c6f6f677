"""Describe the HTTP interface of a hub for OpenAPI: bodies, answers and errors of each path."""

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
from hashscan.hub.accounts.keys import Right
from hashscan.hub.web.requests import HubErrorCode
from hashscan.service.doors.http.documents import AnyErrorCode, ErrorAnswer, ErrorCode

JSON, NDJSON = "application/json", "application/x-ndjson"

_TEMPLATE = "#/components/schemas/{name}"
_documents: set[type[Struct]] = {ErrorAnswer}
"""All documents of routes that were described."""
_ALWAYS = (ErrorCode.INVALID_REQUEST, ErrorCode.DEFECT, ErrorCode.STOPPING)
_KEYED = (
    ErrorCode.KEY_MISSING,
    ErrorCode.KEY_INVALID,
    ErrorCode.RIGHT_MISSING,
    ErrorCode.RATE_LIMITED,
    HubErrorCode.DATABASE_AWAY,
)
BODY_ERRORS = (
    ErrorCode.TOO_SLOW, ErrorCode.TOO_LARGE, ErrorCode.ENCODED, ErrorCode.INVALID_DOCUMENT,
    ErrorCode.OVERLOADED,
)  # fmt: skip
"""Errors of requests with a body."""
_bearer = HTTPBearer(auto_error=False, description="A key of an organisation; see each path for its right.")


def _content(document: type[Struct], *others: str) -> dict[str, Any]:
    _documents.add(document)
    schema = {"schema": {"$ref": _TEMPLATE.format(name=document.__name__)}}
    return {JSON: schema, **{other: {"schema": {"type": "string"}} for other in others}}


def response(
    document: type[Struct], description: str, *others: str, status: int = 200
) -> dict[int, dict[str, Any]]:
    """Return how OpenAPI describes the answer of a status with this document.

    Args:
        others: further media types in which it is answered.
    """
    return {status: {"description": description, "content": _content(document, *others)}}


def text_response(description: str, media_type: str, status: int = 200) -> dict[int, dict[str, Any]]:
    """Return how OpenAPI describes the answer of a status with a text."""
    return {status: {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}}


def document_body(document: type[Struct], *others: str) -> dict[str, Any]:
    """Return how OpenAPI describes requests with this document, for `openapi_extra`."""
    return {"requestBody": {"required": True, "content": _content(document, *others)}}


def lines_body(description: str) -> dict[str, Any]:
    """Return how OpenAPI describes requests with JSON Lines, for `openapi_extra`."""
    content = {NDJSON: {"schema": {"type": "string"}}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def described(
    right: Right | None, responses: Mapping[int, dict[str, Any]], *errors: AnyErrorCode
) -> dict[str, Any]:
    """Return the arguments of a route that describe it.

    Args:
        right: the right that a key needs; None if no key is needed.
        responses: by status.
        errors: besides those of every request, and those of keys.
    """
    by_status: dict[int, set[str]] = {}
    for error in (*_ALWAYS, *errors, *(_KEYED if right else ())):
        by_status.setdefault(error.status, set()).add(error.code)
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": f"Codes: {', '.join(sorted(codes))}.", "content": _content(ErrorAnswer)}
        for status, codes in sorted(by_status.items())
    }
    arguments: dict[str, Any] = {"responses": {**answers, **responses}, "response_class": Response}
    if right is not None:
        arguments |= {"description": f"Needs the right `{right}`.", "dependencies": [Depends(_bearer)]}
    return arguments


def openapi_document(app: FastAPI) -> bytes:
    """Return the description of all paths that are in the schema."""
    document = get_openapi(
        title="hashscan hub", version=__version__, routes=app.routes,
        description="Ask about digests, send reports of scans, and fetch notices.",
    )  # fmt: skip
    _, found = msgspec.json.schema_components(
        sorted(_documents, key=lambda each: each.__name__), ref_template=_TEMPLATE
    )
    document.setdefault("components", {})["schemas"] = found
    for path in document["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    return msgspec.json.encode(document)
