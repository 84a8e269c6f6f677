"""The worker's end of the socket to one decoder, which may have been taken over and say anything."""

from __future__ import annotations

import array
import os
import select
import socket

from hashscan.sandbox.protocol import HELLO_BYTES, NONCE_BYTES, Hello
from hashscan.sandbox.waiting import wait

# As a number: the flag's own type takes longer to compare than the reply to receive.
_DESCRIPTORS_CUT = int(socket.MSG_CTRUNC)


class DecoderSilent(Exception):
    """It didn't answer in time."""


class DecoderClosed(Exception):
    """Its end of the socket is closed; most likely it has died."""


class DecoderMisbehaved(Exception):
    """It said something it may not say."""


class DecoderLink:
    """One decoder; at most one request is under way."""

    def __init__(self, connection: socket.socket, reply_max: int) -> None:
        """Hold a socket that doesn't block, for replies of 1 to `reply_max` bytes."""
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._message_max = NONCE_BYTES + reply_max
        # One byte more than allowed: a longer message shows as one.
        self._buffer = bytearray(max(self._message_max, HELLO_BYTES) + 1)
        self._buffers = [self._buffer]
        self._nonce = b""

    def idle(self) -> bool:
        """Whether it is there and quiet, as it should be with nothing asked."""
        return not self._poll.poll(0)

    def send(self, request: bytes, descriptor: int) -> None:
        """Hand over one file, open for reading, with the bytes that go with it.

        Raises:
            DecoderClosed: it has died.
        """
        # Not a number that counts up: a reply prepared in advance must not fit the next file.
        self._nonce = os.urandom(NONCE_BYTES)
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            self._socket.sendmsg([self._nonce, request], passed)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
            raise DecoderClosed from error

    def receive(self, deadline: float) -> bytes:
        """Wait for the answer until time.monotonic() is `deadline`, or later where we were stopped meanwhile.

        One that came in time is taken even when we look late.

        Raises:
            DecoderSilent, DecoderClosed, DecoderMisbehaved: see there.
        """
        size = self._take(deadline)
        if not NONCE_BYTES < size <= self._message_max:
            raise DecoderMisbehaved("its reply has the wrong size")
        if self._buffer[:NONCE_BYTES] != self._nonce:
            raise DecoderMisbehaved("it replied to something it wasn't asked")
        # One that has died since is no matter: it answered first, and isn't asked again.
        if not self.idle() and self._socket.recv(1, socket.MSG_PEEK):
            raise DecoderMisbehaved("it replied twice")
        return bytes(memoryview(self._buffer)[NONCE_BYTES:size])

    def receive_hello(self, deadline: float) -> Hello:
        """Wait for what a new decoder says of itself, before it has seen any file.

        Raises:
            DecoderSilent, DecoderClosed: see there.
        """
        return Hello.unpack(bytes(memoryview(self._buffer)[: self._take(deadline)]))

    def _take(self, deadline: float) -> int:
        if not wait(self._poll, deadline):
            raise DecoderSilent
        try:
            # No room for descriptors: the kernel closes any that were sent, and says so.
            size, _, flags, _ = self._socket.recvmsg_into(self._buffers, 0)
        except ConnectionResetError as error:
            raise DecoderClosed from error
        if flags & _DESCRIPTORS_CUT:
            raise DecoderMisbehaved("it sent a descriptor")
        if not size:
            raise DecoderClosed
        return size

    def close(self) -> None:
        """Let go of the socket, at which a decoder ends by itself."""
        self._socket.close()
