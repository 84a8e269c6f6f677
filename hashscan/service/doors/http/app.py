"""Answer the requests of the HTTP interface.

What a client may do follows from its key; where no keys are used (loopback and Unix sockets only), it may
scan, and if the door shows entries, it may do everything else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from hashscan.errors import UsageError
from hashscan.matching.policy import accusing
from hashscan.matching_service_api import Changes, CheckAnswer, CheckMatch, CheckRequest, DigestFields, Info
from hashscan.model import MATCHED, Reason
from hashscan.schema import InvalidDocumentError, decode_json, validated
from hashscan.service.doors.http.bodies import (
    FORM_EXTRA_BYTES,
    Body,
    close_all,
    read_all,
    receive_files,
    unless_left,
)
from hashscan.service.doors.http.description import (
    BODY_ERRORS,
    DOCUMENT,
    Responses,
    described,
    document_body,
    openapi_document,
    parameters,
    response,
    text_response,
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
from hashscan.service.doors.http.door import AsgiDoor
from hashscan.service.doors.http.keys import Key, Keys, Right
from hashscan.service.doors.http.routing import (
    JSON,
    Endpoint,
    MethodRoute,
    answering,
    error_answer,
    json_answer,
    make_starlette,
    query_of,
)
from hashscan.service.doors.listening import describe
from hashscan.service.doors.multipart import (
    EncodedPartError,
    MultipartError,
    Part,
    TooManyPartsError,
    boundary_of,
)
from hashscan.service.engine.contents import Content
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.uploads import (
    Client,
    NoLegalBasis,
    Outcome,
    Overloaded,
    TooLarge,
    Unchecked,
    Upload,
)
from hashscan.settings.service import DoorSettings, UnixAddress
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
    (NoLegalBasis, ErrorCode.LEGAL_BASIS, "not checked: the legal basis of this door has ended"),
    (Unchecked, ErrorCode.UNCHECKED, "it could not be checked; try again later"),
)
"""The answer to each error, the first that applies; with its own text where there is none."""


_CHECK_ERRORS = (*BODY_ERRORS, ErrorCode.TOO_MANY_DIGESTS, ErrorCode.UNCHECKED, ErrorCode.LEGAL_BASIS)
_SCAN_ERRORS = (
    *BODY_ERRORS,
    ErrorCode.MULTIPART_INVALID,
    ErrorCode.MULTIPART_TOO_MANY,
    ErrorCode.MULTIPART_ENCODED,
    ErrorCode.UNCHECKED,
    ErrorCode.LEGAL_BASIS,
)
_FILE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {"type": "object", "additionalProperties": {"contentMediaType": "application/octet-stream"}}
}
"""Any form: a part of any name and any type is bytes on the wire, and checked as a file."""
_SCAN_BODY = {
    "description": "One file, or a form of which each part is a file. Any other type is taken as a file.",
    "content": {"application/octet-stream": _FILE, "multipart/form-data": _FORM},
}


class _ScanQuery(Struct):
    digests: Annotated[bool, Meta(description="Show digests, to clients that are shown entries.")] = False
    status: Annotated[bool, Meta(description="Say by status: 403 refused, 503 try again.")] = False
    name: Annotated[str, Meta(max_length=NAME_MAX, description="Name of the file, for the case.")] = ""


class _ChangesQuery(Struct):
    since: Annotated[str, Meta(min_length=1, max_length=64)]


class Application:
    """The requests of one door, and the application that calls them."""

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
        self._routes = self._make_routes()
        self.asgi = make_starlette(self._routes)

    def _make_routes(self) -> list[MethodRoute]:
        scan = response(ScanAnswer, "Checked.") | response(ScanAnswer, "Refused; with `status`.", status=403)
        passed = {200: {"description": f"Allowed; `X-Accel-Redirect: {NGINX_LOCATION}`."}}
        passed |= response(ScanAnswer, "Refused.", status=403)
        found = {204: {"description": "No entry matches."}}
        found |= response(ErrorAnswer, "An entry matches.", status=403)
        return [
            self._route(
                "/v1/scan", self.scan, "scan", scan, *_SCAN_ERRORS, body=_SCAN_BODY, query=_ScanQuery
            ),
            self._route(
                "/v1/scan/nginx", self.scan_for_nginx, "scan", passed, *_SCAN_ERRORS, body=_SCAN_BODY
            ),
            self._route(
                "/v1/check", self.check, "check", response(CheckAnswer, "Compared."), *_CHECK_ERRORS,
                body=document_body(CheckRequest),
            ),
            self._route("/v1/check/{algorithm}/{value}", self.check_one, "check", found, *_CHECK_ERRORS),
            self._route("/v1/info", self.info, "check", response(Info, "The service.")),
            self._route(
                "/v1/changes", self.changes, "check",
                response(Changes, "Changes since a version of the lists."), ErrorCode.INVALID_DOCUMENT,
                query=_ChangesQuery,
            ),
            self._route("/v1/lists", self.lists, "lists", response(ListsAnswer, "The lists in use.")),
            self._route("/metrics", self.metrics, "metrics", text_response("Metrics.", "text/plain")),
            self._route("/healthz", self.healthz, None, response(Health, "Good.")),
            self._route("/readyz", self.readyz, None, response(Health, "Good.")),
            self._route("/openapi.json", self.openapi, None, DOCUMENT),
        ]  # fmt: skip

    def _route(
        self,
        path: str,
        endpoint: Endpoint,
        right: Right | None,
        responses: Responses,
        *errors: ErrorCode,
        body: Mapping[str, Any] | None = None,
        query: type[Struct] | None = None,
    ) -> MethodRoute:
        operation = described(
            right, responses, *errors, body=body, keyed=self._keys is not None,
            parameters=() if query is None else parameters(query, "query"),
        )  # fmt: skip
        answered = answering(self._settings, _request_error)(endpoint)
        return MethodRoute(path, answered, "GET" if body is None else "POST", operation)

    async def scan(self, request: Request) -> Response:
        """Check a file, or each part of a form, before it is stored."""
        client = self._admitted(request, "scan")
        asked = query_of(request, _ScanQuery)
        return await self._scan(request, client, status=asked.status, digests=asked.digests, name=asked.name)

    async def scan_for_nginx(self, request: Request) -> Response:
        """Check an upload, and send nginx on with it to the named location for what is allowed."""
        answer = await self._scan(request, self._admitted(request, "scan"), status=True)
        if answer.status_code != HTTPStatus.OK:
            return answer
        return Response(headers={"X-Accel-Redirect": NGINX_LOCATION})

    async def _scan(
        self, request: Request, client: Client, *, status: bool, digests: bool = False, name: str = ""
    ) -> Response:
        body: Body = request.state.body
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
        return json_answer(ScanAnswer(outcome, answers, shown), code)

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
        client = self._admitted(request, "check")
        body: Body = request.state.body
        body.accept(CHECK_BYTES)
        asked = validated(decode_json(await read_all(body)), CheckRequest)
        if len(asked.digests) > DIGESTS_MAX:
            raise RequestError(ErrorCode.TOO_MANY_DIGESTS, f"more than {DIGESTS_MAX} digests")
        # If the lists change meanwhile, the older version makes the client ask again.
        version = self._engine.version
        found = await unless_left(request.receive, self._match(asked.digests, client))
        return json_answer(CheckAnswer(version, found))

    async def _match(self, digests: list[DigestFields], client: Client) -> list[CheckMatch]:
        values = [(digest.algorithm, bytes.fromhex(digest.value)) for digest in digests]
        found = await self._engine.match(values, client) if values else []
        return [
            CheckMatch(number, match.entry_id, "other" if match.doubt else match.category, match.distance)
            for number, matches in enumerate(found)
            for match in accusing(matches)
        ]

    async def check_one(self, request: Request) -> Response:
        """Compare one digest, and answer by status alone, as nginx's `auth_request` expects."""
        client = self._admitted(request, "check")
        algorithm, value = (request.path_params[name] for name in ("algorithm", "value"))
        digest = validated({"algorithm": algorithm, "value": value.lower()}, DigestFields)
        found = await unless_left(request.receive, self._match([digest], client))
        if found:
            return json_answer(ErrorAnswer("listed", "an entry matches"), HTTPStatus.FORBIDDEN)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def info(self, request: Request) -> Response:
        """Describe this server to a hashscan that uses it as a matching service."""
        self._admitted(request, "check")
        listed = {name for info in self._engine.infos for name, count in info.by_algorithm if count}
        algorithms = [name for name in MATCHED if name in listed]
        return json_answer(Info(self._engine.version, algorithms, DIGESTS_MAX, self._engine.filter))

    async def changes(self, request: Request) -> Response:
        """Say which answers may have changed since a version: none of the present one, all of another."""
        self._admitted(request, "check")
        since = query_of(request, _ChangesQuery).since
        version = self._engine.version
        return json_answer(Changes(version, everything=since != version))

    async def lists(self, request: Request) -> Response:
        """Describe the lists in use."""
        self._admitted(request, "lists")
        infos = [ListAnswer.of(info) for info in self._engine.infos]
        return json_answer(ListsAnswer(self._engine.version, infos))

    async def metrics(self, request: Request) -> Response:
        """Return the metrics in the text format of Prometheus."""
        self._admitted(request, "metrics")
        text = b"" if self._metrics is None else self._metrics()
        return Response(text, media_type="text/plain; version=0.0.4")

    async def healthz(self, request: Request) -> Response:
        """Answer as long as the process does."""
        return json_answer(Health("ok"))

    async def readyz(self, request: Request) -> Response:
        """Answer 200 while uploads are checked, and 503 from the beginning of the end."""
        if self.stopping:
            return error_answer(RequestError(ErrorCode.STOPPING, "the server stops"))
        return json_answer(Health("ok"))

    async def openapi(self, request: Request) -> Response:
        """Describe this interface."""
        return Response(self.document, media_type=JSON)

    @cached_property
    def document(self) -> bytes:
        """The description of the interface, for OpenAPI."""
        return openapi_document(
            self._routes, "hashscan", "Check uploads and digests against hash lists before they are stored.",
            "" if self._keys is None else "A key; each path says which right it must have.",
        )  # fmt: skip

    def _admitted(self, request: Request, right: Right) -> Client:
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


