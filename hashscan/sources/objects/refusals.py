"""Interpret a server's refusal to send an object, by status and code of S3 and compatible services."""

from __future__ import annotations

import re

from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.store import RetryableError

_BUSY = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException"}
    | {"RequestLimitExceeded", "TooManyRequests", "ServerBusy", "OperationTimedOut"}
)
_NO_RIGHT = frozenset(
    {"AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
    | {"InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "AccountProblem"}
)
_ARCHIVED = frozenset({"InvalidObjectState", "BlobArchived"})

_PLAIN = re.compile(r"[A-Za-z0-9.]{1,64}")


def refused(status: int, code: str, *, begun: bool = False) -> FileError | RetryableError:
    """Return the error for an answer without the object.

    Args:
        status: the HTTP status.
        code: the service's error code; empty if there is none.
        begun: True if some of the object was read before.
    """
    code = code if _PLAIN.fullmatch(code) else ""
    words = f"the server says {code or status}"
    if code in _ARCHIVED:
        return FileError(Reason.ARCHIVED)
    if code in _BUSY or status in {408, 429} or status >= 500:
        return RetryableError(words)
    if code in _NO_RIGHT or status in {401, 403}:
        return FileError(Reason.PERMISSION, words)
    # 405: the version has become a delete marker.
    if status in {404, 405, 410}:
        return FileError(Reason.VANISHED)
    # 416: the object is shorter than the part that was read before.
    if status == 412 or (status == 416 and begun):
        return FileError(Reason.CHANGED if begun else Reason.REPLACED)
    return FileError(Reason.IO_ERROR, words)
