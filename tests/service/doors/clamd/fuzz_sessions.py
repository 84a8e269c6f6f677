"""Send mutated sessions to a clamd door with the real engine.

    python -m tests.service.doors.clamd.fuzz_sessions [NUMBER] [SEED]

sends NUMBER (100,000 by default) sessions, some at a time, and prints how they were answered. It fails if one
is not ended in time, if the door logs a defect, if anything is held afterwards (uploads, connections,
descriptors), or if an unchanged session in between gets a wrong answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

from hashscan.settings.service import UnixAddress
from tests.service.doors.clamd.talking import EICAR, END, chunk, clamd_door, stream
from tests.service.engine.serving import open_as, picture

_TOGETHER = 16
_SECONDS = 60.0
_NUMBERS = (END, b"\xff" * 4, b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\0\1\0\0")
_WORDS = (
    b"zPING\0", b"nPING\n", b"PING\n", b"zIDSESSION\0", b"nIDSESSION\n", b"zINSTREAM\0", b"zFILDES\0\0",
    b"zEND\0", b"zSCAN /\0", b"zRELOAD\0", b"nSTATS\n", b"VERSION\n", b"\0", b"\n", b"z", b"n",
)  # fmt: skip

PLANTED = picture(1)
CLEAN = picture(2)


def sessions(folder: Path) -> list[bytes]:
    """Return the sessions that are mutated."""
    path = os.fsencode(folder / "planted.jpg")
    z = b"zIDSESSION\0"
    return [
        b"zPING\0",
        b"nVERSION\n",
        b"PING\n",
        b"zINSTREAM\0" + stream(b"text"),
        b"nINSTREAM\n" + stream(EICAR),
        b"zINSTREAM\0" + chunk(b"some ") + chunk(b"more ") + chunk(b"text") + END,
        b"zINSTREAM\0" + stream(PLANTED),
        z + b"zPING\0zVERSION\0zSTATS\0zVERSIONCOMMANDS\0zEND\0",
        z + b"zINSTREAM\0" + stream(b"one") + b"zPING\0zINSTREAM\0" + stream(b"two") + b"zEND\0",
        b"nIDSESSION\nnINSTREAM\n" + stream(CLEAN) + b"nPING\nnEND\n",
        z + b"zFILDES\0\0zFILDES\0\0zPING\0zEND\0",
        b"zFILDES\0\0",
        z + b"zSCAN " + path + b"\0zSCAN /nowhere\0zEND\0",
        b"zCONTSCAN " + os.fsencode(folder) + b"\0",
        b"nMULTISCAN " + os.fsencode(folder) + b"\n",
    ]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a session with some bytes, lengths, words or pieces changed."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(changed) + 1) if chance.random() < 0.5 else chance.randrange(
            min(len(changed), 60) + 1
        )  # fmt: skip
        match chance.randrange(7):
            case 0:
                changed[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                changed[at : at + 4] = chance.choice(_NUMBERS)
            case 2:
                changed[at : at + chance.randrange(1, 16)] = b""
            case 3:
                changed[at:at] = changed[at : at + chance.randrange(1, 64)]
            case 4:
                changed[at:at] = chance.choice(_WORDS)
            case 5:
                del changed[max(1, at) :]
            case 6:
                changed += changed[chance.randrange(len(changed) + 1) :][:500]
    return bytes(changed)


async def converse(address: UnixAddress, content: bytes, chance: random.Random, passed: Path) -> bytes | None:
    """Send a session in some pieces, perhaps with descriptors, and return the answers; None if it left."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        await loop.sock_connect(client, str(address.path))
        with suppress(BrokenPipeError, ConnectionResetError):
            pieces = chance.choice((1, 1, 1, 2, 5))
            cuts = sorted(chance.randrange(len(content) + 1) for _ in range(pieces - 1))
            for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
                if chance.random() < 0.1:
                    descriptor = os.open(passed, chance.choice((os.O_RDONLY, os.O_WRONLY, os.O_PATH)))
                    number = chance.choice((1, 1, 2, 9))
                    with suppress(BlockingIOError):
                        socket.send_fds(client, [content[begin:end] or b"\0"], [descriptor] * number)
                    os.close(descriptor)
                else:
                    await loop.sock_sendall(client, content[begin:end])
            if chance.random() < 0.1:
                return None
            client.shutdown(socket.SHUT_WR)
        answers = b""
        with suppress(ConnectionResetError):
            while data := await loop.sock_recv(client, 65536):
                answers += data
        return answers


class Defects(logging.Handler):
    """Keeps errors that are logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


def memory() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def fuzz(folder: Path, number: int, seed: int) -> Counter[str]:
    """Send sessions, and return how many were answered in which way."""
    files = folder / "files"
    files.mkdir()
    (files / "planted.jpg").write_bytes(PLANTED)
    (files / "clean").write_bytes(b"clean")
    bases = sessions(files)
    counts: Counter[str] = Counter()
    defects = Defects()
    logging.getLogger("hashscan").addHandler(defects)
    async with clamd_door(folder, PLANTED, root=files, idle_seconds=5.0, upload_bytes=1 << 20) as door:
        address = door.address
        assert isinstance(address, UnixAddress)

        async def some(places: range) -> None:
            for place in places:
                chance = random.Random(f"{seed} {place}")
                async with asyncio.timeout(_SECONDS):
                    if place % 50 == 0:
                        answer = await converse(address, b"zINSTREAM\0" + stream(PLANTED), Unchanged(), files)
                        assert answer is not None
                        assert answer.startswith(b"stream: hashscan.Blocked-"), answer
                        continue
                    content = mutated(bases[place % len(bases)], chance)
                    answer = await converse(address, content, chance, files / "clean")
                if answer is None:
                    counts["left"] += 1
                else:
                    for word in (b"FOUND", b"OK", b"TIMED OUT", b"UNKNOWN", b"ERROR", b"PONG"):
                        if word in answer:
                            counts[word.decode().lower()] += 1
                            break
                    else:
                        counts["other" if answer else "nothing"] += 1

        async def all_of(places: range) -> int:
            """Send sessions, wait until nothing of them is held, and return the memory."""
            await asyncio.gather(*(some(places[start::_TOGETHER]) for start in range(_TOGETHER)))
            async with asyncio.timeout(_SECONDS):
                # Those of workers that start late, and of what is opened once for all sessions, come and go.
                while (
                    door.connections
                    or door.engine.room.contents
                    or door.engine.room.taken
                    or open_as("memfd:hashscan-upload")
                    or open_as(f"{files}/")
                ):
                    await asyncio.sleep(0.01)
            return memory()

        warm = await all_of(range(number // 5))
        later = await all_of(range(number // 5, number))
        counts["(kilobytes more)"] = (later - warm) // 1024
    assert not defects.found, defects.found[0]
    return counts


class Unchanged(random.Random):
    """Chance that changes nothing: one piece, no descriptors, no leaving."""

    def random(self) -> float:
        return 1.0

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]


def main() -> None:
    """Run from the command line."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        for name, count in sorted(asyncio.run(fuzz(Path(folder), number, seed)).items()):
            sys.stdout.write(f"{count:9,} {name}\n")


if __name__ == "__main__":
    main()
