"""A program whose files misbehave on request: each request names what to do."""

from __future__ import annotations

import array
import ctypes
import errno
import itertools
import os
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable

from hashscan.sandbox.protocol import DECODER_SOCKET, LAST, NONCE_BYTES
from hashscan.sandbox.zygote import Parts
from tests.sandbox import attempts
from tests.sandbox.attempts import ATTEMPTS, libc

REPLY = struct.Struct("<iiq")
"""Success, errno, and a number."""


def taken_over_socket() -> socket.socket:
    """The decoder's own socket, as an intruder would find it; never closed."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=DECODER_SOCKET)
    kept.append(channel)
    return channel


kept: list[socket.socket] = []


def nonce() -> bytes:
    """The nonce of the present request, out of the loop's own variables."""
    frame = sys._getframe()
    while frame.f_code.co_name != "_serve":
        assert frame.f_back is not None
        frame = frame.f_back
    found: bytearray = frame.f_locals["buffer"]
    return bytes(found[:NONCE_BYTES])


def reply(number: int = 0, *, done: bool = True, error: int = 0) -> bytes:
    return REPLY.pack(done, error, number)


def _spin(fd: int) -> bytes:
    while True:
        pass


def _memory(fd: int) -> bytes:
    return reply(len(bytearray(1 << 40)))


def _half_a_gigabyte(fd: int) -> bytes:
    return reply(len(bytearray(1 << 29)))


def _memory_in_small_pieces(fd: int) -> bytes:
    pieces = [bytes(1 << 20) for _ in itertools.count()]
    return reply(len(pieces))


def _size_after_a_while(fd: int) -> bytes:
    begun = time.monotonic()
    while time.monotonic() < begun + 0.5:
        pass
    return reply(os.lseek(fd, 0, os.SEEK_END))


def _raise(fd: int) -> bytes:
    raise ZeroDivisionError


def _leave(fd: int) -> bytes:
    sys.exit(0)


def _twice(fd: int) -> bytes:
    taken_over_socket().send(nonce() + LAST + reply(3))
    return reply(3)


def _twice_a_little_later(fd: int) -> bytes:
    prepared = nonce() + LAST + reply(666)
    channel = taken_over_socket()
    signal.signal(signal.SIGALRM, lambda number, frame: channel.send(prepared) and None)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    return reply(1)


def _flood(fd: int) -> bytes:
    channel = taken_over_socket()
    while True:
        channel.send(nonce() + LAST + reply(3))


def _send(make: Callable[[], bytes]) -> Callable[[int], bytes]:
    def act(fd: int) -> bytes:
        taken_over_socket().send(make())
        signal.pause()
        return b""

    return act


def _with_descriptor(fd: int) -> bytes:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd] * 5))]
    taken_over_socket().sendmsg([nonce() + LAST + reply(4)], rights)
    signal.pause()
    return b""


def _deaf(fd: int) -> bytes:
    """Close the socket and live on."""
    os.close(DECODER_SOCKET)
    never = threading.Lock()
    while True:
        never.acquire()


def _stop(fd: int) -> bytes:
    os.kill(os.getpid(), signal.SIGSTOP)
    return reply()


files_seen = 0


def _spin_from_the_second_on(fd: int) -> bytes:
    global files_seen
    files_seen += 1
    return reply() if files_seen == 1 else _spin(fd)


def _die_of(number: int) -> Callable[[int], bytes]:
    """End by a signal, as if somebody had sent it."""

    def act(fd: int) -> bytes:
        os.kill(os.getpid(), number)
        signal.pause()
        return b""

    return act


def _print(fd: int) -> bytes:
    print("heard by nobody")  # noqa: T201
    warnings.warn("heard by nobody", stacklevel=1)
    libc.perror(b"heard by nobody")
    return reply(5)


def _parts(
    number: float, then: Callable[[int], object] = lambda fd: None, last: bytes = b""
) -> Callable[[int], Parts]:
    """Reply in so many parts, act, and send the last part."""

    def act(fd: int) -> Parts:
        for place in itertools.count():
            if place >= number:
                break
            yield reply(place)
        then(fd)
        return last

    return act


DEEDS: dict[str, Callable[[int], bytes | Parts]] = {
    "three parts": _parts(2, last=reply(2)),
    "parts without end": _parts(float("inf")),
    "no part": _parts(0),
    "two parts and spin": _parts(2, _spin),
    "two parts and raise": _parts(2, _raise),
    "two parts and a fault": _parts(2, lambda fd: ctypes.string_at(0)),
    "a long part": _parts(1, last=bytes(REPLY.size + 1)),
    "pid as a last part": lambda fd: _parts(0, last=reply(os.getpid()))(fd),
    "send an unknown mark": _send(lambda: nonce() + b"\2" + reply()),
    "pid": lambda fd: reply(os.getpid()),
    "size": lambda fd: reply(os.lseek(fd, 0, os.SEEK_END)),
    "size after a while": _size_after_a_while,
    "first byte": lambda fd: reply(os.pread(fd, 1, 0)[0]),
    "fault": lambda fd: reply(len(ctypes.string_at(0))),
    "abort": lambda fd: os.abort(),
    "spin": _spin,
    "spin in C": lambda fd: reply(sum(itertools.repeat(0))),
    "memory": _memory,
    "half a gigabyte": _half_a_gigabyte,
    "memory in small pieces": _memory_in_small_pieces,
    "exit 0": lambda fd: os._exit(0),
    "exit 7": lambda fd: os._exit(7),
    "raise": _raise,
    "leave": _leave,
    "empty": lambda fd: b"",
    "long": lambda fd: bytes(REPLY.size + 1),
    "twice": _twice,
    "twice a little later": _twice_a_little_later,
    "flood": _flood,
    "send nothing": _send(lambda: b""),
    "send a nonce alone": _send(nonce),
    "send a long one": _send(lambda: nonce() + LAST + reply() + b"x"),
    "send a huge one": _send(lambda: nonce() + bytes(100_000)),
    "send another nonce": _send(lambda: bytes(NONCE_BYTES) + LAST + reply()),
    "with a descriptor": _with_descriptor,
    "deaf": _deaf,
    "stop": _stop,
    "spin from the second on": _spin_from_the_second_on,
    "killed": _die_of(signal.SIGKILL),
    "signalled": _die_of(signal.SIGUSR1),
    "print": _print,
    "leak": lambda fd: (os.dup(fd), reply(6))[1],
}


def load(listener: str = "", *arguments: str) -> Callable[[int, bytes], bytes | Parts]:
    attempts.listener = listener

    def handle(fd: int, request: bytes) -> bytes | Parts:
        name = request.decode()
        if name not in ATTEMPTS:
            return DEEDS[name](fd)
        try:
            ATTEMPTS[name](fd)
        except OSError as error:
            return reply(done=False, error=error.errno or errno.EIO)
        return reply()

    return handle


def load_broken(*arguments: str) -> Callable[[int, bytes], bytes | Parts]:
    raise RuntimeError("this program was never any good")


def load_killed(times: str, counted: str) -> Callable[[int, bytes], bytes | Parts]:
    """Be killed while loading, so many times; a file has a byte for each."""
    with open(counted, "ab") as file:
        file.write(b"x")
        file.flush()
        if file.tell() <= int(times):
            os.kill(os.getpid(), signal.SIGKILL)
    return load()


def load_ending(*arguments: str) -> Callable[[int, bytes], bytes | Parts]:
    os._exit(9)
