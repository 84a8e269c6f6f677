"""The program of `program`, with a sample file that decoders handle which are forked ahead."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.sandbox import program
from tests.sandbox.program import reply

handled: list[bytes] = []


def sample_file() -> tuple[bytes, bytes]:
    """A file and the request for it."""
    return b"sample", b"sample"


def load(*arguments: str) -> Callable[[int, bytes], bytes]:
    """Remembers what it has handled, and tells how often that was the sample, and how often another file."""
    handle = program.load(*arguments)

    def remembering(descriptor: int, request: bytes) -> bytes:
        handled.append(os.pread(descriptor, 10, 0))
        if request == b"sample":
            return reply()
        if request == b"samples":
            return reply(handled.count(b"sample"))
        if request == b"others":
            return reply(len(handled) - handled.count(b"sample"))
        if request == b"descriptors":
            return reply(sum(_is_open(number) for number in range(256)))
        if request == b"spoil":
            return reply(_spoil())
        return handle(descriptor, request)

    return remembering


def _is_open(number: int) -> bool:
    try:
        os.lseek(number, 0, os.SEEK_CUR)
    except OSError as error:
        # The socket can't be positioned, and is open.
        return error.errno != 9
    return True


def _spoil() -> int:
    """Write to whatever is open, as an intruder may try to change the sample of later decoders."""
    done = 0
    for number in range(256):
        try:
            os.pwrite(number, b"spoilt", 0)
        except OSError:
            continue
        done += 1
    return done
