"""Add the routes by which clients ask about digests: `matching_service_api`, with additions of a hub's own.

A request may be compressed (`Content-Encoding: gzip`), and may be NDJSON, a digest a line. NDJSON is answered
where the client accepts it: a line with the version, then a line for each match. A request with an
`Idempotency-Key` can be repeated: it is answered again, and counted once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from hashscan.hub.accounts.keys import Detail, HubKey
from hashscan.hub.checks.counting import (
    Checked,
    OpinionsError,
    QuotaError,
    ReusedKeyError,
    count_check,
    detections_of,
    keep_feedback,
    require_allowed,
)
from hashscan.hub.checks.near_queries import ALGORITHM, watch_near_queries
from hashscan.hub.web.requests import (
    Context,
    HubErrorCode,
    admitted,
    api,
    body_of,
    described,
    in_thread,
    refusing,
)
from hashscan.lists.store import lists_version
from hashscan.matching_service_api import (
    CHANGES,
    CHECK,
    DIGESTS_MAX,
    FEEDBACK,
    INFO,
    Changes,
    CheckAnswer,
    CheckMatch,
    CheckRequest,
    FeedbackRequest,
    FilterAddress,
    Info,
    Version,
)
from hashscan.model import ACTING_CATEGORIES, ALGORITHMS, LISTED_CATEGORY, TEST_CATEGORY, Match
from hashscan.schema import decode_json, validated
from hashscan.service.doors.http.description import BODY_ERRORS, document_body, parameters, response
from hashscan.service.doors.http.documents import ErrorCode, Health, RequestError
from hashscan.service.doors.http.routing import MethodRoute, json_answer, query_of

NDJSON = "application/x-ndjson"
CHECK_BYTES = 4 << 20
"""Largest request about digests in bytes; 10,000 of the longest ones have 3.4 million."""
FEEDBACK_BYTES = 16 << 10
NO_ENTRY = "*"
"""Entry in answers to keys that are shown none."""
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,64}", re.ASCII)
_HEX = b"0123456789abcdef"


class _Digest(Struct, gc=False):
    """A digest as it was sent; `DigestFields` checks each by itself, which takes ten times as long."""

    algorithm: str
    value: str


class _Request(Struct):
    digests: list[_Digest]


_request_decoder = msgspec.json.Decoder(_Request)
_line_decoder = msgspec.json.Decoder(_Digest)
_encoder = msgspec.json.Encoder()


class _Version(Struct):
    version: str


class _ChangesQuery(Struct):
    since: Annotated[Version, Meta(description="A version from an earlier answer.")]


def check_routes(context: Context) -> list[MethodRoute]:
    """Return the routes of `matching_service_api`."""
    answered = api(context)

    @answered
    async def info(request: Request) -> Response:
        """Describe the service."""
        await admitted(context, request, "check")
        lookup, named = context.lookup, context.settings.filter
        # The version first: if the lists change meanwhile, the older version makes the client ask again.
        version = lookup.version
        found = None if named is None else FilterAddress(*named, lists_version(lookup.infos))
        return json_answer(Info(version, lookup.algorithms, DIGESTS_MAX, found))

    @answered
    async def changes(request: Request) -> Response:
        """Say which digests must be asked again since a version of the lists."""
        await admitted(context, request, "check")
        since = query_of(request, _ChangesQuery).since
        version = context.lookup.version
        return json_answer(Changes(version, everything=since != version))

    @answered
    async def check(request: Request) -> Response:
        """Compare digests with the lists."""
        key = await admitted(context, request, "check", kind=CHECK)
        repeated = _idempotency_key(request)
        lines = request.headers.get("content-type", "").partition(";")[0].strip().lower() == NDJSON
        body = await body_of(context, request, CHECK_BYTES, key.organisation)
        async with context.turns.of(key.organisation):
            with refusing(context, request, CHECK):
                answer = await in_thread(_checked, context, key, body, lines, repeated)
        if NDJSON in request.headers.get("accept", ""):
            encoded = _encoder.encode_lines([_Version(answer.version), *answer.matches])
            return Response(encoded, media_type=NDJSON)
        return json_answer(answer)

    @answered
    async def feedback(request: Request) -> Response:
        """Keep the organisation's opinion on an entry."""
        key = await admitted(context, request, "check")
        body = await body_of(context, request, FEEDBACK_BYTES, key.organisation)
        opinion = validated(decode_json(body), FeedbackRequest)
        await in_thread(_kept, context, key, opinion)
        return json_answer(Health("ok"))

    compared = response(CheckAnswer, "Compared.", NDJSON)
    return [
        MethodRoute(f"/{INFO}", info, "GET", described("check", response(Info, "The service."))),
        MethodRoute(
            f"/{CHANGES}", changes, "GET",
            described(
                "check", response(Changes, "Changes since a version."), ErrorCode.INVALID_DOCUMENT,
                parameters=parameters(_ChangesQuery, "query"),
            ),
        ),
        MethodRoute(
            f"/{CHECK}", check, "POST",
            described(
                "check", compared, *BODY_ERRORS, ErrorCode.TOO_MANY_DIGESTS, HubErrorCode.CONFLICT,
                HubErrorCode.QUOTA_EXCEEDED, body=document_body(CheckRequest, NDJSON), parameters=[_REPEATED],
            ),
        ),
        MethodRoute(
            f"/{FEEDBACK}", feedback, "POST",
            described(
                "check", response(Health, "Kept."), *BODY_ERRORS, ErrorCode.NOT_FOUND,
                HubErrorCode.QUOTA_EXCEEDED, body=document_body(FeedbackRequest),
            ),
        ),
    ]  # fmt: skip


