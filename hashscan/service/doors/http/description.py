"""Describe HTTP interfaces for OpenAPI: bodies, parameters, answers and errors of each path."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct
from starlette.routing import Route

from hashscan import __version__
from hashscan.schema import json_schemas
from hashscan.service.doors.http.documents import AnyErrorCode, ErrorAnswer, ErrorCode
from hashscan.service.doors.http.routing import JSON, MethodRoute

BODY_ERRORS = (
    ErrorCode.TOO_SLOW,
    ErrorCode.TOO_LARGE,
    ErrorCode.ENCODED,
    ErrorCode.INVALID_DOCUMENT,
    ErrorCode.OVERLOADED,
)
"""Errors of requests with a body."""
_ALWAYS = (ErrorCode.INVALID_REQUEST, ErrorCode.DEFECT, ErrorCode.STOPPING)
_KEYED = (ErrorCode.KEY_MISSING, ErrorCode.KEY_INVALID, ErrorCode.RIGHT_MISSING, ErrorCode.RATE_LIMITED)
_TEMPLATE = "#/components/schemas/{name}"
_BEARER = "HTTPBearer"
_STRING: Mapping[str, Any] = {"schema": {"type": "string"}}

Responses = dict[int, dict[str, Any]]

DOCUMENT: Responses = {
    200: {"description": "This document.", "content": {JSON: {"schema": {"type": "object"}}}}
}
"""The answer of `/openapi.json`."""


def response(document: type[Struct], description: str, *others: str, status: int = 200) -> Responses:
    """Return how OpenAPI describes the answer of a status with this document.

    Args:
        others: further media types in which it is answered.
    """
    return {status: {"description": description, "content": _content(document, *others)}}


def text_response(description: str, media_type: str, status: int = 200) -> Responses:
    """Return how OpenAPI describes the answer of a status with a text."""
    return {status: {"description": description, "content": {media_type: _STRING}}}


def document_body(document: type[Struct], *others: str) -> Mapping[str, Any]:
    """Return how OpenAPI describes the body of requests with this document."""
    return {"required": True, "content": _content(document, *others)}


def _content(document: type[Struct], *others: str) -> dict[str, Any]:
    return {JSON: {"schema": document}, **dict.fromkeys(others, _STRING)}


def parameters(shape: type[Struct], place: Literal["query", "path"]) -> list[dict[str, Any]]:
    """Return how OpenAPI describes the parameters that are validated by a struct."""
    (schema,) = json_schemas([shape], _TEMPLATE)[1].values()
    return [
        {
            "name": name,
            "in": place,
            "required": name in schema.get("required", ()),
            **({"description": of_one.pop("description")} if "description" in of_one else {}),
            "schema": of_one,
        }
        for name, of_one in schema["properties"].items()
    ]


def described(
    right: str | None,
    responses: Responses,
    *errors: AnyErrorCode,
    summary: str = "",
    body: Mapping[str, Any] | None = None,
    parameters: Sequence[Mapping[str, Any]] = (),
    keyed: bool = True,
    unavailable: AnyErrorCode = ErrorCode.KEYS_UNAVAILABLE,
) -> dict[str, Any]:
    """Return how OpenAPI describes a route, with documents in place of their schemas.

    Args:
        right: the right that a key needs; None if no key is needed.
        responses: by status.
        errors: besides those of every request, and those of keys.
        summary: by default the name of the function.
        keyed: False if the door has no keys.
        unavailable: the error where keys can't be read.
    """
    codes: dict[int, set[str]] = {}
    for error in (*_ALWAYS, *errors, *((*_KEYED, unavailable) if right is not None else ())):
        codes.setdefault(error.status, set()).add(error.code)
    answers = dict(responses)
    for status, names in codes.items():
        of_error = response(ErrorAnswer, f"Codes: {', '.join(sorted(names))}.")[200]
        answers[status] = _either(answers[status], of_error) if status in answers else of_error
    operation: dict[str, Any] = {"summary": summary} if summary else {}
    if right is not None:
        operation["description"] = f"Needs the right `{right}`."
        if keyed:
            operation["security"] = [{_BEARER: []}]
    if body is not None:
        operation["requestBody"] = body
    in_order = {str(status): answers[status] for status in sorted(answers)}
    return {**operation, "parameters": parameters, "responses": in_order}


def _either(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return how OpenAPI describes an answer with one of two documents."""
    schemas = [each["content"][JSON]["schema"] for each in (one, other)]
    text = f"{one['description']} {other['description']}"
    return {"description": text, "content": {JSON: {"schema": {"anyOf": schemas}}}}


def openapi_document(routes: Sequence[Route], title: str, description: str, key: str) -> bytes:
    """Return the description of all routes that have one.

    Args:
        key: describes the keys that clients send; empty if they need none.
    """
    documents: set[type[Struct]] = set()

    def reference(document: type[Struct]) -> dict[str, str]:
        documents.add(document)
        return {"$ref": _TEMPLATE.format(name=document.__name__)}

    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if isinstance(route, MethodRoute) and route.operation is not None:
            operation = msgspec.to_builtins(_named(route, route.operation), enc_hook=reference)
            paths.setdefault(route.path, {})[route.method.lower()] = operation
    in_order = sorted(documents, key=lambda each: each.__name__)
    components: dict[str, Any] = {"schemas": json_schemas(in_order, _TEMPLATE)[1]}
    if key:
        bearer = {"type": "http", "description": key, "scheme": "bearer"}
        components["securitySchemes"] = {_BEARER: bearer}
    info = {"title": title, "description": description, "version": __version__}
    return msgspec.json.encode({"openapi": "3.1.0", "info": info, "paths": paths, "components": components})


def _named(route: MethodRoute, operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with a unique name, and the parameters of the path that it leaves out."""
    given = {each["name"] for each in operation["parameters"]}
    texts = [
        {"name": name, "in": "path", "required": True, **_STRING}
        for name in route.param_convertors
        if name not in given
    ]
    place = re.sub(r"\W", "_", route.path)
    found = {
        "summary": route.name.replace("_", " ").title(),
        "description": inspect.getdoc(route.endpoint),
        "operationId": f"{route.name}{place}_{route.method.lower()}",
        **operation,
        "parameters": [*texts, *operation["parameters"]],
    }
    return {name: value for name, value in found.items() if value}
