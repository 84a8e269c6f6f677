"""Define the documents of the HTTP interface, and the errors with their stable codes and statuses.

Those about digests are in `matching_service_api`, since another hashscan that asks this server reads them,
too.
"""

from __future__ import annotations

from enum import Enum

import msgspec
from msgspec import Struct

from hashscan.errors import HashscanError
from hashscan.model import ListInfo, Match, TrustState, Verdict
from hashscan.service.engine.uploads import Answer, Outcome
from hashscan.text import printable


class AnyErrorCode(Enum):
    """The base of errors of requests: a code that does not change, and the status of the answer."""

    def __init__(self, code: str, status: int) -> None:
        self.code = code
        self.status = status


class ErrorCode(AnyErrorCode):
    """The errors of requests to `hashscan serve`."""

    INVALID_REQUEST = "invalid_request", 400
    """No valid HTTP, or a body whose length is not clear."""
    MULTIPART_INVALID = "multipart_invalid", 400
    KEY_MISSING = "key_missing", 401
    KEY_INVALID = "key_invalid", 401
    """Unknown, revoked or expired."""
    RIGHT_MISSING = "right_missing", 403
    NOT_FOUND = "not_found", 404
    METHOD_NOT_ALLOWED = "method_not_allowed", 405
    TOO_SLOW = "too_slow", 408
    TOO_LARGE = "too_large", 413
    MULTIPART_TOO_MANY = "multipart_too_many", 413
    TOO_MANY_DIGESTS = "too_many_digests", 413
    ENCODED = "encoded", 415
    """A body with a `Content-Encoding`."""
    MULTIPART_ENCODED = "multipart_encoded", 415
    INVALID_DOCUMENT = "invalid_document", 422
    """A parameter or JSON document that is not valid."""
    RATE_LIMITED = "rate_limited", 429
    DEFECT = "defect", 500
    OVERLOADED = "overloaded", 503
    UNCHECKED = "unchecked", 503
    LEGAL_BASIS = "legal_basis", 503
    """The door checks nothing, since its legal basis has ended."""
    KEYS_UNAVAILABLE = "keys_unavailable", 503
    STOPPING = "stopping", 503


RETRY_SECONDS = 1
"""Seconds after which a client may try again after an answer of status 503."""


class RequestError(HashscanError):
    """A request that is answered by an error."""

    def __init__(self, error: AnyErrorCode, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.error = error
        self.retry_after = retry_after or (RETRY_SECONDS if error.status == 503 else 0)
        """Seconds to wait before another try; 0 where that would not help."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    @property
    def body(self) -> bytes:
        """The document of the answer."""
        return msgspec.json.encode(ErrorAnswer(self.error.code, printable(str(self))))


class ErrorAnswer(Struct, frozen=True):
    """An error."""

    code: str
    """For programs: one of the codes in the description of the status."""
    message: str
    """For people."""


class MatchAnswer(Struct, frozen=True):
    """An entry that a file matches."""

    list: str
    entry: str
    algorithm: str
    category: str
    distance: int
    """Bits in which a perceptual digest differs from the entry; for photodna, the squared distance; for vpdq,
    the percentage of the listed frames that are missing."""
    threshold: int
    """Largest distance at which an entry matches; one that is farther away is for review."""
    withheld: bool = False
    """True if an exception or a rule withholds it."""

    @classmethod
    def of(cls, match: Match) -> MatchAnswer:
        """Return the answer about a match."""
        return cls(
            match.list_name,
            match.entry_id,
            match.algorithm,
            match.category,
            match.distance,
            match.threshold,
            bool(match.excepted or match.withheld),
        )


class FileAnswer(Struct, frozen=True, omit_defaults=True):
    """The answer about one file; what follows `threat` is for clients alone that are shown entries."""

    outcome: Outcome
    """Store it (allow), don't (refuse), or ask again later (error)."""
    name: str = ""
    """Its name as it was sent, with escapes."""
    field: str = ""
    """Name of the form's field."""
    threat: str = ""
    """Name with the reference of the case, where it is refused; this may be shown to the uploader."""
    verdict: Verdict | None = None
    reason: str = ""
    """Reason why not all of it was checked."""
    detail: str = ""
    because: str = ""
    matches: list[MatchAnswer] = []
    digests: dict[str, str] = {}
    """By algorithm, in hexadecimal; only where they are asked for."""

    @classmethod
    def of(cls, answer: Answer, name: bytes, field: bytes, *, trusted: bool, digests: bool) -> FileAnswer:
        """Make one of the engine's answer, with all of it for a trusted client alone."""
        shown, shown_field = (printable(text.decode("utf-8", "surrogateescape")) for text in (name, field))
        if not trusted:
            return cls(answer.outcome, shown, shown_field, answer.threat)
        result = answer.result
        return cls(
            answer.outcome,
            shown,
            shown_field,
            answer.threat,
            result.verdict,
            result.reason.value if result.reason else "",
            printable(result.detail),
            printable(result.because),
            [MatchAnswer.of(match) for match in result.matches],
            {digest.algorithm: digest.value.hex() for digest in result.digests} if digests else {},
        )


class ScanAnswer(Struct, frozen=True, omit_defaults=True):
    """The answer about an upload of one or several files."""

    outcome: Outcome
    """The worst of its files: refuse, else error, else allow."""
    files: list[FileAnswer]
    version: str = ""
    """Version of the lists, for clients that are shown entries."""


class ListAnswer(Struct, frozen=True):
    """A list in use."""

    name: str
    state: TrustState
    version: int
    entries: int
    by_algorithm: dict[str, int]
    categories: list[str]
    expires: str | None
    problem: str | None

    @classmethod
    def of(cls, info: ListInfo) -> ListAnswer:
        """Return the answer about a list."""
        return cls(
            info.name,
            info.state,
            info.version,
            info.entries,
            dict(info.by_algorithm),
            list(info.categories),
            info.expires,
            info.problem,
        )


class ListsAnswer(Struct, frozen=True):
    """All lists in use."""

    version: str
    """A text that changes with the lists, exceptions and policy."""
    lists: list[ListAnswer]


class Health(Struct, frozen=True):
    """The state of the server."""

    status: str
    """`ok`."""
