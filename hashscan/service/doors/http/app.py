"""Answer the requests of the HTTP interface.

What a client may do follows from its key; where no keys are used (loopback and Unix sockets only), it may
scan, and if the door shows entries, it may do everything else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from functools import cached_property
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hashscan.errors import HashscanError, UsageError
from hashscan.matching.policy import accusing
from hashscan.matching_service_api import Changes, CheckAnswer, CheckMatch, CheckRequest, DigestFields, Info
from hashscan.model import MATCHED, Reason
from hashscan.schema import InvalidDocumentError, decode_json, validated
from hashscan.service.doors.http.bodies import (
    FORM_EXTRA_BYTES,
    Body,
    ClientLeftError,
    close_all,
    read_all,
    receive_files,
    unless_left,
)
from hashscan.service.doors.http.description import (
    CHECK_BODY,
    CHECK_ERRORS,
    JSON,
    SCAN_BODY,
    SCAN_ERRORS,
    described,
    openapi_document,
    response,
)
from hashscan.service.doors.http.documents import (
    ErrorAnswer,
    ErrorCode,
    FileAnswer,
    Health,
    ListAnswer,
    ListsAnswer,
    RequestError,
    ScanAnswer,
)
from hashscan.service.doors.http.keys import Key, Keys, Right
from hashscan.service.doors.multipart import (
    EncodedPartError,
    MultipartError,
    Part,
    TooManyPartsError,
    boundary_of,
)
from hashscan.service.engine.contents import Content
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.uploads import Client, Outcome, Overloaded, TooLarge, Unchecked, Upload
from hashscan.settings.service import DoorSettings
from hashscan.text import is_printable_line

DIGESTS_MAX = 1000
"""Most digests of one request."""
CHECK_BYTES = 1 << 20
"""Largest request about digests in bytes; 1,000 of the longest ones have 680,000."""
NGINX_LOCATION = "@hashscan_allowed"
"""The named location of nginx for uploads that are allowed; a fixed one, so that no client can choose."""
OWNER_MAX = 200
"""Longest name of an owner in a header."""
NAME_MAX = 1024

_log = logging.getLogger(__name__)
_requests = itertools.count(1)

_SCAN_STATUS = {Outcome.ALLOW: HTTPStatus.OK, Outcome.REFUSE: HTTPStatus.FORBIDDEN}
_PARTIAL = frozenset({"content-range", "upload-offset"})
"""Headers of requests that bring a part of a file; the application joins the parts later."""
_SEVERITY = (Outcome.ALLOW, Outcome.ERROR, Outcome.REFUSE)

_ERRORS: tuple[tuple[type[Exception], ErrorCode, str], ...] = (
    (TooManyPartsError, ErrorCode.MULTIPART_TOO_MANY, ""),
    (EncodedPartError, ErrorCode.MULTIPART_ENCODED, ""),
    (MultipartError, ErrorCode.MULTIPART_INVALID, ""),
    (InvalidDocumentError, ErrorCode.INVALID_DOCUMENT, ""),
    (TooLarge, ErrorCode.TOO_LARGE, ""),
    (Overloaded, ErrorCode.OVERLOADED, "too many uploads; try again later"),
    (Unchecked, ErrorCode.UNCHECKED, "it could not be checked; try again later"),
)
"""The answer to each error, the first that applies; with its own text where there is none."""


class Application:
    """The requests of one door, and the FastAPI application that calls them."""

    def __init__(
        self, engine: Engine, settings: DoorSettings, keys: Keys | None, metrics: Callable[[], bytes] | None
    ) -> None:
        """Make it.

        Args:
            engine: the checker.
            settings: those of the door.
            keys: the keys that are accepted; None where no key is needed.
            metrics: returns the metrics in the text format of Prometheus.
        """
        self.stopping = False
        """True when the door closes: the server is no longer ready."""
        self._engine = engine
        self._settings = settings
        self._keys = keys
        self._metrics = metrics
        self.asgi = self._make()

    def _make(self) -> FastAPI:
        app = FastAPI(
            openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False,
            # Names and addresses of uploads go to no collector that happens to be set up.
            telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        )  # fmt: skip
        route = app.add_api_route
        scan = {200: response(ScanAnswer, "Checked."), 403: response(ScanAnswer, "Refused; with `status`.")}
        checked = {200: response(CheckAnswer, "Compared.")}
        route(
            "/v1/scan", self.scan, methods=["POST"], openapi_extra=SCAN_BODY,
            **self._route("scan", scan, *SCAN_ERRORS),
        )  # fmt: skip
        passed = {
            200: {"description": f"Allowed; `X-Accel-Redirect: {NGINX_LOCATION}`."},
            403: response(ScanAnswer, "Refused."),
        }
        route(
            "/v1/scan/nginx", self.scan_for_nginx, methods=["POST"], openapi_extra=SCAN_BODY,
            **self._route("scan", passed, *SCAN_ERRORS),
        )  # fmt: skip
        route(
            "/v1/check", self.check, methods=["POST"], openapi_extra=CHECK_BODY,
            **self._route("check", checked, *CHECK_ERRORS),
        )  # fmt: skip
        found = {204: {"description": "No entry matches."}, 403: response(ErrorAnswer, "An entry matches.")}
        route(
            "/v1/check/{algorithm}/{value}", self.check_one, methods=["GET"], status_code=204,
            **self._route("check", found, *CHECK_ERRORS),
        )  # fmt: skip
        route(
            "/v1/info",
            self.info,
            methods=["GET"],
            **self._route("check", {200: response(Info, "The service.")}),
        )
        changed = {200: response(Changes, "Changes since a version of the lists.")}
        route(
            "/v1/changes", self.changes, methods=["GET"],
            **self._route("check", changed, ErrorCode.INVALID_DOCUMENT),
        )  # fmt: skip
        lists = {200: response(ListsAnswer, "The lists in use.")}
        route("/v1/lists", self.lists, methods=["GET"], **self._route("lists", lists))
        text = {200: {"description": "Metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
        route("/metrics", self.metrics, methods=["GET"], **self._route("metrics", text))
        good = {200: response(Health, "Good.")}
        route("/healthz", self.healthz, methods=["GET"], **self._route(None, good))
        route("/readyz", self.readyz, methods=["GET"], **self._route(None, good))
        document = {200: {"description": "This document.", "content": {JSON: {"schema": {"type": "object"}}}}}
        route("/openapi.json", self.openapi, methods=["GET"], **self._route(None, document))
        app.add_exception_handler(HTTPException, self._answer_http)
        app.add_exception_handler(RequestValidationError, self._answer_invalid)
        app.add_exception_handler(Exception, self._answer_defect)
        app.add_middleware(ClearLengths)
        return app

    def _route(
        self, right: Right | None, responses: dict[int, dict[str, Any]], *errors: ErrorCode
    ) -> dict[str, Any]:
        return described(right, responses, *errors, keyed=self._keys is not None)

    async def scan(
        self,
        request: Request,
        digests: Annotated[
            bool, Query(description="Show digests, to clients that are shown entries.")
        ] = False,
        status: Annotated[bool, Query(description="Say by status: 403 refused, 503 try again.")] = False,
        name: Annotated[str, Query(max_length=NAME_MAX, description="Name of the file, for the case.")] = "",
    ) -> Response:
        """Check a file, or each part of a form, before it is stored."""
        body = Body(request, self._settings)
        return await self._answered(
            self._scan(request, body, digests=digests, status=status, name=name), body
        )

    async def scan_for_nginx(self, request: Request) -> Response:
        """Check an upload, and send nginx on with it to the named location for what is allowed."""
        body = Body(request, self._settings)
        answer = await self._answered(self._scan(request, body, status=True), body)
        if answer.status_code != HTTPStatus.OK:
            return answer
        return Response(headers={"X-Accel-Redirect": NGINX_LOCATION})

    async def _scan(
        self, request: Request, body: Body, *, status: bool, digests: bool = False, name: str = ""
    ) -> Response:
        client = await self._admitted(request, "scan")
        try:
            answers = await self._check_body(request, body, client, digests=digests, name=name)
        except (Overloaded, Unchecked) as error:
            outcome = Outcome(self._settings.answers["trouble"])
            if outcome is Outcome.ERROR:
                raise
            _log.warning("an upload from %s is not checked: %s", client.address, error)
            await body.drop()
            answers = [FileAnswer(outcome)]
        outcome = max((answer.outcome for answer in answers), key=_SEVERITY.index, default=Outcome.ALLOW)
        shown = self._engine.version if self._settings.show_entries else ""
        if status and outcome is Outcome.ERROR:
            raise RequestError(ErrorCode.UNCHECKED, "not everything could be checked; try again later")
        code = _SCAN_STATUS.get(outcome, HTTPStatus.OK) if status else HTTPStatus.OK
        return _json(ScanAnswer(outcome, answers, shown), code)

    async def _check_body(
        self, request: Request, body: Body, client: Client, *, digests: bool, name: str
    ) -> list[FileAnswer]:
        """Receive a body and check its files."""
        content_type = _one_header(request, "content-type")
        form = boundary_of(content_type) is not None
        partial = Reason.PARTIAL if _PARTIAL & set(request.headers) else None
        try:
            most = self._engine.settings.limits.upload_bytes
            body.accept(most + (FORM_EXTRA_BYTES if form else 0))
            files = await receive_files(body, content_type, self._engine.receive)
        except (TooLarge, Overloaded) as error:
            self._engine.recorder.failed(client, error)
            raise
        if not form:
            files = [(Part(b"", name.encode("utf-8", "surrogateescape")), files[0][1])]
        return await unless_left(request.receive, self._check_all(files, client, partial, digests=digests))

    async def _check_all(
        self, files: list[tuple[Part, Content]], client: Client, partial: Reason | None, *, digests: bool
    ) -> list[FileAnswer]:
        """Check files at the same time; their contents are closed in any case.

        Raises:
            Overloaded, Unchecked: one of them could not be checked, and none is refused.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._check_file(part, content, client, partial, digests=digests))
                    for part, content in files
                ]
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        finally:
            close_all(files)
        found = [task.result() for task in tasks]
        refused = any(isinstance(one, FileAnswer) and one.outcome is Outcome.REFUSE for one in found)
        answers: list[FileAnswer] = []
        for one in found:
            if isinstance(one, FileAnswer):
                answers.append(one)
            elif refused:
                answers.append(FileAnswer(Outcome(self._settings.answers["trouble"])))
            else:
                raise one
        return answers

    async def _check_file(
        self, part: Part, content: Content, client: Client, partial: Reason | None, *, digests: bool
    ) -> FileAnswer | Overloaded | Unchecked:
        """Return the answer about a file, or the reason why it is not checked."""
        upload = Upload(client, part.filename or part.name)
        try:
            answer = await self._engine.check(content, upload, self._settings, unchecked=partial)
        except (Overloaded, Unchecked) as error:
            return error
        trusted = self._settings.show_entries
        return FileAnswer.of(answer, part.filename, part.name, trusted=trusted, digests=digests)

    async def check(self, request: Request) -> Response:
        """Compare digests with the lists; hashscan's own matching services are asked in this form."""
        body = Body(request, self._settings)
        return await self._answered(self._check(request, body), body)

    async def _check(self, request: Request, body: Body) -> Response:
        client = await self._admitted(request, "check")
        body.accept(CHECK_BYTES)
        asked = validated(decode_json(await read_all(body)), CheckRequest)
        if len(asked.digests) > DIGESTS_MAX:
            raise RequestError(ErrorCode.TOO_MANY_DIGESTS, f"more than {DIGESTS_MAX} digests")
        # If the lists change meanwhile, the older version makes the client ask again.
        version = self._engine.version
        found = await unless_left(request.receive, self._match(asked.digests, client))
        return _json(CheckAnswer(version, found))

    async def _match(self, digests: list[DigestFields], client: Client) -> list[CheckMatch]:
        values = [(digest.algorithm, bytes.fromhex(digest.value)) for digest in digests]
        found = await self._engine.match(values, client) if values else []
        return [
            CheckMatch(number, match.entry_id, "other" if match.doubt else match.category, match.distance)
            for number, matches in enumerate(found)
            for match in accusing(matches)
        ]

    async def check_one(self, request: Request, algorithm: str, value: str) -> Response:
        """Compare one digest, and answer by status alone, as nginx's `auth_request` expects."""
        return await self._answered(self._check_one(request, algorithm, value))

    async def _check_one(self, request: Request, algorithm: str, value: str) -> Response:
        client = await self._admitted(request, "check")
        digest = validated({"algorithm": algorithm, "value": value.lower()}, DigestFields)
        found = await unless_left(request.receive, self._match([digest], client))
        if found:
            return _json(ErrorAnswer("listed", "an entry matches"), HTTPStatus.FORBIDDEN)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def info(self, request: Request) -> Response:
        """Describe this server to a hashscan that uses it as a matching service."""
        return await self._answered(self._info(request))

    async def _info(self, request: Request) -> Response:
        await self._admitted(request, "check")
        listed = {name for info in self._engine.infos for name, count in info.by_algorithm if count}
        algorithms = [name for name in MATCHED if name in listed]
        return _json(Info(self._engine.version, algorithms, DIGESTS_MAX, self._engine.filter))

    async def changes(
        self, request: Request, since: Annotated[str, Query(min_length=1, max_length=64)]
    ) -> Response:
        """Say which answers may have changed since a version: none of the present one, all of another."""
        return await self._answered(self._changes(request, since))

    async def _changes(self, request: Request, since: str) -> Response:
        await self._admitted(request, "check")
        version = self._engine.version
        return _json(Changes(version, everything=since != version))

    async def lists(self, request: Request) -> Response:
        """Describe the lists in use."""
        return await self._answered(self._lists(request))

    async def _lists(self, request: Request) -> Response:
        await self._admitted(request, "lists")
        infos = [ListAnswer.of(info) for info in self._engine.infos]
        return _json(ListsAnswer(self._engine.version, infos))

    async def metrics(self, request: Request) -> Response:
        """Return the metrics in the text format of Prometheus."""
        return await self._answered(self._shown_metrics(request))

    async def _shown_metrics(self, request: Request) -> Response:
        await self._admitted(request, "metrics")
        text = b"" if self._metrics is None else self._metrics()
        return Response(text, media_type="text/plain; version=0.0.4")

    async def healthz(self) -> Response:
        """Answer as long as the process does."""
        return _json(Health("ok"))

    async def readyz(self) -> Response:
        """Answer 200 while uploads are checked, and 503 from the beginning of the end."""
        if self.stopping:
            return _error(RequestError(ErrorCode.STOPPING, "the server stops"))
        return _json(Health("ok"))

    async def openapi(self) -> Response:
        """Describe this interface."""
        return Response(self._document, media_type=JSON)

    @cached_property
    def _document(self) -> bytes:
        return openapi_document(self.asgi)

    async def _admitted(self, request: Request, right: Right) -> Client:
        """Return the client of a request that has a right; its owner follows from key and header.

        Raises:
            RequestError: it hasn't the right, or asks too often.
        """
        key = self._key(request, right)
        client: Client = request.scope["state"]["client"]
        header = self._settings.owner_header
        named = _one_header(request, header) if header else ""
        if not is_printable_line(named, OWNER_MAX):
            text = f"the owner must be printable, and have at most {OWNER_MAX} characters"
            raise RequestError(ErrorCode.INVALID_REQUEST, text)
        if key is not None and (named or key.owner):
            # A key's owner is kept apart from all others, whatever a header says.
            whose = f"owner {key.owner}" if key.owner else f"key {key.name}"
            owner, customer = (f"{whose}: {named}" if named else whose), named or key.owner
        elif named:
            owner, customer = f"name: {named}", named
        else:
            # One connection of a web server carries the requests of many uploaders.
            owner, customer = client.owner or f"request {next(_requests)}", client.customer
        account = "" if key is None else key.name
        return msgspec.structs.replace(client, owner=owner, customer=customer, account=account)

    def _key(self, request: Request, right: Right) -> Key | None:
        if self._keys is None:
            if right != "scan" and not self._settings.show_entries:
                raise RequestError(
                    ErrorCode.RIGHT_MISSING, "this door shows no entries; use a key that has the right"
                )
            return None
        kind, _, secret = _one_header(request, "authorization").partition(" ")
        if kind.lower() != "bearer" or not secret:
            raise RequestError(ErrorCode.KEY_MISSING, "send a key: Authorization: Bearer KEY")
        try:
            key = self._keys.find(secret.strip())
        except UsageError as error:
            _log.error("nobody is admitted: %s", error)
            raise RequestError(ErrorCode.KEYS_UNAVAILABLE, "the keys can't be read now") from error
        if key is None:
            raise RequestError(ErrorCode.KEY_INVALID, "the key is not valid, or not any more")
        if right not in key.rights:
            raise RequestError(ErrorCode.RIGHT_MISSING, f"the key has no right {right}")
        if wait := self._keys.wait(key):
            raise RequestError(ErrorCode.RATE_LIMITED, "too many requests with this key", wait)
        return key

    async def _answered(self, answer: Awaitable[Response], body: Body | None = None) -> Response:
        """Return the answer, or that of the error instead of it, after the rest of the body was dropped."""
        try:
            found = await answer
            if body is not None and not body.complete:
                found.headers["Connection"] = "close"
            return found
        except ClientLeftError:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # it is sent to nobody
        except asyncio.CancelledError:
            # By the end of the server; uvicorn sends no answer of its own then.
            return _error(RequestError(ErrorCode.STOPPING, "the server stops"), close=True)
        except (HashscanError, InvalidDocumentError) as trouble:
            error = _request_error(trouble)
        if body is not None and error.error is not ErrorCode.TOO_SLOW:
            await body.drop()
        # Where the length is not clear, another server may take the next bytes for another request.
        unclear = error.error is ErrorCode.INVALID_REQUEST
        return _error(error, close=unclear or (body is not None and not body.complete))

    async def _answer_http(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            answer = RequestError(ErrorCode.METHOD_NOT_ALLOWED, "this path has no such method")
        else:
            answer = RequestError(ErrorCode.NOT_FOUND, "there is nothing at this path")
        sent = _error(answer, close=True)
        for name in set(error.headers or {}) & {"Allow", "allow"}:
            sent.headers[name] = (error.headers or {})[name]
        return sent

    async def _answer_invalid(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        places = {".".join(map(str, each["loc"])) for each in error.errors()}
        text = f"not valid: {', '.join(sorted(places))}"
        return _error(RequestError(ErrorCode.INVALID_DOCUMENT, text), close=True)

    async def _answer_defect(self, request: Request, error: Exception) -> Response:
        return _error(RequestError(ErrorCode.DEFECT, "a defect of the server; see its log"), close=True)


class ClearLengths:
    """Refuses requests that have two lengths, whatever their path and key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it and end its connection."""
        answer: ASGIApp = self._app
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            text = "the request has a Content-Length and a Transfer-Encoding"
            answer = _error(RequestError(ErrorCode.INVALID_REQUEST, text), close=True)
        await answer(scope, receive, send)


def _request_error(error: Exception) -> RequestError:
    """Return how an error is answered; raise it again if it is a defect."""
    if isinstance(error, RequestError):
        return error
    for kind, code, text in _ERRORS:
        if isinstance(error, kind):
            return RequestError(code, text or str(error))
    raise error


def _one_header(request: Request, name: str) -> str:
    """Return the value of a header; empty where it is not sent.

    Raises:
        RequestError: it is sent twice, so that another server could read the other one.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise RequestError(ErrorCode.INVALID_REQUEST, f"the header {name.lower()} is sent twice")
    return values[0] if values else ""


def _json(document: msgspec.Struct, status: int = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(document), status, media_type=JSON)


def _error(error: RequestError, *, close: bool = False) -> Response:
    headers = {**error.headers, **({"Connection": "close"} if close else {})}
    return Response(error.body, error.error.status, headers, media_type=JSON)