_REPEATED: Mapping[str, Any] = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "The same in each repetition of a request, which is counted once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[!-~]+$"},
}  # fmt: skip


def _idempotency_key(request: Request) -> str:
    values = request.headers.getlist("idempotency-key")
    if values and (len(values) > 1 or not _IDEMPOTENCY_KEY.fullmatch(values[0])):
        text = "send one Idempotency-Key of at most 64 printable characters without spaces"
        raise RequestError(ErrorCode.INVALID_REQUEST, text)
    return values[0] if values else ""


def _checked(context: Context, key: HubKey, body: bytes, lines: bool, repeated: str) -> CheckAnswer:
    """Compare the digests of a request, count it, and return the answer."""
    now = int(time.time())
    places, values = digests_of(body, lines=lines)
    number = sum(map(len, places.values()))
    # The same bytes may be a document of many digests, and a line with one.
    sent = b"%d" % lines + body
    try:
        with context.reserved.reserving(key.id, number) as others:
            require_allowed(context.database, key, number + others, now, repeated, sent)
            return _compared(context, key, places, values, now, repeated, sent)
    except ReusedKeyError as error:
        raise RequestError(HubErrorCode.CONFLICT, str(error)) from None
    except QuotaError as error:
        raise RequestError(HubErrorCode.QUOTA_EXCEEDED, str(error), error.wait) from None


def _kept(context: Context, key: HubKey, opinion: FeedbackRequest) -> None:
    if not context.lookup.has_entry(opinion.entry):
        raise RequestError(ErrorCode.NOT_FOUND, "no list in use has this entry")
    try:
        keep_feedback(context.database, key, opinion, int(time.time()))
    except OpinionsError as error:
        raise RequestError(HubErrorCode.QUOTA_EXCEEDED, str(error), 3600) from None


