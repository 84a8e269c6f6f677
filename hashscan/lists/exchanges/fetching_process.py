"""The process that talks to an exchange: `python -m hashscan.lists.exchanges.fetching_process`.

It runs in UTC, may use `MEMORY` bytes beyond what the library takes to be imported, leaves no core dump, and
has no output but its answers. The library logs whole documents and the user's name; here its messages are
counted and dropped.
"""

from __future__ import annotations

import logging
import os
import resource
import struct
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

import msgspec

from hashscan.lists.exchanges.base import FRAME_MAX, Answer, Exchange, Failed, Finished, Request, encode

MEMORY = 300 << 20
HEADER = struct.Struct("<I")
"""Before each answer: its length."""


class _Counter(logging.Handler):
    """Counts the errors that the library logs, one for each record that it leaves out; keeps no text."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.errors += 1


def main() -> int:
    os.environ["TZ"] = "UTC"
    time.tzset()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    with os.fdopen(os.dup(1), "wb") as output:
        # Output that a library prints is discarded.
        discarded = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(discarded, descriptor)
        counter = _Counter()
        logging.basicConfig(handlers=[counter], level=logging.ERROR, force=True)
        logging.raiseExceptions = False
        try:
            _fetch(request, counter, output)
        except BrokenPipeError:
            return 1
    return 0


def _fetch(request: Request, counter: _Counter, output: BinaryIO) -> None:
    module, _, name = request.target.partition(":")
    try:
        exchange: Exchange = getattr(import_module(module), name)()
        from hashscan.lists.exchanges.transport import FetchError, Transport
    except ImportError:
        _send(output, missing_library())
        return
    transport = Transport(
        request.address, proxy=request.proxy, ca_file=request.ca_file, pauses=request.pauses
    )
    limit = _address_space() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        answers = exchange.pages if request.opinions is None else exchange.submit
        for answer in answers(request, transport):
            _send(output, answer)
    except FetchError as error:
        _send(output, Failed(str(error), error.advice))
    except MemoryError:
        _send(output, Failed(f"an answer of {transport.host} takes more memory than a fetch may use"))
    except BrokenPipeError:
        raise
    except Exception as error:
        # Its message may hold a document or a secret.
        kind = type(error).__name__
        _send(output, Failed(f"an answer of {transport.host} is not what the library expects ({kind})"))
    else:
        _send(output, Finished(counter.errors))


def missing_library() -> Failed:
    return Failed(
        "the library for exchanges is not installed",
        "Install it with `pip install 'hashscan[exchange]'`.",
        usage=True,
    )


def _send(output: BinaryIO, answer: Answer) -> None:
    data = encode(answer)
    if len(data) > FRAME_MAX:
        data = encode(Failed("a page of the exchange is longer than any can be"))
    output.write(HEADER.pack(len(data)) + data)
    output.flush()


def _address_space() -> int:
    """Return the size of this process's address space in bytes."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
