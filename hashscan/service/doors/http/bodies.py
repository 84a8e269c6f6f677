"""Receive the bodies of requests: bounded in bytes and time, into memory files, never into files on a disk.

A body's length must be clear to every server that it passes: a request with a `Transfer-Encoding` and a
`Content-Length` is refused (`ClearLengths`), and h11, whose parser reads the requests, refuses lengths that
differ, signs in lengths, other encodings than `chunked`, and folded or malformed headers. A compressed body
(`Content-Encoding`) is refused, since the application behind may store what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import Request

from hashscan.service.doors.http.documents import ErrorCode, RequestError
from hashscan.service.doors.multipart import (
    SNIFF_BYTES,
    MultipartError,
    MultipartParser,
    Part,
    PartEnd,
    boundary_of,
    looks_like_form,
)
from hashscan.service.engine.contents import Content, Receiving
from hashscan.service.engine.uploads import TooLarge
from hashscan.settings.service import DoorSettings

T = TypeVar("T")

PARTS_MAX = 100
"""Most parts of a form."""
FORM_EXTRA_BYTES = 1 << 20
"""Bytes that a form may have beyond the largest upload: headers and delimiters of its parts."""
DROPPED_BYTES, DROPPED_SECONDS = 16 << 20, 10.0
"""Bounds of what is read and dropped of a refused body; its client may not read an answer before it has sent
all of it, and a connection that is closed before is reset."""
_FIELDS_MAX = 200
_UNPARSED_BYTES = 1 << 16
"""A body of which so many bytes are left is dropped without being parsed."""


class ClientLeftError(Exception):
    """The client has left; nobody waits for an answer."""


class Body:
    """The body of one request."""

    def __init__(self, request: Request, settings: DoorSettings) -> None:
        """Note the headers; nothing is read yet."""
        self._receive = request.receive
        self._headers = request.headers
        self._drop_unparsed: Callable[[int], Awaitable[None]] | None = getattr(
            request.state, "drop_body", None
        )
        self._idle_seconds = settings.idle_seconds
        self._until = asyncio.get_running_loop().time() + settings.request_seconds
        self._left = 0
        self._received = 0
        self.announced = 0
        """Bytes that the client has announced; 0 if it has announced none."""
        self.complete = "transfer-encoding" not in self._headers and not int(
            self._headers.get("content-length", 0)
        )
        """True if all of it was received, or there is none."""

    def accept(self, size_max: int, *, encoded: bool = False) -> None:
        """Examine the headers, and accept a body of so many bytes.

        Args:
            size_max: most bytes as they are sent.
            encoded: True if the caller has examined the `Content-Encoding`.

        Raises:
            RequestError: the body's encoding is not accepted.
            TooLarge: more bytes are announced.
        """
        if not encoded and self._headers.getlist("content-encoding") not in ([], ["identity"]):
            raise RequestError(ErrorCode.ENCODED, "send the body without a Content-Encoding")
        self.announced = int(self._headers.get("content-length", 0))
        self._left = size_max
        if self.announced > size_max:
            raise TooLarge(f"the body has more than {size_max} bytes")

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they come.

        Raises:
            RequestError: it comes too slowly.
            TooLarge: it has too many bytes.
            ClientLeftError: the client has left.
        """
        loop = asyncio.get_running_loop()
        while not self.complete:
            try:
                async with asyncio.timeout_at(min(self._until, loop.time() + self._idle_seconds)):
                    message = await self._receive()
            except TimeoutError:
                raise RequestError(ErrorCode.TOO_SLOW, "the body comes too slowly") from None
            if message["type"] != "http.request":
                raise ClientLeftError
            data: bytes = message.get("body", b"")
            self.complete = not message.get("more_body", False)
            self._received += len(data)
            self._left -= len(data)
            if self._left < 0:
                raise TooLarge("the body has more bytes than allowed")
            if data:
                yield data

    async def drop(self) -> None:
        """Read what is left of a refused body, up to a limit; nothing of one that waits to be asked for."""
        if self.complete or self._headers.get("expect", "").lower() == "100-continue":
            return
        left = DROPPED_BYTES
        unparsed = int(self._headers.get("content-length", 0)) - self._received
        try:
            async with asyncio.timeout(DROPPED_SECONDS):
                if self._drop_unparsed is not None and unparsed > _UNPARSED_BYTES:
                    # It takes less time than h11 does, and the connection can't be used after that.
                    await self._drop_unparsed(min(unparsed, left))
                    return
                while left > 0:
                    message = await self._receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        self.complete = message["type"] == "http.request"
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return


async def read_all(body: Body) -> bytes:
    """Return a body that is small enough to be held in one piece.

    Raises:
        RequestError, TooLarge, ClientLeftError: see `Body.pieces`.
    """
    return b"".join([piece async for piece in body.pieces()])


def parse_form(data: bytes) -> Mapping[str, tuple[str, ...]]:
    """Return the fields of `application/x-www-form-urlencoded`, each with its values, without NUL.

    Raises:
        ValueError: it is not valid, or has too many fields.
    """
    fields: dict[str, tuple[str, ...]] = {}
    pairs = parse_qsl(
        data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX
    )
    for name, value in pairs:
        fields[name] = (*fields.get(name, ()), value.replace("\0", ""))
    return fields


async def receive_files(
    body: Body, content_type: str, receive: Callable[[int], Receiving]
) -> list[tuple[Part, Content]]:
    """Receive a body: a form's parts, or one file that is all of it. The caller closes the contents.

    Args:
        receive: `Engine.receive`.

    Raises:
        RequestError, ClientLeftError: see `Body.pieces`.
        MultipartError, TooLarge, Overloaded: a form or a file is refused.
    """
    boundary = boundary_of(content_type)
    files: list[tuple[Part, Content]] = []
    try:
        if boundary is None:
            begin = b""
            with receive(body.announced) as receiving:
                async for piece in body.pieces():
                    if len(begin) < SNIFF_BYTES:
                        begin += piece[:SNIFF_BYTES]
                    receiving.write(piece)
                # As one file, it would be clean whatever its parts are.
                if looks_like_form(begin):
                    raise MultipartError("the body is a form, and its Content-Type does not say so")
                files.append((Part(b"", b""), receiving.finish()))
        else:
            await _receive_form(body, MultipartParser(boundary, PARTS_MAX), receive, files)
    except BaseException:
        close_all(files)
        raise
    return files


async def _receive_form(
    body: Body,
    parser: MultipartParser,
    receive: Callable[[int], Receiving],
    files: list[tuple[Part, Content]],
) -> None:
    part, receiving = Part(b"", b""), None
    try:
        async for piece in body.pieces():
            for event in parser.feed(piece):
                match event:
                    case Part():
                        part, receiving = event, receive(0)
                    case PartEnd():
                        assert receiving is not None
                        files.append((part, receiving.finish()))
                        receiving = None
                    case _:
                        assert receiving is not None
                        receiving.write(event)
        parser.finish()
    finally:
        if receiving is not None:
            receiving.close()


def close_all(files: list[tuple[Part, Content]]) -> None:
    """Close the contents of files."""
    for _, content in files:
        content.close()


async def unless_left(receive: Callable[[], Awaitable[Any]], work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work, which is cancelled if the client leaves; its body was received.

    Raises:
        ClientLeftError: it has left.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_leaving(receive))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeftError
        return task.result()
    finally:
        for each in (task, left):
            if not each.done():
                each.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _leaving(receive: Callable[[], Awaitable[Any]]) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