def _compared(
    context: Context,
    key: HubKey,
    places: Mapping[str, Sequence[int]],
    values: Mapping[str, bytes],
    now: int,
    repeated: str,
    sent: bytes,
) -> CheckAnswer:
    version, found = context.lookup.match(values)
    pdqs, of_pdqs = values.get(ALGORITHM, b""), found.get(ALGORITHM, {})
    withheld = watch_near_queries(context.database, key, pdqs, of_pdqs, now)
    if withheld:
        # Nor are they counted, since the organisation sees the numbers.
        found[ALGORITHM] = {row: each for row, each in of_pdqs.items() if row not in withheld}
    matches: list[tuple[int, list[Match]]] = sorted(
        (places[algorithm][row], of_digest)
        for algorithm, rows in found.items()
        for row, of_digest in rows.items()
    )
    exact = sum(len(rows) for name, rows in places.items() if ALGORITHMS[name].metric == "exact")
    checked = Checked(
        exact,
        sum(map(len, places.values())) - exact,
        len(matches),
        detections_of([[(m.list_name, _category(m)) for m in each] for _, each in matches]),
    )
    count_check(context.database, key, checked, now, repeated, sent)
    shown = [one for place, each in matches for one in _shown(place, each, key.detail)]
    # For review, as near misses are.
    shown += [CheckMatch(places[ALGORITHM][row], NO_ENTRY, LISTED_CATEGORY) for row in sorted(withheld)]
    return CheckAnswer(version, sorted(shown, key=lambda one: one.digest))


def digests_of(body: bytes, *, lines: bool = False) -> tuple[dict[str, list[int]], dict[str, bytes]]:
    """Return the digests of a request.

    Returns:
        By algorithm, the indices of its digests in the request, and the digests, one after another.

    Raises:
        RequestError: the body is not valid, or has too many digests.
    """
    # Before it is decoded: 4 MiB of the shortest objects would take 50 MB.
    if body.count(b"{") > DIGESTS_MAX + 1:
        raise RequestError(ErrorCode.TOO_MANY_DIGESTS, f"more than {DIGESTS_MAX} digests")
    try:
        digests = _line_decoder.decode_lines(body) if lines else _request_decoder.decode(body).digests
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(ErrorCode.INVALID_DOCUMENT, str(error)) from None
    if len(digests) > DIGESTS_MAX:
        raise RequestError(ErrorCode.TOO_MANY_DIGESTS, f"more than {DIGESTS_MAX} digests")
    places: dict[str, list[int]] = {}
    for place, digest in enumerate(digests):
        places.setdefault(digest.algorithm, []).append(place)
    values: dict[str, bytes] = {}
    for name, of_algorithm in places.items():
        known = ALGORITHMS.get(name)
        texts = [digests[place].value for place in of_algorithm]
        if known is None or not known.matched or not _are_valid(texts, 2 * known.size):
            raise _invalid(digests)
        values[name] = bytes.fromhex("".join(texts))
    return places, values


def _are_valid(texts: Sequence[str], length: int) -> bool:
    if set(map(len, texts)) != {length}:
        return False
    return not "".join(texts).encode("utf-8", "replace").translate(None, _HEX)


def _invalid(digests: Sequence[_Digest]) -> RequestError:
    """Return the error that names the first digest that is not valid."""
    place = next(
        place
        for place, digest in enumerate(digests)
        if (known := ALGORITHMS.get(digest.algorithm)) is None
        or not known.matched
        or not _are_valid([digest.value], 2 * known.size)
    )
    text = f"digest {place}, counted from 0, is not one of a known algorithm, in lower-case hexadecimal"
    return RequestError(ErrorCode.INVALID_DOCUMENT, text)


def _category(match: Match) -> str:
    return "other" if match.doubt else match.category


def _shown(place: int, matches: Sequence[Match], detail: Detail) -> Iterator[CheckMatch]:
    """Yield the answer about a digest, with as much detail as its key is shown."""
    if detail == "entry":
        for match in matches:
            yield CheckMatch(place, match.entry_id, _category(match), match.distance)
    elif detail == "category":
        for category in dict.fromkeys(map(_category, matches)):
            yield CheckMatch(place, NO_ENTRY, category)
    else:
        # Likeness is for review: the answer does not say how near the entry is.
        acting = {_category(m) for m in matches if ALGORITHMS[m.algorithm].metric == "exact"}
        acting &= ACTING_CATEGORIES
        # Everybody knows the test entries, which must not look like others.
        category = TEST_CATEGORY if acting == {TEST_CATEGORY} else LISTED_CATEGORY
        yield CheckMatch(place, NO_ENTRY, category, acting=bool(acting))
