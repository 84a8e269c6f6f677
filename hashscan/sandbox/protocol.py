"""The messages between worker, zygote and decoder: bounded records, none of them pickled.

All three sockets are of type SOCK_SEQPACKET, so a message is whole or absent. Worker and zygote exchange
`COMMAND` and `ANSWER`; a decoder says one `Hello`, and then answers each request, which is a nonce and the
caller's bytes with one descriptor passed along, by the same nonce and a reply that is no longer than agreed.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict, dataclass
from typing import NamedTuple

from hashscan.model import SandboxLevel

DECODER_SOCKET = 3
"""Where a decoder holds its socket: not 0 to 2, where a C library's printf would write into it."""

REQUEST_MAX = 4096
"""Longest request in bytes."""
REPLY_MAX = 65536
"""Longest reply in bytes; well under what a socket takes without waiting."""
NONCE_BYTES = 8

READY = b"ready"
"""The zygote's first message: the plug-in is loaded."""

COMMAND = struct.Struct("<II")
"""What to do; for END, how many milliseconds to wait for the decoder to end by itself."""
SPAWN, END = 1, 2

ANSWER = struct.Struct("<iI")
"""To SPAWN: 0 or the errno of the refused fork, and the decoder's process id. To END: wait status, and
whether it had to be killed."""

STARTED_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A decoder can't start threads, so libraries that want some are told before they are loaded."""

# How a decoder's own loop ends it. Numbers that neither Python (1, 2) nor shells (126 and up) use.
EXIT_EXCEPTION = 81
EXIT_MEMORY = 82
EXIT_BAD_REPLY = 83
EXIT_ORPHANED = 84
EXIT_NO_MEMORY = 85

EXIT_WORDS: dict[int, str] = {
    EXIT_EXCEPTION: "an exception escaped the plug-in",
    EXIT_MEMORY: "out of memory",
    EXIT_BAD_REPLY: "the plug-in's reply has the wrong size",
    EXIT_ORPHANED: "the zygote died",
    EXIT_NO_MEMORY: "the system has no memory left",
}
"""The same in words for a person."""


@dataclass(frozen=True, slots=True)
class ZygoteConfig:
    """All a zygote is told; it travels as its one command line argument, in ASCII."""

    path: tuple[str, ...]
    """Absolute folders to import from."""
    target: str
    arguments: tuple[str, ...]
    reply_max: int
    mode: str
    memory_bytes: int
    cpu_seconds: int
    seccomp_library: str

    def encode(self) -> str:
        """Itself as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> ZygoteConfig:
        """The reverse of `encode`."""
        fields = json.loads(text)
        fields["path"] = tuple(fields["path"])
        fields["arguments"] = tuple(fields["arguments"])
        return cls(**fields)


class Hello(NamedTuple):
    """What a decoder achieved in shutting itself in: an errno for each part, 0 where it is in force."""

    landlock_version: int
    landlock: int
    seccomp: int
    uid: int
    capabilities: int
    limits: int

    def pack(self) -> bytes:
        """Itself as a message."""
        return _HELLO.pack(_HELLO_MAGIC, *self)

    @classmethod
    def unpack(cls, message: bytes) -> Hello:
        """The reverse of `pack`.

        Raises:
            ValueError: it is no hello.
        """
        if len(message) != _HELLO.size or not message.startswith(_HELLO_MAGIC):
            raise ValueError("not a decoder's hello")
        return cls(*_HELLO.unpack(message)[1:])

    def level(self, mode: str) -> SandboxLevel:
        """The same in the words of reports."""
        return SandboxLevel(
            mode=mode,
            landlock=0 if self.landlock else self.landlock_version,
            seccomp=not self.seccomp,
            uid_dropped=not self.uid,
            capabilities_dropped=not self.capabilities,
            limits=not self.limits,
        )

    def lacking(self) -> str:
        """What a full sandbox would need, with the system's reason for each part."""
        parts = {
            "Landlock": self.landlock,
            "seccomp": self.seccomp,
            "dropped capabilities": self.capabilities,
            "resource limits": self.limits,
        }
        return ", ".join(f"{name} ({os.strerror(number)})" for name, number in parts.items() if number)


_HELLO = struct.Struct("<8s6i")
_HELLO_MAGIC = b"hashscan"
HELLO_BYTES = _HELLO.size
