"""Runs a program of which only its exit counts: fed once, held to a time, its words cut short."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

_WORDS = 4096
"""Bytes of its last words that are kept."""
_CHUNK = 1 << 16
_TURN = 0.05
"""Seconds between looks at whether it has ended."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int | None
    """None where it was killed because its time was over; negative for a signal."""
    words: str
    """The end of what it said on standard error."""


def run_bounded(
    command: Sequence[str], given: bytes, seconds: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a program.

    When its time is over, all of its process group is killed.

    Args:
        command: the program and its arguments; no shell.
        given: its standard input.
        seconds: how long it may take.
        environment: all of it; None for this process's own.

    Raises:
        OSError: it can't be started.
    """
    until = time.monotonic() + seconds
    # A file, so that one which doesn't read holds up nobody.
    stdin = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(stdin), "wb") as stream:
            stream.write(given)
        os.lseek(stdin, 0, os.SEEK_SET)
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(stdin)
    assert process.stderr is not None
    with process.stderr as pipe:
        os.set_blocking(pipe.fileno(), False)
        words = b""
        try:
            while process.poll() is None and time.monotonic() < until:
                words = _heard(pipe.fileno(), words, _TURN)
            code = process.poll()
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        # One that it has left running may hold the pipe for ever, so its end is not waited for.
        words = _heard(pipe.fileno(), words, 0)
    return Ended(code, words.decode("utf-8", "replace").strip())


def _heard(pipe: int, words: bytes, seconds: float) -> bytes:
    """The last words, with what comes within a time."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    if not waiting.poll(seconds * 1000):
        return words
    try:
        piece = os.read(pipe, _CHUNK)
    except BlockingIOError:
        return words
    if not piece:
        # Closed, and the program goes on.
        time.sleep(seconds)
    return (words + piece)[-_WORDS:]
