"""The worker's end of the socket to one decoder, which may have been taken over and say anything."""

from __future__ import annotations

import array
import math
import os
import select
import socket
import time
from collections import deque

from hashscan.sandbox.protocol import HELLO_BYTES, NONCE_BYTES, Hello
from hashscan.sandbox.waiting import wait

# As a number: the flag's own type takes longer to compare than the reply to receive.
_DESCRIPTORS_CUT = int(socket.MSG_CTRUNC)


class DecoderSilent(Exception):
    """It didn't answer in time."""


class DecoderOverTime(Exception):
    """It has used up its processor time."""


class DecoderClosed(Exception):
    """Its end of the socket is closed; most likely it has died."""


class DecoderMisbehaved(Exception):
    """It said something it may not say."""


class DecoderLink:
    """One decoder, which answers requests in their order."""

    def __init__(self, connection: socket.socket, reply_max: int, process: int) -> None:
        """Hold a socket that doesn't block.

        Args:
            connection: the socket.
            reply_max: longest reply in bytes; the shortest has 1.
            process: id of the decoder, which isn't given to another as long as nobody has waited for it.
        """
        # See MAKE_PROCESS_CPUCLOCK in the kernel's include/linux/posix-timers_types.h; anyone may read it.
        self._clock = (~process << 3) | 2
        self._used_before = 0.0
        """Its processor time when it could have begun with the first request under way."""
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._message_max = NONCE_BYTES + reply_max
        # One byte more than allowed: a longer message shows as one.
        self._buffer = bytearray(max(self._message_max, HELLO_BYTES) + 1)
        self._buffers = [self._buffer]
        self._nonces: deque[bytes] = deque()
        """Of the requests that are under way."""

    def idle(self) -> bool:
        """Whether it is there and quiet, as it should be with nothing asked."""
        return not self._poll.poll(0)

    def send(self, request: bytes, descriptor: int) -> None:
        """Hand over one file, open for reading, with the bytes that go with it.

        Raises:
            DecoderClosed: it has died, or doesn't read.
        """
        # Not a number that counts up: a reply prepared in advance must not fit a file that wasn't sent yet.
        nonce = os.urandom(NONCE_BYTES)
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            self._socket.sendmsg([nonce, request], passed)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
            raise DecoderClosed from error
        if not self._nonces:
            self._used_before = self._used()
        self._nonces.append(nonce)

    def _used(self) -> float:
        """Seconds of processor time that the decoder has used so far."""
        try:
            return time.clock_gettime(self._clock)
        except OSError:
            # Its zygote has died and somebody else has waited for it; its socket will say that it is gone.
            return 0.0

    def receive(self, deadline: float, processor_seconds: float = math.inf) -> bytes:
        """Wait for the answer to the first request under way until time.monotonic() is `deadline`.

        Time in which we were stopped doesn't count. One that came in time is taken even when we look late.

        Args:
            deadline: as above.
            processor_seconds: most that the decoder may use for it, looked at every half second. A decoder
                that was taken over can't deceive us here, as it could with a timer of its own.

        Raises:
            DecoderSilent, DecoderOverTime, DecoderClosed, DecoderMisbehaved: see there.
        """
        size = self._take(deadline, self._used_before + processor_seconds)
        self._used_before = self._used()
        if not NONCE_BYTES < size <= self._message_max:
            raise DecoderMisbehaved("its reply has the wrong size")
        if self._buffer[:NONCE_BYTES] != self._nonces.popleft():
            raise DecoderMisbehaved("it replied to something it wasn't asked")
        # With more under way, what comes next is judged by the next nonce. One that has died since is no
        # matter: it answered first, and isn't asked again.
        if not self._nonces and not self.idle() and self._socket.recv(1, socket.MSG_PEEK):
            raise DecoderMisbehaved("it replied twice")
        return bytes(memoryview(self._buffer)[NONCE_BYTES:size])

    def receive_hello(self, deadline: float) -> Hello:
        """Wait for what a new decoder says of itself, before it has seen any file.

        Raises:
            DecoderSilent, DecoderClosed: see there.
        """
        return Hello.unpack(bytes(memoryview(self._buffer)[: self._take(deadline)]))

    def _take(self, deadline: float, processor_limit: float = math.inf) -> int:
        if not wait(self._poll, deadline, lambda: processor_limit - self._used()):
            raise DecoderOverTime if self._used() >= processor_limit else DecoderSilent
        try:
            size, flags = self._receive()
        except ConnectionResetError:
            # It has died with requests unread, which the kernel tells before it gives what was sent earlier.
            size, flags = self._receive()
        if flags & _DESCRIPTORS_CUT:
            raise DecoderMisbehaved("it sent a descriptor")
        if not size:
            raise DecoderClosed
        return size

    def _receive(self) -> tuple[int, int]:
        # No room for descriptors: the kernel closes any that were sent, and says so.
        size, _, flags, _ = self._socket.recvmsg_into(self._buffers, 0)
        return size, flags

    def close(self) -> None:
        """Let go of the socket, at which a decoder ends by itself."""
        self._socket.close()
