"""The base class of alert channels, and the bounded run of an external program."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from hashscan.text import printable

Document = Mapping[str, Any]

_LINE_MAX = 300
"""Number of characters of a line that comes from elsewhere."""


def one_line(text: str) -> str:
    """Return the text as one line, escaped so that no terminal, mail program or log reads commands in it."""
    shown = printable(text)
    return shown if len(shown) <= _LINE_MAX else shown[: _LINE_MAX - 1] + "…"


class DeliveryError(Exception):
    """An alert could not be delivered; the message says why and contains no secret."""


class Channel(ABC):
    """A channel that delivers alerts."""

    kind: ClassVar[str]
    """The kind of channel; a stored alert waits for all channels of its kind that exist when it is sent."""

    def __init__(self, name: str, secret: str) -> None:
        """Set the channel's names; the secret, never shown, distinguishes it from others of its kind."""
        mark = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self.id = f"{self.kind}:{mark}"
        self.label = f"{name} ({mark})" if secret else name

    def check(self) -> None:
        """Check that the channel can be used; nothing is sent.

        Raises:
            UsageError: it can't be used.
        """
        return

    @abstractmethod
    def deliver(self, document: Document, seconds: float) -> None:
        """Deliver one alert (see `Alert.document`) within a time limit in seconds.

        Raises:
            DeliveryError: the alert was not delivered, as far as is known.
        """


_STDERR_MAX = 4096
"""The bytes kept from the end of its standard error."""
_CHUNK = 1 << 16
_POLL_SECONDS = 0.05
"""The seconds between checks if it has ended."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The result of a program."""

    code: int | None
    """The exit code; None if it was killed at the time limit; negative for a signal."""
    stderr: str
    """The end of its standard error."""


def run_bounded(
    command: Sequence[str], given: bytes, seconds: float, environment: Mapping[str, str] | None = None
) -> ProgramResult:
    """Run a program with this standard input; at the time limit, its whole process group is killed.

    `environment` is its whole environment; None is this process's own.
    """
    until = time.monotonic() + seconds
    # A file, so that a program which does not read it blocks no writer.
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
        output = b""
        try:
            while process.poll() is None and time.monotonic() < until:
                output = _read_output(pipe.fileno(), output, _POLL_SECONDS)
            code = process.poll()
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        # A child that it left running may hold the pipe open for ever, so its end is not waited for.
        output = _read_output(pipe.fileno(), output, 0)
    return ProgramResult(code, output.decode("utf-8", "replace").strip())


def _read_output(pipe: int, output: bytes, seconds: float) -> bytes:
    """Return the last output, with what arrives within the time limit."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    if not waiting.poll(seconds * 1000):
        return output
    try:
        piece = os.read(pipe, _CHUNK)
    except BlockingIOError:
        return output
    if not piece:
        # The pipe is closed, and the program still runs.
        time.sleep(seconds)
    return (output + piece)[-_STDERR_MAX:]
