"""The worker's side of the sandbox: hands files to a confined decoder, one at a time, and takes its answers.

with Sandbox(Plugin("package.module:load", (), reply_max=64), SandboxOptions("required")) as sandbox:
    sandbox.begin(descriptor, b"request", owner=uid)
    ...                                     # hash the same bytes meanwhile, with pread only
    reply = sandbox.finish()
"""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Literal

from hashscan.errors import SandboxError, ZygoteError
from hashscan.model import Reason, SandboxLevel
from hashscan.sandbox import seccomp
from hashscan.sandbox.launch import ZygoteGone, ZygoteProcess, import_path
from hashscan.sandbox.link import DecoderClosed, DecoderLink, DecoderMisbehaved, DecoderSilent
from hashscan.sandbox.protocol import EXIT_MEMORY, EXIT_WORDS, REPLY_MAX, REQUEST_MAX, Hello, ZygoteConfig

HELLO_SECONDS = 15.0
"""For a new decoder to shut itself in: 5 ms on an idle machine."""

DYING_SECONDS = 0.5
"""How long a decoder whose socket has closed may take to end by itself, so that its own status is seen."""

_PAUSES = (0.05, 0.2)
"""Seconds between attempts to start a decoder; there is one attempt more."""


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How decoders are held."""

    mode: Literal["required", "auto", "off"]
    """required: in full or not at all; auto: as far as this system can; off: only apart, and limited."""

    memory_bytes: int = 1 << 30
    """What one decoder may map beyond what the loaded plug-in has mapped already."""

    seconds: float = 20.0
    """Wall clock for one file."""

    files_per_decoder: int = 256


@dataclass(frozen=True, slots=True)
class Plugin:
    """What is to run in the sandbox.

    `target` is called in the zygote with `arguments`, and gives a `decoder.Handle`. It imports, opens and
    warms up everything: afterwards nothing can be imported or opened, and no thread can be started.
    """

    target: str
    """Dotted path and function, "package.module:function"."""
    arguments: tuple[str, ...]
    """Seen by every user of the machine in the list of processes."""
    reply_max: int
    """Most bytes of a reply. A reply has at least one; what its length must be is for the caller to check."""


class DecoderLost(Exception):
    """The decoder gave no answer for this file and is gone; the next file gets another."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        """Words for a person, none of them from the file."""


class Sandbox:
    """One zygote with one decoder; for one thread at a time.

    The zygote starts to load the plug-in at once; the first `begin` or `start` waits for it.
    """

    seccomp_library: ClassVar[str] = seccomp.LIBRARY

    def __init__(self, plugin: Plugin, options: SandboxOptions) -> None:
        if not 0 < plugin.reply_max <= REPLY_MAX:
            raise ValueError(f"a reply has at most 1 to {REPLY_MAX} bytes")
        if options.memory_bytes <= 0 or options.seconds <= 0 or options.files_per_decoder <= 0:
            raise ValueError("limits are above 0")
        self._plugin = plugin
        self._options = options
        self._config = ZygoteConfig(
            path=import_path(__name__, plugin.target),
            target=plugin.target,
            arguments=plugin.arguments,
            reply_max=plugin.reply_max,
            mode=options.mode,
            memory_bytes=options.memory_bytes,
            cpu_seconds=math.ceil(options.seconds * options.files_per_decoder),
            seccomp_library=self.seccomp_library,
        )
        self._process = os.getpid()
        self._level: SandboxLevel | None = None
        self._link: DecoderLink | None = None
        self._owner: int | None = None
        self._files = 0
        self._pending = False
        self._begun = -1, b"", -1
        self._deadline = 0.0
        self._loss: DecoderLost | None = None
        self._closed = False
        try:
            self._zygote: ZygoteProcess | None = ZygoteProcess(self._config)
        except OSError as error:
            raise ZygoteError(f"the decoder's process can't be started: {error}") from error

    @property
    def level(self) -> SandboxLevel | None:
        """What holds the decoders, the least of all so far; None before the first."""
        return self._level

    def start(self) -> SandboxLevel:
        """Start a decoder before there is a file, to learn early whether the sandbox can be had.

        Raises:
            SandboxError: mode is required, and something is lacking.
            ZygoteError: the plug-in can't be loaded, or no decoder be started.
        """
        self._check_use()
        if self._link is None:
            try:
                self._replace()
            except DecoderLost as lost:
                raise ZygoteError(f"no decoder can be started: {lost.detail}") from lost
        assert self._level is not None
        return self._level

    def begin(self, descriptor: int, request: bytes, owner: int, *, fresh: bool = False) -> None:
        """Hand over one file; whatever becomes of the decoder is told by `finish`.

        A file begun before and not finished is given up, and its decoder with it.

        Args:
            descriptor: open for reading only, and not closed before `finish`. Its offset is shared with the
                decoder, and moves.
            request: for the plug-in, at most 4096 bytes.
            owner: of the file. No decoder sees files of two owners.
            fresh: use a decoder that has seen no file yet.

        Raises:
            SandboxError: mode is required, and something is lacking.
            ZygoteError: the plug-in can't be loaded, or no decoder be started.
        """
        self._check_use()
        if len(request) > REQUEST_MAX:
            raise ValueError(f"a request has at most {REQUEST_MAX} bytes")
        link = self._link
        used_up = self._files > 0 and (
            fresh or owner != self._owner or self._files >= self._options.files_per_decoder
        )
        self._loss = None
        self._begun = descriptor, request, owner
        try:
            if link is None or used_up or self._pending or not link.idle():
                link = self._replace()
            try:
                self._send(link, request, descriptor)
            except DecoderClosed:
                # It ended since we looked; this file is not to blame.
                self._send(self._replace(), request, descriptor)
        except DecoderClosed:
            self._loss = self._lost(Reason.DECODER_DIED, "", DYING_SECONDS)
        except DecoderLost as lost:
            self._loss = lost
        self._pending = True
        self._owner = owner
        self._files += 1
        self._deadline = time.monotonic() + self._options.seconds

    def finish(self) -> bytes:
        """Wait for the answer to the file begun last.

        When the decoder is lost and had seen other files before, a new one is asked once more.

        Returns:
            The plug-in's reply, 1 to `reply_max` bytes. Trust it no further than the file, which may have
            taken the decoder over.

        Raises:
            DecoderLost: there is none.
            SandboxError, ZygoteError: see `begin`.
        """
        self._check_use()
        if not self._pending:
            raise RuntimeError("no file was begun")
        first = self._files == 1
        outcome = self._loss or self._await()
        if isinstance(outcome, DecoderLost) and not first and outcome.reason is not Reason.TIMEOUT:
            # An earlier file may have done it, and must not cost this one its verdict. Not after a timeout,
            # which would double the time a file can take.
            self.begin(*self._begun)
            outcome = self._loss or self._await()
        self._pending = False
        if isinstance(outcome, DecoderLost):
            raise outcome
        return outcome

    def discard(self) -> None:
        """End the decoder, as after a reply that makes no sense; the next file gets another."""
        self._check_use()
        if self._link is not None:
            self._lost(Reason.DECODER_DIED, "discarded", 0)
        self._pending = False

    def close(self) -> None:
        """End the decoder and the zygote; the sandbox is of no use afterwards."""
        self._closed = True
        self._drop_link()
        zygote, self._zygote = self._zygote, None
        if zygote is None:
            return
        if os.getpid() == self._process:
            zygote.close()
        else:
            zygote.forget()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_use(self) -> None:
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        if os.getpid() != self._process:
            # Two processes would take each other's answers.
            raise RuntimeError("a sandbox can't be used in a process forked after it was made")

    def _send(self, link: DecoderLink, request: bytes, descriptor: int) -> None:
        # Before, not after: an interruption in between must not leave a decoder that owes an answer.
        self._pending = True
        link.send(request, descriptor)

    def _await(self) -> bytes | DecoderLost:
        assert self._link is not None
        try:
            return self._link.receive(self._deadline)
        except DecoderSilent:
            return self._lost(Reason.TIMEOUT, f"no answer within {self._options.seconds:g} s", 0)
        except DecoderMisbehaved as misbehaved:
            return self._lost(Reason.DECODER_DIED, str(misbehaved), 0)
        except DecoderClosed:
            return self._lost(Reason.DECODER_DIED, "", DYING_SECONDS)

    def _replace(self) -> DecoderLink:
        """Start a decoder in place of the present one."""
        self._drop_link()
        failure: DecoderLost | ZygoteError
        for pause in (*_PAUSES, 0.0):
            try:
                link = DecoderLink(self._ready_zygote().spawn(), self._plugin.reply_max)
            except ZygoteGone:
                self._drop_zygote()
                failure = ZygoteError("the process that decoders are forked from dies again and again")
            except OSError as error:
                failure = DecoderLost(Reason.DECODER_DIED, f"none can be started: {error.strerror}")
            else:
                try:
                    self._judge(link.receive_hello(time.monotonic() + HELLO_SECONDS))
                    # Only now, whatever interrupts us: no file is for a decoder that hasn't been judged.
                    self._link = link
                    return link
                except (DecoderSilent, DecoderClosed):
                    lost = self._lost(Reason.DECODER_DIED, "", DYING_SECONDS)
                    failure = ZygoteError(f"decoders die before their first file: {lost.detail}")
                finally:
                    if self._link is not link:
                        link.close()
            time.sleep(pause)
        raise failure

    def _ready_zygote(self) -> ZygoteProcess:
        if self._zygote is None:
            self._zygote = ZygoteProcess(self._config)
        try:
            self._zygote.wait_ready()
        except ZygoteError:
            self._drop_zygote()
            raise
        return self._zygote

    def _judge(self, hello: Hello) -> None:
        new = hello.level(self._options.mode)
        before = self._level or new
        self._level = SandboxLevel(
            mode=new.mode,
            landlock=min(new.landlock, before.landlock),
            seccomp=new.seccomp and before.seccomp,
            uid_dropped=new.uid_dropped and before.uid_dropped,
            capabilities_dropped=new.capabilities_dropped and before.capabilities_dropped,
            limits=new.limits and before.limits,
        )
        if self._options.mode == "required" and not new.full:
            self._lost(Reason.DECODER_DIED, "discarded", 0)
            raise SandboxError(f"the sandbox is incomplete, it lacks: {hello.lacking()}")

    def _lost(self, reason: Reason, detail: str, patience: float) -> DecoderLost:
        """Have the decoder ended, and say so; without `detail`, in the words of its wait status."""
        self._drop_link()
        assert self._zygote is not None
        try:
            status, killed = self._zygote.end(patience)
        except ZygoteGone:
            self._drop_zygote()
            return DecoderLost(reason, detail or "the process it was forked from died")
        return DecoderLost(reason, detail) if detail else DecoderLost(*_words(status, killed))

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        self._files, self._owner, self._pending = 0, None, False
        if link is not None:
            link.close()

    def _drop_zygote(self) -> None:
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.close()


def _words(status: int, killed: bool) -> tuple[Reason, str]:
    """What a wait status says of a decoder whose socket had closed."""
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        reason = Reason.MEMORY if code == EXIT_MEMORY else Reason.DECODER_DIED
        return reason, EXIT_WORDS.get(code, f"exit code {code}")
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU:
        return Reason.TIMEOUT, "its processor time is used up"
    if number == signal.SIGKILL and killed:
        return Reason.DECODER_DIED, "it closed its socket"
    if number == signal.SIGSYS:
        return Reason.DECODER_DIED, "signal SIGSYS, a forbidden system call"
    try:
        return Reason.DECODER_DIED, f"signal {signal.Signals(number).name}"
    except ValueError:
        return Reason.DECODER_DIED, f"signal {number}"
