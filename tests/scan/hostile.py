"""A decoder and a worker that fail on purpose, by a mark at the end of a file, as at an exploited bug."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
from collections.abc import Callable

from hashscan.hashing.media import decoder
from hashscan.hashing.records import (
    DIGESTS_MAX,
    DecodedPicture,
    pack_failure,
    pack_picture,
    unpack_reply,
    unpack_request,
)
from hashscan.hashing.variants import Kind, Part
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult
from hashscan.sandbox.zygote import Parts
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.worker import Worker
from tests.hashing.runs import runs

MARKS = {
    "segfault": b"MARK:segfault",
    "loop": b"MARK:loop",
    "memory": b"MARK:memory",
    "killed": b"MARK:killed",
    "poison": b"MARK:poison",
    "victim": b"MARK:victim",
    "worker": b"MARK:worker",
}
MARK_SIZE = max(len(mark) for mark in MARKS.values())


def load(*arguments: str) -> Callable[[int, bytes], bytes]:
    """The real decoder behind a trap."""
    decode = decoder.load(*arguments)
    poisoned: list[bool] = []

    def trapped(descriptor: int, request: bytes) -> bytes:
        end = os.pread(descriptor, MARK_SIZE, max(0, os.lseek(descriptor, 0, os.SEEK_END) - MARK_SIZE))
        if end.endswith(MARKS["segfault"]):
            ctypes.string_at(0)
        if end.endswith(MARKS["loop"]):
            while True:
                pass
        if end.endswith(MARKS["poison"]):
            poisoned.append(True)
        if end.endswith(MARKS["victim"]) and poisoned:
            ctypes.string_at(0)
        if end.endswith(MARKS["killed"]):
            # As by the system, for want of memory; without the sandbox it can do that itself.
            os.kill(os.getpid(), signal.SIGKILL)
        if end.endswith(MARKS["memory"]):
            hoard = []
            while True:
                hoard.append(bytearray(1 << 24))
        return decode(descriptor, request)

    return trapped


def load_as_it_is(*arguments: str) -> Callable[[int, bytes], bytes]:
    """The real decoder."""
    return decoder.load(*arguments)


def load_killed_at_confirming(*arguments: str) -> Callable[[int, bytes], bytes]:
    """The real decoder, which is killed where it shall confirm a match; without the sandbox only."""
    return _until_confirming(lambda: os.kill(os.getpid(), signal.SIGKILL), *arguments)


def load_faulty_at_confirming(*arguments: str) -> Callable[[int, bytes], bytes]:
    """The real decoder, which crashes where it shall confirm a match."""
    return _until_confirming(lambda: ctypes.string_at(0), *arguments)


def _until_confirming(end: Callable[[], object], *arguments: str) -> Callable[[int, bytes], bytes]:
    decode = decoder.load(*arguments)

    def trapped(descriptor: int, request: bytes) -> bytes:
        if unpack_request(request)[1]:
            end()
        return decode(descriptor, request)

    return trapped


class MortalWorker(Worker):
    """A worker that is killed over a marked file."""

    def check(self, batch: Batch) -> BatchResult:
        for item in batch.items:
            path = os.path.join(batch.target, batch.folder, item.name)
            with open(path, "rb") as stream:
                if stream.read().endswith(MARKS["worker"]):
                    os.kill(os.getpid(), signal.SIGKILL)
        return super().check(batch)


def mortal(setup: WorkerSetup, decode_cache: DecodeCache) -> Worker:
    """Makes one in a pool's process."""
    return MortalWorker(setup, decode_cache)


LIE = b"MARK:lie"
"""A picture with this at its end takes the decoder over."""


def load_liar(*arguments: str) -> Callable[[int, bytes], bytes]:
    """The real decoder, until a marked picture takes it over: then every picture looks like that one."""
    decode = decoder.load(*arguments)
    stolen: list[bytes] = []

    def lying(descriptor: int, request: bytes) -> bytes:
        if stolen:
            return stolen[0]
        answer = decode(descriptor, request)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if os.pread(descriptor, len(LIE), max(0, size - len(LIE))) == LIE:
            stolen.append(answer)
        return answer

    return lying


def load_container_liar(*arguments: str) -> Callable[[int, bytes], bytes | Parts]:
    """The real decoder, until a marked container takes it over: then every container has its members."""
    handle = decoder.load(*arguments)
    stolen: list[bytes] = []

    def lying(descriptor: int, request: bytes) -> bytes | Parts:
        reply = handle(descriptor, request)
        if isinstance(reply, bytes):
            return reply
        size = os.lseek(descriptor, 0, os.SEEK_END)
        marked = os.pread(descriptor, len(LIE), max(0, size - len(LIE))) == LIE
        return _stolen(reply, stolen, marked=marked)

    return lying


def _stolen(reply: Parts, stolen: list[bytes], *, marked: bool) -> Parts:
    if not stolen and not marked:
        return (yield from reply)
    if not stolen:
        while True:
            try:
                stolen.append(next(reply))
            except StopIteration as end:
                stolen.append(end.value)
                break
    yield from stolen[:-1]
    return stolen[-1]


def load_babbler(*arguments: str) -> Callable[[int, bytes], bytes]:
    """Answers of the right length that mean nothing."""
    decode = decoder.load(*arguments)
    return lambda descriptor, request: b"\xff" * len(decode(descriptor, request))


def value_of_frame(number: int) -> bytes:
    """The digest of a frame of `load_crowd`."""
    return hashlib.sha256(number.to_bytes(2)).digest()


def load_crowd(*arguments: str) -> Callable[[int, bytes], bytes]:
    """The real decoder's answer with more frames added than an answer may have, the last like the picture."""
    decode = decoder.load(*arguments)

    def crowded(descriptor: int, request: bytes) -> bytes:
        kind = unpack_request(request).picture_format
        answer = unpack_reply(decode(descriptor, request), kind, ["pdq"])
        if not isinstance(answer, DecodedPicture):
            return pack_failure(answer)
        frames = [
            answer.digests[0]._replace(part=Part(Kind.FRAME, number), value=value_of_frame(number), turn=0)
            for number in range(1, 2 * DIGESTS_MAX)
        ]
        picture = answer.picture
        return pack_picture(kind, picture.width, picture.height, ["pdq"], runs([answer.digests[0], *frames]))

    return crowded


SPINS = b"MARK:spins in a probe"
"""Bytes at the begin of a file over which libavformat never ends, as at a defect of one of its probes. Then
they are in the command line of the decoder, too."""


def load_endless_probe(*arguments: str) -> Callable[[int, bytes], bytes | Parts]:
    """The real decoder, whose probing of videos does not come back from C over marked files."""
    from hashscan.hashing.recognition import video_probe

    ask = video_probe.score_function()
    assert ask is not None
    with open("/proc/self/stat") as stat:
        command_line = int(stat.read().rpartition(")")[2].split()[45])
    search = ctypes.CDLL(None).wcscspn
    search.argtypes = (ctypes.c_wchar_p, ctypes.c_wchar_p)

    def endless(begin: bytes) -> tuple[str, int]:
        if begin.startswith(SPINS):
            ctypes.memmove(command_line, SPINS, len(SPINS))
            # The product of the lengths is the number of steps.
            search("a" * 5_000_000, "b" * 5_000_000)
        return ask(begin)

    video_probe.score_function = lambda: endless
    return decoder.load(*arguments)
