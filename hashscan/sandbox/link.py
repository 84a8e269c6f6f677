"""The worker's end of the socket to one decoder, which may have been taken over and send anything."""

from __future__ import annotations

import array
import math
import os
import select
import socket
import time
from collections import deque

from hashscan.sandbox.protocol import (
    HELLO_BYTES,
    LAST,
    MORE,
    NONCE_BYTES,
    REPLY_HEAD_BYTES,
    ConfinementResult,
    wait_for_message,
)

# An integer: comparing the flag's own type takes longer than receiving the reply.
_DESCRIPTORS_CUT = int(socket.MSG_CTRUNC)


class DecoderTimeout(Exception):
    """The error that a decoder did not answer before the deadline."""


class DecoderOverTime(Exception):
    """The error that a decoder has used up its processor time."""


class DecoderClosed(Exception):
    """The error that a decoder has closed its end of the socket; most likely it has died."""


class DecoderMisbehaved(Exception):
    """The error that a decoder sent a message that is not allowed."""


class DecoderLink:
    """The connection to one decoder, which answers requests in order."""

    def __init__(self, connection: socket.socket, reply_max: int, process: int) -> None:
        """Wrap a non-blocking socket. Replies have 1 to `reply_max` bytes; the decoder's id isn't reused
        until the process has been waited for."""
        self.process = process
        # See MAKE_PROCESS_CPUCLOCK in the kernel's include/linux/posix-timers_types.h; every user may read
        # this clock.
        self._clock = (~process << 3) | 2
        self.used_before = 0.0
        """Its processor time when it could have begun with the first request in progress."""
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._message_max = REPLY_HEAD_BYTES + reply_max
        # One byte more than allowed, so that a message that is too long is detected.
        self._buffer = bytearray(max(self._message_max, HELLO_BYTES) + 1)
        self._buffers = [self._buffer]
        self._nonces: deque[bytes] = deque()

    def idle(self) -> bool:
        """Return True if the decoder is connected and has sent nothing, as expected without a request."""
        return not self._poll.poll(0)

    def send(self, request: bytes, descriptor: int) -> None:
        """Send one file, open for reading, with its request."""
        # Random instead of a counter: a reply prepared in advance must not be valid for a file that wasn't
        # sent yet.
        nonce = os.urandom(NONCE_BYTES)
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            self._socket.sendmsg([nonce, request], passed)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
            raise DecoderClosed from error
        if not self._nonces:
            self.used_before = self.used()
        self._nonces.append(nonce)

    def used(self) -> float:
        """Return the processor time in seconds that the decoder has used so far."""
        try:
            return time.clock_gettime(self._clock)
        except OSError:
            # Its zygote has died and another process has waited for it; its socket will show that it is gone.
            return 0.0

    def receive(self, deadline: float, processor_seconds: float = math.inf) -> bytes:
        """Wait for the reply to the first request in progress, which is one message; see `receive_part`. More
        messages are DecoderMisbehaved."""
        part, last = self.receive_part(deadline, processor_seconds)
        if not last:
            raise DecoderMisbehaved("it replied in parts")
        return part

    def receive_part(self, deadline: float, processor_seconds: float = math.inf) -> tuple[bytes, bool]:
        """Wait for the next message of the reply to the first request in progress, until the deadline
        (time.monotonic()); return it, and True if it is the last of the reply. Time in which this process was
        stopped doesn't count. A reply that came in time is accepted even if it is read late. The processor
        time is for this request, all messages together, and is checked every half second while waiting and
        after each. A decoder that was taken over can't manipulate this check, as it could manipulate a timer
        of its own. Raise DecoderTimeout, DecoderOverTime, DecoderClosed, or DecoderMisbehaved for a message
        that is not a valid reply."""
        size = self._take(deadline, self.used_before + processor_seconds)
        if not REPLY_HEAD_BYTES < size <= self._message_max:
            raise DecoderMisbehaved("its reply has the wrong size")
        if self._buffer[:NONCE_BYTES] != self._nonces[0]:
            raise DecoderMisbehaved("it replied to something it wasn't asked")
        mark = bytes(self._buffer[NONCE_BYTES:REPLY_HEAD_BYTES])
        part = bytes(memoryview(self._buffer)[REPLY_HEAD_BYTES:size])
        if mark == MORE:
            if self.used() - self.used_before >= processor_seconds:
                raise DecoderOverTime
            return part, False
        if mark != LAST:
            raise DecoderMisbehaved("its reply has an unknown mark")
        self._nonces.popleft()
        self.used_before = self.used()
        # If more requests are in progress, the next message is checked by the next nonce. If the decoder has
        # died since, that doesn't matter: it replied first, and gets no more requests.
        if not self._nonces and not self.idle() and self._socket.recv(1, socket.MSG_PEEK):
            raise DecoderMisbehaved("it replied twice")
        return part, True

    def receive_hello(self, deadline: float) -> ConfinementResult:
        """Wait for the hello message of a new decoder, before it has seen any file; one with a descriptor is
        DecoderMisbehaved, any other that is not a hello ValueError."""
        return ConfinementResult.unpack(bytes(memoryview(self._buffer)[: self._take(deadline)]))

    def _take(self, deadline: float, processor_limit: float = math.inf) -> int:
        if not wait_for_message(self._poll, deadline, lambda: processor_limit - self.used()):
            raise DecoderOverTime if self.used() >= processor_limit else DecoderTimeout
        try:
            size, flags = self._receive()
        except ConnectionResetError:
            # It has died with unread requests; the kernel reports that before it returns what was sent
            # earlier.
            size, flags = self._receive()
        if flags & _DESCRIPTORS_CUT:
            raise DecoderMisbehaved("it sent a descriptor")
        if not size:
            raise DecoderClosed
        return size

    def _receive(self) -> tuple[int, int]:
        # No buffer for descriptors: the kernel closes any that were sent, and sets a flag.
        size, _, flags, _ = self._socket.recvmsg_into(self._buffers, 0)
        return size, flags

    def close(self) -> None:
        """Close the socket; the decoder then ends by itself."""
        self._socket.close()
