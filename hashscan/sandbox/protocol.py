"""Define the messages between worker, zygote and decoder, bounded and never pickled; wait for one.

All three sockets are of type SOCK_SEQPACKET, so a message is complete or absent. Worker and zygote exchange
`COMMAND` and `ANSWER`. A decoder sends one `ConfinementResult`, and then replies to each request. A request
is a nonce and the caller's bytes, with one descriptor; the reply is one message, or several where the program
answers in parts. Each has the same nonce, `MORE` or `LAST`, and one to `reply_max` bytes. The decoder waits
while the worker has not taken earlier parts and the socket is full.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct, structs

from hashscan.model import SandboxLevel
from hashscan.text import printable

_SLICE_SECONDS = 0.5
_LATE_SECONDS = 1.0
"""A slice that took longer than this was interrupted: this process was stopped, or frozen with its container.
The other side may have been stopped as well, so that time doesn't count against it."""


def wait_for_message(
    poll: select.poll, deadline: float, processor_left: Callable[[], float] | None = None
) -> bool:
    """Wait until a registered descriptor is ready (return True) or the deadline (time.monotonic()) has passed
    (False); it is extended by the time in which this process was stopped. `processor_left` returns the
    seconds of processor time that the other side has left, and is called for the first time after half a
    second. The wait ends when none is left."""
    now = time.monotonic()
    most = _SLICE_SECONDS
    while True:
        left = deadline - now
        if poll.poll(max(0.0, min(left, most)) * 1000):
            return True
        if left <= 0:
            return False
        if processor_left is not None:
            # The other side has one thread, which uses at most one second of processor time per second.
            most = min(_SLICE_SECONDS, processor_left())
            if most <= 0:
                return False
        before, now = now, time.monotonic()
        deadline += max(0.0, now - before - _LATE_SECONDS)


DECODER_SOCKET = 3
"""Descriptor number of a decoder's socket: not 0 to 2, because a C library's printf would write into it."""

REQUEST_MAX = 4096
"""Maximum length of a request in bytes."""
REPLY_MAX = 65536
"""Maximum length of a reply in bytes; well under what a socket accepts without waiting."""
NONCE_BYTES = 8
LAST, MORE = b"\0", b"\1"
"""The byte after the nonce of a reply: whether it is the last message of the reply."""
REPLY_HEAD_BYTES = NONCE_BYTES + len(LAST)

READY = b"ready"
"""The zygote's first message: the program is loaded."""

COMMAND = struct.Struct("<II")
"""The command, and a number. For SPAWN: the memory limit of the decoder in MiB, 0 for the configured one.
For END: milliseconds to wait for the decoder to end by itself. SPARE forks a decoder for later, with the
configured limit. PROMOTE puts the one with a process id, a spare or parked one, in the place of the present
decoder. PARK stops the present decoder and sets it aside, and DISCARD ends the parked one with a process id.
These three have no answer."""
SPAWN, END, SPARE, PROMOTE, PARK, DISCARD = range(1, 7)

ANSWER = struct.Struct("<iI")
"""The answer to SPAWN and SPARE: 0 or the errno of the failed fork, and the decoder's process id. To END: the
wait status, and 1 if the decoder had to be killed."""

ZYGOTE_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment of the zygote. Decoders can't start threads, so libraries must be configured before they are
loaded."""

# Exit codes of a decoder's own loop. Neither Python (1, 2) nor shells (126 and up) use these numbers.
EXIT_EXCEPTION = 81
EXIT_MEMORY = 82
EXIT_BAD_REPLY = 83
EXIT_ORPHANED = 84
EXIT_NO_MEMORY = 85

EXIT_MESSAGES: dict[int, str] = {
    EXIT_EXCEPTION: "an exception escaped the program",
    EXIT_MEMORY: "out of memory",
    EXIT_BAD_REPLY: "the program's reply has the wrong size",
    EXIT_ORPHANED: "the zygote died",
    EXIT_NO_MEMORY: "the system has no memory left",
}


class ZygoteConfig(Struct, frozen=True):
    """The configuration of a zygote; it is passed as one command line argument, in ASCII."""

    path: tuple[str, ...]
    """Absolute folders to import from."""
    target: str
    arguments: tuple[str, ...]
    reply_max: int
    mode: str
    memory_bytes: int
    cpu_seconds: int
    seccomp_library: str
    libraries: tuple[str, ...] = ()
    """Absolute paths of shared libraries that decoders load, in this order."""

    def encode(self) -> str:
        return json.dumps(structs.asdict(self))

    @classmethod
    def decode(cls, text: str) -> ZygoteConfig:
        fields = json.loads(text)
        fields["path"] = tuple(fields["path"])
        fields["arguments"] = tuple(fields["arguments"])
        fields["libraries"] = tuple(fields["libraries"])
        return cls(**fields)


class ConfinementResult(NamedTuple):
    """The result of a decoder's confinement: an errno for each part, 0 if it is active."""

    landlock_version: int
    landlock: int
    seccomp: int
    uid: int
    capabilities: int
    limits: int

    def pack(self) -> bytes:
        return _HELLO.pack(_HELLO_MAGIC, *self)

    @classmethod
    def unpack(cls, message: bytes) -> ConfinementResult:
        """Return the result from a message of `pack`; ValueError if it is not a hello message,
        LibraryFailedError if the decoder could not load or prepare its libraries."""
        if message.startswith(_FAILED_MAGIC):
            text = message.removeprefix(_FAILED_MAGIC)[:_FAILED_TEXT_MAX]
            raise LibraryFailedError(printable(text.decode("utf-8", "replace")))
        if len(message) != _HELLO.size or not message.startswith(_HELLO_MAGIC):
            raise ValueError("not a decoder's hello")
        return cls(*_HELLO.unpack(message)[1:])

    def level(self, mode: str) -> SandboxLevel:
        """Return the result in the form that reports use."""
        return SandboxLevel(
            mode=mode,
            landlock=0 if self.landlock else self.landlock_version,
            seccomp=not self.seccomp,
            uid_dropped=not self.uid,
            capabilities_dropped=not self.capabilities,
            limits=not self.limits,
        )

    def lacking(self) -> str:
        """Return the missing parts of a full sandbox, with the system's error for each."""
        parts = (
            ("Landlock", self.landlock),
            ("seccomp", self.seccomp),
            ("dropped capabilities", self.capabilities),
            ("resource limits", self.limits),
        )
        return ", ".join(f"{name} ({os.strerror(number)})" for name, number in parts if number)


_HELLO = struct.Struct("<8s6i")
_HELLO_MAGIC = b"hashscan"
_FAILED_MAGIC = b"library "
_FAILED_TEXT_MAX = 400


class LibraryFailedError(Exception):
    """The error that a decoder could not load or prepare its libraries; the text is for people."""

    def pack(self) -> bytes:
        return _FAILED_MAGIC + str(self).encode("utf-8", "replace")[:_FAILED_TEXT_MAX]


HELLO_BYTES = _HELLO.size
