"""Define the messages between the engine and its workers, over a socket that keeps them apart.

A message takes one descriptor along: that of an upload, or of a memory file with the message itself, where it
is too long for the socket. Both sides are processes of ours; no decoder has such a socket.
"""

from __future__ import annotations

import array
import errno
import os
import socket

from msgspec import Struct, msgpack

from hashscan.model import FileResult, Match, SandboxLevel

INLINE_MAX = 32 << 10
"""Bytes of a message in the socket, at most; the kernel takes several times as many without waiting."""

_ONE_DESCRIPTOR = socket.CMSG_SPACE(array.array("i").itemsize)
_INLINE, _IN_FILE = b"i", b"f"
# An integer: comparing the flag's own type takes longer.
_DESCRIPTORS_CUT = int(socket.MSG_CTRUNC)


class Check(Struct, frozen=True, array_like=True, tag=1):
    """The request to check the upload whose descriptor comes with it."""

    owner: int
    size: int
    """Bytes."""
    sealed: bool
    """True if nobody can change it; otherwise a sealed copy is made, and comes back with the answer."""
    once: bool
    """True if the owner has no other upload."""


class Lookup(Struct, frozen=True, array_like=True, tag=2):
    """The request to match digests, given by algorithm and value."""

    digests: list[tuple[str, bytes]]


class Use(Struct, frozen=True, array_like=True, tag=3):
    """The request to use other lists from the next request on."""

    setup: bytes
    """An `EngineSetup`, pickled."""


class Ready(Struct, frozen=True, array_like=True, tag=1):
    """Sent once, when the worker can take requests."""

    sandbox: SandboxLevel | None


class Checked(Struct, frozen=True, array_like=True, tag=2):
    """The answer to `Check`."""

    version: str
    """Version of the lists that were matched."""
    result: FileResult
    size: int
    """Bytes that were checked."""
    sandbox: SandboxLevel | None


class Found(Struct, frozen=True, array_like=True, tag=3):
    """The answer to `Lookup`: the matches of each digest."""

    version: str
    matches: list[list[Match]]
    silent: list[str]
    """Matching services that have not answered."""


class Used(Struct, frozen=True, array_like=True, tag=4):
    """The answer to `Use`."""

    version: str
    """Version of the lists that are in use now."""
    trouble: str
    """Reason why the others can't be used; empty if they are."""


class GivenUp(Struct, frozen=True, array_like=True, tag=5):
    """The answer to a request that was given up, as the signal said."""


class Failed(Struct, frozen=True, array_like=True, tag=6):
    """The answer to a request at which a defect was met."""

    traceback: str


class Unusable(Struct, frozen=True, array_like=True, tag=7):
    """Sent in the place of `Ready`: the worker can't be started, by an error of `hashscan.errors`."""

    kind: str
    message: str
    remedy: str


Request = Check | Lookup | Use
Reply = Ready | Checked | Found | Used | GivenUp | Failed | Unusable

encode = msgpack.Encoder().encode
decode_request = msgpack.Decoder(Request).decode
decode_reply = msgpack.Decoder(Reply).decode


class Channel:
    """One end of the socket between the engine and a worker."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = bytearray(INLINE_MAX + 1)
        self._buffers = [self._buffer]

    def send(self, message: bytes, descriptor: int = -1) -> None:
        """Send a message, and a descriptor with it; one with a descriptor must be short."""
        if len(message) <= INLINE_MAX:
            self._send([_INLINE, message], descriptor)
            return
        memory = os.memfd_create("hashscan-message", os.MFD_CLOEXEC)
        try:
            view = memoryview(message)
            while view:
                view = view[os.write(memory, view) :]
            self._send([_IN_FILE], memory)
        finally:
            os.close(memory)

    def _send(self, parts: list[bytes], descriptor: int) -> None:
        if descriptor < 0:
            self.socket.sendmsg(parts)
        else:
            passed = array.array("i", [descriptor])
            self.socket.sendmsg(parts, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])

    def receive(self) -> tuple[bytes, int]:
        """Receive a message, and the descriptor that came with it, or -1."""
        size, ancillary, flags, _ = self.socket.recvmsg_into(
            self._buffers, _ONE_DESCRIPTOR, socket.MSG_CMSG_CLOEXEC
        )
        if not size:
            raise EOFError
        if flags & _DESCRIPTORS_CUT:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        descriptor = -1
        if ancillary:
            ((_, _, passed),) = ancillary
            (descriptor,) = array.array("i", passed)
        if self._buffer[:1] == _INLINE:
            return bytes(memoryview(self._buffer)[1:size]), descriptor
        with open(descriptor, "rb") as memory:
            return os.pread(memory.fileno(), os.fstat(memory.fileno()).st_size, 0), -1
