"""The ICAP door: proxies and applications ask by REQMOD and RESPMOD (RFC 3507) if a body may pass.

Every body is received in whole, whatever its name or type, since whoever sends it chooses both. The
connection of a proxy carries the requests of many people, so each request is an owner of its own, unless the
settings say otherwise.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from contextlib import suppress
from typing import ClassVar

from msgspec import Struct, structs

from hashscan.errors import HashscanError
from hashscan.model import Reason
from hashscan.service.doors.base import StreamDoor
from hashscan.service.doors.connection import Connection
from hashscan.service.doors.icap import replies
from hashscan.service.doors.icap.bodies import Body
from hashscan.service.doors.icap.http_heads import body_facts
from hashscan.service.doors.icap.requests import (
    BodyEnd,
    Event,
    PreviewEnd,
    ProtocolError,
    Request,
    RequestParser,
)
from hashscan.service.engine.contents import Content
from hashscan.service.engine.uploads import Answer, Client, Outcome, Overloaded, TooLarge, Unchecked

SERVICES: dict[str, tuple[str, ...]] = {
    "hashscan": ("REQMOD", "RESPMOD"),
    "avscan": ("REQMOD", "RESPMOD"),  # what several clients ask for by default
    "reqmod": ("REQMOD",),
    "respmod": ("RESPMOD",),
}
"""Paths and their methods. RFC 3507 has one method for each, but most clients use one path for both."""
OWNER_MAX = 256
"""Longest name of an owner in characters."""
DROPPED_MAX = 1 << 30
"""Bytes of a body that is not kept which are read and dropped, since many clients read no answer before."""

_RETURN_BYTES = 1 << 16
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1 << 20

_log = logging.getLogger(__name__)
_requests = itertools.count(1)


class _Decision(Struct, frozen=True):
    """The answer to one request."""

    outcome: Outcome
    threat: str = ""
    """Name of what was found, for a refusal."""
    status: int = 500
    """ICAP status of an error."""
    answers: tuple[Answer, ...] = ()
    """The refusals."""


class _Arrival(Struct):
    """The arrival of one body."""

    may_204: bool
    """True if the client takes `204` for an answer now."""
    body: Body | None = None
    trouble: HashscanError | None = None
    """The reason why the body was dropped."""
    dropped: int = 0
    """Bytes that were dropped."""

    async def take(self, data: bytes) -> None:
        if self.trouble is not None or self.body is None:
            self.dropped += len(data)
            return
        try:
            await self.body.write(data)
        except (TooLarge, Overloaded) as error:
            self.trouble = error
            self.body.close()


class IcapDoor(StreamDoor):
    """A place where ICAP clients connect."""

    protocol: ClassVar[str] = "icap"

    async def serve(self, connection: Connection) -> None:
        await _Session(self, connection).run()

    def refusal(self, reason: str) -> bytes:
        return replies.error(503, self.engine.version)


class _Session:
    """One connection: its requests are answered one after the other."""

    def __init__(self, door: IcapDoor, connection: Connection) -> None:
        self._door = door
        self._engine = door.engine
        self._settings = door.settings
        self._connection = connection
        self._parser = RequestParser()

    async def run(self) -> None:
        try:
            while await self._arrives():
                with self._connection.request():
                    if not await self._answer_next():
                        break
        except ProtocolError as error:
            _log.debug("icap: %s: %s", self._connection.client.address, error)
            await self._end_by(error.status)
        except (OSError, TimeoutError):
            raise
        except Exception:
            # A defect: the client must not take silence for consent.
            with suppress(OSError, TimeoutError):
                await self._connection.send(replies.error(500, self._engine.version))
            raise

    async def _arrives(self) -> bool:
        """Wait for the first bytes of a request; return False if the client ends the connection."""
        if self._parser.between_requests:
            try:
                data = await self._connection.read()
            except TimeoutError:
                return False
            self._parser.feed(data)
            return bool(data)
        return True

    async def _event(self) -> Event | None:
        """Return the parser's next event; None if the client ends the connection."""
        while (event := self._parser.next()) is None:
            try:
                data = await self._connection.read()
            except TimeoutError as error:
                raise ProtocolError(408, "too slow") from error
            if not data:
                return None
            self._parser.feed(data)
        return event

    async def _end_by(self, status: int) -> None:
        """Send an error, and end the connection so that the client can read it."""
        await self._connection.send(replies.error(status, self._engine.version))
        await self._linger()

    async def _linger(self) -> None:
        """End the connection so that a client that still writes can read what was sent."""
        await self._connection.end_sending()
        await self._connection.drop_rest(_LINGER_SECONDS, _LINGER_BYTES)

    async def _answer_next(self) -> bool:
        """Answer one request; return False if the connection ends."""
        request = await self._event()
        if not isinstance(request, Request):
            return False
        closes = request.closes or self._door.closing
        methods = SERVICES.get(request.service.strip("/").lower())
        if methods is None or (request.method != "OPTIONS" and request.method not in methods):
            # A client that sends on gets the answer at the end of the body.
            if not await self._drop(request):
                return False
            status = 404 if methods is None else 405
            await self._connection.send(replies.error(status, self._engine.version, closes=closes))
        elif request.method == "OPTIONS":
            if not await self._drop(request):
                return False
            maximum = self._settings.connections_max
            await self._connection.send(
                replies.options(self._engine.version, methods, maximum, closes=closes)
            )
        elif not await self._adapt(request, closes=closes):
            return False
        return not closes

    async def _drop(self, request: Request) -> bool:
        """Read the body of a request that is not served; return False if the client ends the connection."""
        if not request.has_body:
            return True
        while True:
            match await self._event():
                case None:
                    return False
                case BodyEnd() | PreviewEnd(complete=True):
                    return True
                case PreviewEnd():
                    self._parser.finish()
                    return True

    async def _adapt(self, request: Request, *, closes: bool) -> bool:
        """Answer REQMOD or RESPMOD; return False if the connection ends."""
        arrival = _Arrival(may_204=request.allows_204)
        if not request.has_body:
            return await self._send(request, arrival, _Decision(Outcome.ALLOW), closes=closes)
        of_response = request.method == "RESPMOD"
        facts = body_facts(request.request_head, request.response_head, of_response=of_response)
        client = self._client(request)
        try:
            try:
                arrival.body = Body(self._engine, self._settings, client, facts)
            except (TooLarge, Overloaded) as error:
                arrival.trouble = error
            if not await self._receive(arrival):
                return False
            self._connection.arrived()
            if arrival.trouble is not None:
                self._engine.recorder.failed(client, arrival.trouble)
            decision = await self._decide(arrival)
            return await self._send(request, arrival, decision, closes=closes)
        finally:
            if arrival.body is not None:
                arrival.body.close()

    async def _receive(self, arrival: _Arrival) -> bool:
        """Receive a body, or read on and drop it; return False if the client ends the connection."""
        while True:
            match await self._event():
                case None:
                    return False
                case bytes() as data:
                    await arrival.take(data)
                    if arrival.dropped > DROPPED_MAX:
                        return True
                case PreviewEnd(complete=False) if arrival.trouble is None:
                    await self._connection.send(replies.CONTINUE)
                    self._parser.proceed()
                case PreviewEnd(complete=complete):
                    if not complete:
                        self._parser.finish()
                    arrival.may_204 = True
                    return True
                case BodyEnd():
                    return True

    async def _decide(self, arrival: _Arrival) -> _Decision:
        """Check a body that has arrived, and return the answer by the door's settings."""
        try:
            if arrival.trouble is not None:
                raise arrival.trouble
            assert arrival.body is not None
            with self._connection.working():
                answers = await arrival.body.check(keep=not arrival.may_204)
        except (TooLarge, Overloaded, Unchecked) as error:
            _log.info("icap: %s: not checked: %s", self._connection.client.address, error)
            outcome = Outcome(self._settings.answers["trouble"])
            status = 503 if isinstance(error, Overloaded) else 500
            return _Decision(outcome, replies.UNCHECKED, status)
        refused = [answer for answer in answers if answer.outcome is Outcome.REFUSE]
        if refused:
            return _Decision(Outcome.REFUSE, refused[0].threat or replies.BLOCKED, answers=tuple(refused))
        if any(answer.outcome is Outcome.ERROR for answer in answers):
            return _Decision(Outcome.ERROR)
        if arrival.body.doubt is not None:
            # A body without bytes has no check that takes the doubt into account.
            ambiguous = arrival.body.doubt is Reason.AMBIGUOUS
            answer = self._settings.answers["ambiguous" if ambiguous else "undecoded"]
            return _Decision(Outcome(answer), replies.UNCHECKED)
        return _Decision(Outcome.ALLOW)

    async def _send(self, request: Request, arrival: _Arrival, decision: _Decision, *, closes: bool) -> bool:
        """Send the answer to a body; return False if the connection ends."""
        tag = self._engine.version
        cut = arrival.dropped > DROPPED_MAX
        closes = closes or cut
        send = self._connection.send
        content = arrival.body.content if arrival.body is not None else None
        if decision.outcome is Outcome.REFUSE:
            shown = decision.answers if self._settings.show_entries else ()
            await send(replies.refused(tag, decision.threat, shown, closes=closes))
        elif decision.outcome is Outcome.ERROR:
            await send(replies.error(decision.status, tag, closes=closes))
        elif arrival.may_204:
            await send(replies.unmodified(tag, closes=closes))
        elif arrival.trouble is not None:
            # The whole message would have to be sent back, and is not there.
            await send(replies.error(500, tag, closes=closes))
        else:
            await send(replies.returned(tag, request, closes=closes))
            if content is not None:
                # A client that takes it slowly would keep its memory from others.
                async with asyncio.timeout(self._settings.request_seconds):
                    await self._send_back(content)
            if request.has_body:
                await send(replies.END)
        if cut:
            await self._linger()
        return not closes

    async def _send_back(self, content: Content) -> None:
        offset = 0
        while data := os.pread(content.descriptor, _RETURN_BYTES, offset):
            await self._connection.send(replies.chunk(data))
            offset += len(data)

    def _client(self, request: Request) -> Client:
        """Return the client with the owner of a request: trusted, or the request itself."""
        client = self._connection.client
        header = self._settings.owner_header.lower()
        values = request.values(header) if header else []
        if len(values) == 1 and 0 < len(values[0]) <= OWNER_MAX:
            return structs.replace(client, owner=f"name:{values[0]}", customer=values[0])
        return structs.replace(client, owner=client.owner or f"request:{next(_requests)}")
