"""Mutated sessions for an ICAP door; see `tests.service.doors.fuzzing`.

It fails also if the parser reads a session otherwise when it comes in pieces.
"""

from __future__ import annotations

import gzip
import io
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from hashscan.service.doors.icap.door import IcapDoor
from tests.service.doors import fuzzing
from tests.service.doors.fuzzing import IDLE_SECONDS, Sessions, main, opened, send_all
from tests.service.doors.icap.sessions import (
    REQUEST_HEAD,
    Reply,
    chunked,
    form,
    parse,
    reqmod,
    request,
    respmod,
)
from tests.service.serving import tcp_door

ALLOW = "Allow: 204"
FORM_HEAD = REQUEST_HEAD[:-2] + b"Content-Type: multipart/form-data; boundary=b7\r\n\r\n"
GZIP_HEAD = REQUEST_HEAD[:-2] + b"Content-Encoding: gzip\r\n\r\n"
INNER_HEAD = b"Content-Type: multipart/mixed; boundary=c8\r\n\r\n"
BASE64_HEAD = b"Content-Transfer-Encoding: base64\r\n\r\n"


class IcapSessions(Sessions):
    """Sessions of ICAP clients."""

    words: ClassVar[Sequence[bytes]] = (
        *(b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n", b"0; ieof\r\n\r\n", b"; ieof", b"ffffffff\r\n"),
        *(b"1\r\n", b"-1", b"\0", b" ", b"\t", b",", b"=0, ", b"Preview: 10\r\n", b"Allow: 204\r\n"),
        *(b"Connection: close\r\n", b"--b7", b"--b7--\r\n", b"--b7\r\n", b"Content-Encoding: gzip\r\n"),
        *(b"Content-Type: multipart/mixed; boundary=b7\r\n", b"Content-Transfer-Encoding: base64\r\n"),
        *(b"Encapsulated: null-body=0\r\n", b"OPTIONS icap://h/hashscan ICAP/1.0\r\n\r\n"),
    )
    numbers: ClassVar[Sequence[bytes]] = [b"%x" % number for number in range(16)]
    head_bytes: ClassVar[int] = 1000
    quiet_seconds: ClassVar[float] = 0.03

    def bases(self) -> Sequence[bytes]:
        """Return the sessions, as the base class says."""
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
            reqmod(chunked([form(b"b7", [b"YWJj"], head=BASE64_HEAD)]), head=FORM_HEAD),
            reqmod(chunked([gzip.compress(text)]), ALLOW, head=GZIP_HEAD),
            request("OPTIONS", [])
            + reqmod(chunked([b"a"]))
            + respmod(chunked([b"b"]))
            + request("OPTIONS", []),
        ]

    def upload(self, content: bytes) -> bytes:
        """Return a session, as the base class says."""
        return reqmod(chunked([content]), ALLOW, "Connection: close")

    def is_refused(self, answer: bytes) -> bool:
        """Tell the answer, as the base class says."""
        reply = Reply(io.BytesIO(answer))
        assert reply.refused or reply.status == 204, answer
        return reply.refused

    def kind(self, answers: bytes) -> str:
        """Return the first status; each answer must be one of ICAP."""
        stream = io.BytesIO(answers)
        statuses = []
        with suppress(EOFError):
            while stream.tell() < len(answers):
                statuses.append(Reply(stream).status)
        return str(statuses[0]) if statuses else "nothing"

    def mutated(self, content: bytes, chance: random.Random) -> bytes:
        """Return a changed session, which the parser reads as well in pieces as in whole."""
        changed = super().mutated(content, chance)
        assert parse(fuzzing.cut(changed, chance)) == parse([changed]), changed
        return changed


async def fuzz(folder: Path, number: int, seed: int) -> Counter[str]:
    """Send sessions, and return how many were first answered with which status."""
    chosen = tcp_door("icap", idle_seconds=IDLE_SECONDS)
    async with opened(folder, lambda engine: IcapDoor(engine, chosen)) as door:
        return await send_all(IcapSessions(door), number, seed)


if __name__ == "__main__":
    main(fuzz)
