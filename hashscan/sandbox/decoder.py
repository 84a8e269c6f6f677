"""The main loop of a decoder process: receive a file, call the plug-in, send the reply, and repeat."""

from __future__ import annotations

import array
import mmap
import os
import socket
from collections.abc import Callable
from typing import NoReturn

from hashscan.sandbox.confine import Confinement, close_other_descriptors, confine
from hashscan.sandbox.protocol import (
    DECODER_SOCKET,
    EXIT_BAD_REPLY,
    EXIT_EXCEPTION,
    EXIT_MEMORY,
    EXIT_NO_MEMORY,
    NONCE_BYTES,
    REQUEST_MAX,
)

Handle = Callable[[int, bytes], bytes]
"""The function that a plug-in provides: it takes a descriptor open for reading and a request, and returns a
reply no longer than `reply_max`."""

_ONE_DESCRIPTOR = socket.CMSG_SPACE(array.array("i").itemsize)


def run(connection: int, confinement: Confinement, handle: Handle, reply_max: int) -> NoReturn:
    """Run a decoder on the socket `connection`, in a process that was just forked; never return."""
    status = EXIT_EXCEPTION
    try:
        try:
            close_other_descriptors(connection)
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=DECODER_SOCKET)
            channel.send(confine(confinement).pack())
            status = _serve(channel, handle, reply_max)
        except MemoryError:
            status = EXIT_MEMORY
        # Check this only here, after the memory of the file has been freed.
        if status == EXIT_MEMORY and not _can_map(confinement.memory_bytes // 4):
            status = EXIT_NO_MEMORY
    finally:
        # Whatever was raised: the callers on the stack belong to the zygote, and none of its handlers may run
        # here.
        os._exit(status)


def _can_map(size: int) -> bool:
    """Return True if the system gives this process so much memory."""
    try:
        mmap.mmap(-1, size).close()
    except OSError:
        return False
    return True


def _serve(channel: socket.socket, handle: Handle, reply_max: int) -> int:
    buffer = bytearray(NONCE_BYTES + REQUEST_MAX)
    buffers = [buffer]
    while True:
        size, ancillary, _, _ = channel.recvmsg_into(buffers, _ONE_DESCRIPTOR)
        if not size:
            # The worker has closed its end.
            return 0
        ((_, _, passed),) = ancillary
        (descriptor,) = array.array("i", passed)
        reply = handle(descriptor, bytes(memoryview(buffer)[NONCE_BYTES:size]))
        os.close(descriptor)
        if not 0 < len(reply) <= reply_max:
            return EXIT_BAD_REPLY
        channel.send(buffer[:NONCE_BYTES] + reply)