class HttpDoor(AsgiDoor):
    """A door for HTTP and HTTPS."""

    def __init__(
        self,
        engine: Engine,
        settings: DoorSettings,
        *,
        keys: Path | None = None,
        tls: tuple[Path, Path] | None = None,
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        """Make a door.

        Args:
            engine: the checker.
            settings: the settings of this door.
            keys: file of the keys that are accepted; None to need none.
            tls: files of certificate and key; None for HTTP without TLS. A Unix socket never has TLS.
            metrics: returns the metrics in the text format of Prometheus.

        Raises:
            UsageError: the file of keys or the certificate can't be used, or the door would be reachable from
                other machines without a key or without TLS.
        """
        if settings.allow and not isinstance(settings.address, UnixAddress) and (keys is None or tls is None):
            raise UsageError(
                f"HTTP at {describe(settings.address)} is for other machines, so it needs "
                f"{'a file of keys' if keys is None else 'TLS'}",
                advice="Add --http-keys, --tls-cert and --tls-key, or allow no network beyond loopback.",
            )
        self.engine = engine
        self.application = Application(engine, settings, None if keys is None else Keys(keys), metrics)
        super().__init__(settings, self.application.asgi, tls=tls)

    async def close(self, seconds: float) -> None:
        """Close, as the base class says."""
        self.application.stopping = True
        await super().close(seconds)


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
