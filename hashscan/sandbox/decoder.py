"""The loop of a decoder: take one file, let the plug-in look at it, answer, until the worker is gone."""

from __future__ import annotations

import array
import mmap
import os
import socket
from collections.abc import Callable
from typing import NoReturn

from hashscan.sandbox.confine import Confinement, confine, keep_only
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
"""What a plug-in gives: from a descriptor open for reading and a request to a reply no longer than agreed."""

_ONE_DESCRIPTOR = socket.CMSG_SPACE(array.array("i").itemsize)


def run(connection: int, confinement: Confinement, handle: Handle, reply_max: int) -> NoReturn:
    """Be a decoder on the socket with descriptor `connection`, in a process just forked; never returns."""
    status = EXIT_EXCEPTION
    try:
        try:
            keep_only(connection)
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=DECODER_SOCKET)
            channel.send(confine(confinement).pack())
            status = _serve(channel, handle, reply_max)
        except MemoryError:
            status = EXIT_MEMORY
        # Only here, where what the file took is free again.
        if status == EXIT_MEMORY and not _can_map(confinement.memory_bytes // 4):
            status = EXIT_NO_MEMORY
    finally:
        # Whatever was raised, the stack below is the zygote's, and no handler of its may run here.
        os._exit(status)


def _can_map(size: int) -> bool:
    """Whether the system has so much memory for this process."""
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
            # The worker closed its end.
            return 0
        ((_, _, passed),) = ancillary
        (descriptor,) = array.array("i", passed)
        reply = handle(descriptor, bytes(memoryview(buffer)[NONCE_BYTES:size]))
        os.close(descriptor)
        if not 0 < len(reply) <= reply_max:
            return EXIT_BAD_REPLY
        channel.send(buffer[:NONCE_BYTES] + reply)
