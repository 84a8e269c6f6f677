"""Run an external program with a time limit, one input and bounded output; only its exit code counts."""

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
"""The bytes kept from the end of its standard error."""
_CHUNK = 1 << 16
_TURN = 0.05
"""The seconds between checks if it has ended."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The result of a program."""

    code: int | None
    """The exit code; None if it was killed at the time limit; negative for a signal."""
    words: str
    """The end of its standard error."""


def run_bounded(
    command: Sequence[str], given: bytes, seconds: float, environment: Mapping[str, str] | None = None
) -> ProgramResult:
    """Run a program; at the time limit, its whole process group is killed.

    Args:
        command: the program and its arguments; no shell.
        given: its standard input.
        seconds: the time limit.
        environment: the whole environment; None for this process's own.

    Raises:
        OSError: it can't be started.
    """
    until = time.monotonic() + seconds
    # A file, so that a program which doesn't read it blocks nobody.
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
                words = _read_output(pipe.fileno(), words, _TURN)
            code = process.poll()
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        # A child that it left running may hold the pipe open for ever, so its end is not waited for.
        words = _read_output(pipe.fileno(), words, 0)
    return ProgramResult(code, words.decode("utf-8", "replace").strip())


def _read_output(pipe: int, words: bytes, seconds: float) -> bytes:
    """Return the last output, with what arrives within the time limit."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    if not waiting.poll(seconds * 1000):
        return words
    try:
        piece = os.read(pipe, _CHUNK)
    except BlockingIOError:
        return words
    if not piece:
        # The pipe is closed, and the program still runs.
        time.sleep(seconds)
    return (words + piece)[-_WORDS:]
