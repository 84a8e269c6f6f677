"""Mutated sessions for a clamd door; see `tests.service.doors.fuzzing`."""

from __future__ import annotations

import os
import random
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from hashscan.service.doors.base import ListeningDoor
from hashscan.service.doors.clamd.door import ClamdDoor
from hashscan.settings.service import UnixAddress
from tests.service.doors.clamd.talking import EICAR, END, chunk, settings, stream
from tests.service.doors.fuzzing import IDLE_SECONDS, Sessions, main, opened, send_all
from tests.service.serving import planted


class ClamdSessions(Sessions):
    """Sessions of clamd's clients, which pass descriptors now and then."""

    words: ClassVar[Sequence[bytes]] = (
        b"zPING\0", b"nPING\n", b"PING\n", b"zIDSESSION\0", b"nIDSESSION\n", b"zINSTREAM\0", b"zFILDES\0\0",
        b"zEND\0", b"zSCAN /\0", b"zRELOAD\0", b"nSTATS\n", b"VERSION\n", b"\0", b"\n", b"z", b"n",
    )  # fmt: skip
    numbers: ClassVar[Sequence[bytes]] = (
        END,
        b"\xff" * 4,
        b"\0\0\0\1",
        b"\x7f\xff\xff\xff",
        b"\0\1\0\0",
    )
    head_bytes: ClassVar[int] = 60

    def __init__(self, door: ListeningDoor, files: Path) -> None:
        super().__init__(door)
        self._files = files

    def bases(self) -> Sequence[bytes]:
        """Return the sessions, as the base class says."""
        folder, path = os.fsencode(self._files), os.fsencode(self._files / "planted.jpg")
        z = b"zIDSESSION\0"
        return [
            b"zPING\0",
            b"nVERSION\n",
            b"PING\n",
            b"zINSTREAM\0" + stream(b"text"),
            b"nINSTREAM\n" + stream(EICAR),
            b"zINSTREAM\0" + chunk(b"some ") + chunk(b"more ") + chunk(b"text") + END,
            b"zINSTREAM\0" + stream(planted()),
            z + b"zPING\0zVERSION\0zSTATS\0zVERSIONCOMMANDS\0zEND\0",
            z + b"zINSTREAM\0" + stream(b"one") + b"zPING\0zINSTREAM\0" + stream(b"two") + b"zEND\0",
            z + b"zFILDES\0\0zFILDES\0\0zPING\0zEND\0",
            b"zFILDES\0\0",
            z + b"zSCAN " + path + b"\0zSCAN /nowhere\0zEND\0",
            b"zCONTSCAN " + folder + b"\0",
            b"nMULTISCAN " + folder + b"\n",
        ]

    def upload(self, content: bytes) -> bytes:
        """Return a session, as the base class says."""
        return b"zINSTREAM\0" + stream(content)

    def is_refused(self, answer: bytes) -> bool:
        """Tell the answer, as the base class says."""
        assert answer == b"stream: OK\0" or answer.startswith(b"stream: hashscan.Blocked-"), answer
        return answer != b"stream: OK\0"

    def kind(self, answers: bytes) -> str:
        """Return how it was answered, as the base class says."""
        for word in (b"FOUND", b"OK", b"TIMED OUT", b"UNKNOWN", b"ERROR", b"PONG"):
            if word in answers:
                return word.decode().lower()
        return "other" if answers else "nothing"

    async def send(self, client: socket.socket, piece: bytes, chance: random.Random) -> None:
        """Send a piece, perhaps with descriptors."""
        if chance.random() < 0.9:
            await super().send(client, piece, chance)
            return
        flags = chance.choice((os.O_RDONLY, os.O_WRONLY, os.O_PATH))
        descriptor = os.open(self._files / "clean", flags)
        try:
            with suppress(BlockingIOError):
                socket.send_fds(client, [piece or b"\0"], [descriptor] * chance.choice((1, 1, 2, 9)))
        finally:
            os.close(descriptor)


async def fuzz(folder: Path, number: int, seed: int) -> Counter[str]:
    """Send sessions, and return how many were answered in which way."""
    files = folder / "files"
    files.mkdir()
    (files / "planted.jpg").write_bytes(planted())
    (files / "clean").write_bytes(b"clean")
    chosen = settings(UnixAddress(folder / "door.sock"), idle_seconds=IDLE_SECONDS)
    async with opened(folder, lambda engine: ClamdDoor(engine, chosen, files)) as door:
        return await send_all(ClamdSessions(door, files), number, seed)


if __name__ == "__main__":
    main(fuzz)
