"""Send mutated sessions to an ICAP door with the real engine.

    python -m tests.service.doors.icap.fuzz_sessions [NUMBER] [SEED]

sends NUMBER (100,000 by default) sessions, some at a time, and prints how they were answered. It fails if one
is not ended in time, if an answer is no ICAP, if the door logs a defect, if anything is held afterwards
(uploads, connections, descriptors), if the parser reads a session otherwise when it comes in pieces, or if an
unchanged session in between gets a wrong answer.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import random
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

from hashscan.service.doors.icap.door import IcapDoor
from tests.service.doors.icap.sessions import (
    REQUEST_HEAD,
    Reply,
    chunked,
    cut,
    form,
    parse,
    reqmod,
    request,
    respmod,
)
from tests.service.engine.serving import open_as
from tests.service.serving import Defects, clean, make_state, memory, planted, served, tcp_door

_TOGETHER = 16
_SECONDS = 60.0
_QUIET_SECONDS = 0.03
_WORDS = (
    *(b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n", b"0; ieof\r\n\r\n", b"; ieof", b"ffffffff\r\n", b"1\r\n"),
    *(
        b"-1",
        b"\0",
        b" ",
        b"\t",
        b",",
        b"=0, ",
        b"Preview: 10\r\n",
        b"Allow: 204\r\n",
        b"Connection: close\r\n",
    ),
    *(b"--b7", b"--b7--\r\n", b"--b7\r\n", b"Content-Type: multipart/mixed; boundary=b7\r\n"),
    *(b"Content-Transfer-Encoding: base64\r\n", b"Content-Encoding: gzip\r\n"),
    *(b"Encapsulated: null-body=0\r\n", b"OPTIONS icap://h/hashscan ICAP/1.0\r\n\r\n"),
)

ALLOW = "Allow: 204"
FORM_HEAD = REQUEST_HEAD[:-2] + b"Content-Type: multipart/form-data; boundary=b7\r\n\r\n"
INNER_HEAD = b"Content-Type: multipart/mixed; boundary=c8\r\n\r\n"
PLANTED = reqmod(chunked([planted()]), ALLOW)


def sessions() -> list[bytes]:
    """Return the sessions that are mutated."""
    text = b"some text that is no picture"
    inner = form(b"c8", [text, b"x"])
    return [
        request("OPTIONS", []),
        request("REQMOD", [("req-hdr", REQUEST_HEAD), ("null-body", b"")], ALLOW),
        reqmod(chunked([text, text]), ALLOW),
        respmod(chunked([text, text])),
        reqmod(chunked([text[:10]]) + chunked([text[10:]]), ALLOW, "Preview: 10"),
        respmod(chunked([text], b"0; ieof\r\n\r\n"), "Preview: 100"),
        reqmod(chunked([form(b"b7", [text, b"", b"x"])]), ALLOW, head=FORM_HEAD),
        reqmod(chunked([form(b"b7", [inner], head=INNER_HEAD)]), head=FORM_HEAD),
        reqmod(
            chunked([form(b"b7", [b"YWJj"], head=b"Content-Transfer-Encoding: base64\r\n\r\n")]),
            head=FORM_HEAD,
        ),
        reqmod(
            chunked([gzip.compress(text)]), ALLOW, head=REQUEST_HEAD[:-2] + b"Content-Encoding: gzip\r\n\r\n"
        ),
        request("OPTIONS", []) + reqmod(chunked([b"a"])) + respmod(chunked([b"b"])) + request("OPTIONS", []),
        reqmod(chunked([clean()]), ALLOW),
    ]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a session with some bytes, words or pieces changed."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(min(len(changed), 1000) + 1)
        match chance.randrange(7):
            case 0:
                changed[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                changed[at : at + 1] = chance.choice(b"0123456789abcdef").to_bytes()
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


async def converse(port: int, content: bytes, chance: random.Random) -> bytes | None:
    """Send a session in some pieces, and return the answers until it is quiet; None if it left at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with suppress(ConnectionError):
            for piece in cut(content, [chance.randrange(10**6) for _ in range(chance.choice((0, 0, 1, 4)))]):
                writer.write(piece)
                await writer.drain()
        if chance.random() < 0.1:
            return None
        answers = b""
        with suppress(TimeoutError, ConnectionError):
            while True:
                async with asyncio.timeout(_QUIET_SECONDS):
                    data = await reader.read(1 << 16)
                if not data:
                    return answers
                answers += data
        with suppress(ConnectionError):
            writer.write_eof()
            answers += await reader.read()
        return answers
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of the answers; the last one may be cut."""
    stream = io.BytesIO(answers)
    found = []
    with suppress(EOFError):
        while stream.tell() < len(answers):
            found.append(Reply(stream).status)
    return found


async def ask_planted(port: int) -> Reply:
    """Return the answer to an unchanged session."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(PLANTED)
        head = await reader.readuntil(b"\r\n\r\n")
        return Reply(io.BytesIO(head + await reader.readuntil(b"\r\n0\r\n\r\n")))
    finally:
        writer.close()
        await writer.wait_closed()


async def some(port: int, places: range, seed: int, counts: Counter[str]) -> None:
    """Send sessions one after the other."""
    bases = sessions()
    for place in places:
        chance = random.Random(f"{seed} {place}")
        async with asyncio.timeout(_SECONDS):
            if place % 50 == 0:
                assert (await ask_planted(port)).refused
                continue
            content = mutated(bases[place % len(bases)], chance)
            whole = parse([content])
            assert parse(cut(content, [chance.randrange(10**6) for _ in range(5)])) == whole, content
            answers = await converse(port, content, chance)
        if answers is None:
            counts["left"] += 1
        else:
            first, *_ = statuses(answers) or ["nothing"]
            counts[str(first)] += 1


def fuzz(folder: Path, number: int, seed: int) -> Counter[str]:
    """Send sessions, and return how many were first answered with which status."""
    counts: Counter[str] = Counter()
    defects = Defects()
    logging.getLogger("hashscan").addHandler(defects)
    door = tcp_door("icap", idle_seconds=5.0, one_owner=True)
    try:
        with served(make_state(folder / "state"), IcapDoor, door) as service:

            async def all_of(places: range) -> int:
                """Send sessions, wait until nothing of them is held, and return the memory."""
                async with asyncio.TaskGroup() as group:
                    for start in range(_TOGETHER):
                        group.create_task(some(service.address.port, places[start::_TOGETHER], seed, counts))
                async with asyncio.timeout(_SECONDS):
                    # Other descriptors, as of workers that start late, come and go.
                    while (
                        service.door.connections  # type: ignore[attr-defined]
                        or not service.is_idle()
                        or open_as("memfd:hashscan-upload")
                    ):
                        await asyncio.sleep(0.01)
                return memory()

            async def both() -> None:
                warm = await all_of(range(number // 5))
                later = await all_of(range(number // 5, number))
                counts["(kilobytes more)"] = (later - warm) // 1024

            asyncio.run(both())
    finally:
        logging.getLogger("hashscan").removeHandler(defects)
    assert not defects.found, defects.found[0]
    return counts


def main() -> None:
    """Run from the command line."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        for name, count in sorted(fuzz(Path(folder), number, seed).items()):
            sys.stdout.write(f"{count:9,} {name}\n")


if __name__ == "__main__":
    main()
