"""Read objects through obstore, if it supports their keys, and interpret its errors.

obstore stores keys as normalized paths: `a//b`, `./z` or a newline can't be requested, and a leading slash is
lost. Objects with such keys are read through the vendor's own library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hashscan.model import Item, Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.store import Chunk, ObjectStream, RetryableError, refused

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

ONE_TRY: RetryConfig = {"max_retries": 0}
"""No retries here: the download engine retries and counts the tries."""

READ_SECONDS = 60
"""Timeout for each next piece of an answer, in seconds."""

CLIENT: ClientConfig = {
    "connect_timeout": timedelta(seconds=10),
    "read_timeout": timedelta(seconds=READ_SECONDS),
    # For a whole download, however large.
    "timeout": timedelta(days=1),
    "pool_idle_timeout": timedelta(seconds=20),
}

_AT_ONCE = 1 << 20
"""Objects up to this size are read in one piece, larger ones in pieces of this size."""

_UNFIT = re.compile(
    # Keys that obstore rejects or changes, and text that could be mistaken for a server's answer in an error
    # message.
    r"[\x00-\x1f\x7f<]|\A/|/\Z|//|(?:\A|/)\.\.?(?:/|\Z)|status code|kind: "
)
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>")
_KIND = re.compile(r"kind: (Connect|Request|Timeout|Interrupted)\b")

_KINDS = {
    "Connect": "can't connect",
    "Request": "the connection failed",
    "Timeout": "the server didn't answer in time",
    "Interrupted": "the connection was cut",
}


def path_of(key: bytes) -> str | None:
    """Return a key as obstore's path, or None if obstore does not support it."""
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if not text or _UNFIT.search(text) else text


def read(store: ObjectStore, path: str, item: Item, offset: int) -> ObjectStream:
    """Begin to read an object, with a store that was created with ONE_TRY."""
    import obstore

    options: GetOptions = {}
    if item.etag:
        options["if_match"] = item.etag
    if item.version:
        options["version"] = item.version
    if offset:
        options["range"] = {"offset": offset}
    try:
        answer = obstore.get(store, path, options=options)
        meta = answer.meta
        size = meta["size"]
        # Read a small object at once: each piece costs a call into the library and back.
        chunks: Iterator[Chunk] = (
            iter((memoryview(answer.bytes()),)) if size - offset <= _AT_ONCE else _pieces(answer, offset)
        )
    except Exception as error:
        raise trouble_of(error, begun=offset > 0) from error
    stated = {name: str(answer.attributes.get(name) or "") for name in ("Content-Encoding", "Content-Type")}
    return ObjectStream(
        *(chunks, size, meta.get("e_tag") or "", meta.get("version") or ""),
        encoding=stated["Content-Encoding"],
        media_type=stated["Content-Type"],
    )


def _pieces(answer: Any, offset: int) -> Iterator[Chunk]:
    try:
        for piece in answer.stream(min_chunk_size=_AT_ONCE):
            yield memoryview(piece)
    except Exception as error:
        raise trouble_of(error, begun=True) from error


def trouble_of(error: Exception, *, begun: bool) -> FileError | RetryableError | Exception:
    """Return the error for an object from any error of obstore, without showing its text to anybody."""
    from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

    if isinstance(error, FileNotFoundError):
        return refused(404, _code(str(error)), begun=begun)
    if not isinstance(error, BaseError):
        return error
    text = str(error)
    status = _STATUS.search(text)
    if status is not None:
        return refused(int(status[1]), _code(text), begun=begun)
    if isinstance(error, UnauthenticatedError):
        # No server reported this: our own credential provider has failed.
        return RetryableError("credentials could not be renewed", reason=Reason.CREDENTIALS)
    if isinstance(error, PermissionDeniedError):
        return refused(403, "", begun=begun)
    if isinstance(error, PreconditionError):
        return refused(412, "", begun=begun)
    kind = _KIND.search(text)
    return RetryableError("the download failed" if kind is None else _KINDS[kind[1]])


def _code(text: str) -> str:
    found = _CODE.search(text)
    return "" if found is None else found[1]
