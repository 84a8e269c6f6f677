"""Bound what one key or organisation takes of a node: memory, threads, requests and digests.

What is kept here is of one node, bounded, and lost without harm; the counts are in the database.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import Request

from hashscan.service.doors.http.documents import ErrorCode, RequestError

ROOM, ROOM_OF_ONE = 256 << 20, 64 << 20
"""Most bytes of bodies that a node holds at the same time, and those of one organisation."""
REFUSED_SECONDS = 10.0
"""Longest time for which a key is refused again without a look into the database."""
_REFUSALS_MAX = 10_000
_LEASES_MAX = 10_000
_LEASES = 60
"""One in so many of a minute's requests is taken from the database at once."""
_TURNS, _TURNS_OF_ONE = 3, 2
"""Requests whose digests are compared at the same time, and those of one organisation; other threads look up
keys meanwhile."""


class Room:
    """The bodies of requests that a node holds in memory, of all organisations and of each."""

    def __init__(self) -> None:
        self._held: Counter[int] = Counter()

    def take(self, request: Request, organisation: int, size: int) -> None:
        """Take room until the request is answered."""
        if self._held[organisation] + size > ROOM_OF_ONE or self._held.total() + size > ROOM:
            raise RequestError(ErrorCode.OVERLOADED, "many requests are coming in; send this again later")
        self._held[organisation] += size
        request.state.taken = self, organisation, _taken(request) + size

    def leave(self, organisation: int, size: int) -> None:
        self._held[organisation] -= size
        if not self._held[organisation]:
            del self._held[organisation]


def _taken(request: Request) -> int:
    return int(getattr(request.state, "taken", (None, 0, 0))[2])


def leave_room(request: Request) -> None:
    """Return all room that a request has taken."""
    if _taken(request):
        room, organisation, size = request.state.taken
        del request.state.taken
        room.leave(organisation, size)


class Refusals:
    """The refusals that were sent just now and name a time to wait; the same is refused by them again.

    A key that was refused is so for as long as the answer says, but is looked at again after
    `REFUSED_SECONDS`: a request that is repeated after it was counted is answered all the same.
    """

    def __init__(self) -> None:
        self._refused: dict[Hashable, tuple[float, float, RequestError]] = {}

    def add(self, name: Hashable, error: RequestError) -> None:
        """Refuse by this error from now on, if it names a time."""
        now = time.monotonic()
        if error.retry_after:
            if len(self._refused) >= _REFUSALS_MAX:
                self._refused.clear()
            self._refused[name] = now, now + min(error.retry_after, REFUSED_SECONDS), error

    def require_none(self, name: Hashable) -> None:
        """Return if nothing was refused under this name just now; else raise the error, with the time that is
        left to wait."""
        found = self._refused.get(name)
        if found is None:
            return
        begun, until, error = found
        now = time.monotonic()
        if now >= until:
            self._refused.pop(name, None)
            return
        raise RequestError(error.error, str(error), max(1, error.retry_after - int(now - begun)))


class RequestLeases:
    """Requests of this minute that the database has counted already, and that may still be sent.

    So a key with many requests a minute costs one transaction for several of them. They count even if they
    are not sent.
    """

    def __init__(self) -> None:
        self._left: dict[int, tuple[int, int]] = {}
        self._changing = threading.Lock()

    @staticmethod
    def size(requests_per_minute: int) -> int:
        """Return the number of requests that are taken at once."""
        return max(1, requests_per_minute // _LEASES)

    def take(self, key: int, minute: int) -> bool:
        """Use one; return False if none is left."""
        with self._changing:
            of_minute, left = self._left.get(key, (minute, 0))
            if of_minute != minute or not left:
                return False
            self._left[key] = minute, left - 1
            return True

    def add(self, key: int, minute: int, number: int) -> None:
        with self._changing:
            if len(self._left) >= _LEASES_MAX:
                self._left.clear()
            of_minute, left = self._left.get(key, (minute, 0))
            self._left[key] = minute, number + (left if of_minute == minute else 0)


class Turns:
    """Takes turns in comparing digests, so that one organisation leaves threads to others."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(_TURNS)
        self._own: dict[int, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, organisation: int) -> AsyncIterator[None]:
        """Wait for a turn of this organisation; it ends with the block."""
        own, users = self._own.get(organisation, (asyncio.Semaphore(_TURNS_OF_ONE), 0))
        self._own[organisation] = own, users + 1
        try:
            async with own, self._all:
                yield
        finally:
            _, users = self._own.pop(organisation)
            if users > 1:
                self._own[organisation] = own, users - 1


class Reserved:
    """Digests of each key that are compared now, and are not counted yet."""

    def __init__(self) -> None:
        self._digests: Counter[int] = Counter()
        self._changing = threading.Lock()

    @contextmanager
    def reserving(self, key: int, digests: int) -> Iterator[int]:
        """Reserve digests for the block; yield the number of those that others have reserved."""
        with self._changing:
            others = self._digests[key]
            self._digests[key] += digests
        try:
            yield others
        finally:
            with self._changing:
                self._digests[key] -= digests
                if not self._digests[key]:
                    del self._digests[key]
