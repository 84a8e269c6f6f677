"""Mutated sessions for a door with the real engine: what the fuzzers of all protocols share.

    python -m tests.service.doors.PROTOCOL.fuzz_sessions [NUMBER] [SEED]

sends NUMBER (100,000 by default) sessions, some at a time, and prints how they were answered. It fails if one
is not ended in time, if an answer is none of the protocol's, if the door logs a defect, if anything is held
afterwards (uploads, connections, tasks, descriptors), or if in between an unchanged session with the planted
picture is not refused, or one with a clean picture is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from hashscan.sandbox.linux_process import release_memory, use_one_heap
from hashscan.service.doors.base import ListeningDoor
from hashscan.service.engine.engine import Engine
from hashscan.settings.service import UnixAddress
from tests.service.engine.serving import serving, settings_of
from tests.service.serving import Defects, clean, make_state, memory, planted

_TOGETHER = 32
_SECONDS = 120.0
_CHECKED_EACH = 50
"""Mutated sessions to one that is not changed."""
IDLE_SECONDS = 2.0
"""Time after which the door ends a connection on which nothing is sent."""


Fuzz = Callable[[Path, int, int], Coroutine[Any, Any, Counter[str]]]
"""Sends a number of sessions by a seed, with a folder for its files, and returns how they were answered."""


class Sessions(ABC):
    """The sessions of one protocol with an open door."""

    words: ClassVar[Sequence[bytes]]
    """Inserted by mutations."""
    numbers: ClassVar[Sequence[bytes]]
    """Put in the place of other bytes by mutations."""
    head_bytes: ClassVar[int]
    """Half of the mutations are within so many bytes of the beginning."""
    quiet_seconds: ClassVar[float] = 0.0
    """Time without an answer after which a client leaves, where one that ends its side has left; else 0."""

    def __init__(self, door: ListeningDoor) -> None:
        self.door = door

    @abstractmethod
    def bases(self) -> Sequence[bytes]:
        """Return the sessions that are mutated."""

    @abstractmethod
    def upload(self, content: bytes) -> bytes:
        """Return a session with one upload, after which the door closes the connection."""

    @abstractmethod
    def is_refused(self, answer: bytes) -> bool:
        """Return True if this answers a refused upload, and False if an allowed one."""

    @abstractmethod
    def kind(self, answers: bytes) -> str:
        """Return how a session was answered, to be counted; the last answer may be cut."""

    async def send(self, client: socket.socket, piece: bytes, chance: random.Random) -> None:
        """Send a piece of a session."""
        await asyncio.get_running_loop().sock_sendall(client, piece)

    async def connected(self) -> socket.socket:
        """Return a connection to the door."""
        address = self.door.address
        unix = isinstance(address, UnixAddress)
        client = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        client.setblocking(False)
        where = str(address.path) if isinstance(address, UnixAddress) else (address.host, address.port)
        await asyncio.get_running_loop().sock_connect(client, where)
        return client

    async def ask(self, content: bytes) -> bool:
        """Return True if an upload is refused that is sent as it should be."""
        loop = asyncio.get_running_loop()
        answer = b""
        with await self.connected() as client:
            await loop.sock_sendall(client, self.upload(content))
            while data := await loop.sock_recv(client, 1 << 16):
                answer += data
        return self.is_refused(answer)

    async def converse(self, content: bytes, chance: random.Random) -> bytes | None:
        """Send a session in some pieces, and return the answers; None if the client left at once."""
        loop = asyncio.get_running_loop()
        with await self.connected() as client:
            with suppress(ConnectionError):
                for piece in cut(content, chance):
                    await self.send(client, piece, chance)
                    if chance.random() < 0.05:
                        await asyncio.sleep(0.005)
                if chance.random() < 0.1:
                    return None
            answers = b""
            # A few don't leave before the door ends the connection.
            patience = self.quiet_seconds if chance.random() < 0.98 else None
            if patience == 0:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while True:
                    try:
                        async with asyncio.timeout(patience or None):
                            data = await loop.sock_recv(client, 1 << 16)
                    except TimeoutError:
                        patience = None
                        with suppress(OSError):
                            client.shutdown(socket.SHUT_WR)
                        continue
                    if not data:
                        break
                    answers += data
            return answers

    def mutated(self, content: bytes, chance: random.Random) -> bytes:
        """Return a session with some bytes, numbers, words or pieces changed."""
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            reach = len(changed) if chance.random() < 0.5 else min(len(changed), self.head_bytes)
            at = chance.randrange(reach + 1)
            match chance.randrange(7):
                case 0:
                    changed[at : at + 1] = bytes((chance.randrange(256),))
                case 1:
                    number = chance.choice(self.numbers)
                    changed[at : at + len(number)] = number
                case 2:
                    changed[at : at + chance.randrange(1, 16)] = b""
                case 3:
                    changed[at:at] = changed[at : at + chance.randrange(1, 64)]
                case 4:
                    changed[at:at] = chance.choice(self.words)
                case 5:
                    del changed[max(1, at) :]
                case 6:
                    changed += changed[chance.randrange(len(changed) + 1) :][:500]
        return bytes(changed)


def cut(content: bytes, chance: random.Random) -> list[bytes]:
    """Return a session in some pieces."""
    cuts = sorted(chance.randrange(len(content) + 1) for _ in range(chance.choice((0, 0, 0, 1, 4))))
    return [content[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]


@asynccontextmanager
async def opened(folder: Path, make: Callable[[Engine], ListeningDoor]) -> AsyncIterator[ListeningDoor]:
    """Open a door with an engine that has the planted picture in a list."""
    make_state(folder / "state")
    async with serving(settings_of(folder / "state", upload_bytes=1 << 20)) as engine:
        door = make(engine)
        await door.open()
        try:
            yield door
        finally:
            await door.close(1)


def descriptors() -> Counter[str]:
    """Return the number of open descriptors by what they lead to, without numbers of sockets and pipes."""
    found: Counter[str] = Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found[os.readlink(f"/proc/self/fd/{descriptor}").partition(":[")[0]] += 1
    return found


async def _until_equal(now: Callable[[], Any], wanted: object) -> None:
    """Wait until nothing differs; what comes and goes may take a while."""
    try:
        async with asyncio.timeout(_SECONDS):
            while now() != wanted:
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{now()} is not {wanted}") from None


async def send_all(sessions: Sessions, number: int, seed: int) -> Counter[str]:
    """Send sessions, and return how many were answered in which way."""
    door = sessions.door
    room, pool = door.engine.room, door.engine.pool
    bases = [*sessions.bases(), sessions.upload(clean())]
    counts: Counter[str] = Counter()

    async def some(places: range) -> None:
        for place in places:
            chance = random.Random(f"{seed} {place}")
            async with asyncio.timeout(_SECONDS):
                if place % _CHECKED_EACH == 0:
                    assert await sessions.ask(planted())
                    assert not await sessions.ask(clean())
                    counts["(unchanged)"] += 1
                    continue
                content = sessions.mutated(bases[place % len(bases)], chance)
                answers = await sessions.converse(content, chance)
            counts["left" if answers is None else sessions.kind(answers)] += 1

    async def all_of(places: range) -> None:
        """Send sessions, and wait until nothing of them is held."""
        async with asyncio.TaskGroup() as group:
            for start in range(_TOGETHER):
                group.create_task(some(places[start::_TOGETHER]))
        await _until_equal(lambda: (door.connections, room.contents, room.taken), (0, 0, 0))
        await _until_equal(lambda: (pool.queued, pool.running), (0, 0))

    defects = Defects()
    logging.getLogger().addHandler(defects)
    try:
        # What is opened once for all sessions is open after the first ones.
        await all_of(range(number // 5))
        release_memory()
        before = memory(), descriptors(), len(asyncio.all_tasks())
        await all_of(range(number // 5, number))
        # Less is well: a thread that opens files for a client may close one after the client has left.
        await _until_equal(lambda: descriptors() - before[1], Counter())
        await _until_equal(lambda: len(asyncio.all_tasks()), before[2])
        release_memory()
        counts["(kilobytes more)"] = (memory() - before[0]) // 1024
    finally:
        logging.getLogger().removeHandler(defects)
    assert not defects.found, defects.found[0]
    assert not pool.deaths
    return counts


def main(fuzz: Fuzz) -> None:
    """Run a fuzzer from the command line."""
    use_one_heap()
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        for name, count in sorted(asyncio.run(fuzz(Path(folder), number, seed)).items()):
            sys.stdout.write(f"{count:9,} {name}\n")
