"""Starts decoders one after another, and says of one that has ended why."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from hashscan.errors import SandboxError, ZygoteError, ZygoteKilledError
from hashscan.model import Reason, SandboxLevel
from hashscan.sandbox.launch import ZygoteGone, ZygoteProcess
from hashscan.sandbox.link import DecoderClosed, DecoderLink, DecoderSilent
from hashscan.sandbox.protocol import (
    EXIT_MEMORY,
    EXIT_NO_MEMORY,
    EXIT_ORPHANED,
    EXIT_WORDS,
    Hello,
    ZygoteConfig,
)

HELLO_SECONDS = 15.0
"""For a new decoder to shut itself in: 5 ms on an idle machine."""

DYING_SECONDS = 2.0
"""How long a decoder whose socket has closed may take to end by itself, so that its own status is seen. Its
memory is free by then."""

_PAUSES = (0.05, 0.2)
"""Seconds between attempts to start a decoder; there is one attempt more."""

_ZYGOTE_PAUSES = (1.0, 4.0)
"""The same for the zygote, for which the system may lack memory or processes for a while."""


_FAULTS = frozenset(
    {
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP),
        *(signal.SIGABRT, signal.SIGSYS),
    }
)
"""Signals that a decoder's own doing brings on it. It can't send itself others; those come from outside."""


_REASONS = {EXIT_MEMORY: Reason.MEMORY, EXIT_NO_MEMORY: Reason.STARVED, EXIT_ORPHANED: Reason.STARVED}
"""By exit code; others say that the decoder died."""

DEATHS_PER_ZYGOTE = 32
"""Decoders that may be lost before their zygote is replaced. All that are forked from it have the same layout
of addresses, and each that dies may have been an attempt to guess a part of it: for one byte it takes 128 on
average."""


class DecoderLost(Exception):
    """The decoder gave no answer for this file and is gone; the next file gets another.

    With the reason `STARVED` the file isn't to blame: the system had too little time, memory or processes for
    the decoder, or somebody has killed it.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        """Words for a person, none of them from the file."""


class Decoders:
    """A zygote, and the one decoder there is at a time."""

    def __init__(self, config: ZygoteConfig) -> None:
        """Start the zygote, and don't wait for it; one that can't be started now is tried again later."""
        self._config = config
        self._deaths = 0
        """Decoders of the present zygote that were lost."""
        self.level: SandboxLevel | None = None
        """What holds the decoders, the least of all so far; None before the first."""
        self.link: DecoderLink | None = None
        """The present decoder."""
        self.files = 0
        """How many it was given."""
        self.owner: int | None = None
        """Whose they are."""
        self._zygote: ZygoteProcess | None = None
        with contextlib.suppress(OSError):
            self._zygote = ZygoteProcess(config)

    def replace(self) -> DecoderLink:
        """Start a decoder in place of the present one.

        Raises:
            DecoderLost: the system has no room for one.
            SandboxError: mode is required, and something is lacking.
            ZygoteError: the plug-in can't be loaded, or decoders die before their first file.
            ZygoteKilledError: the zygote can't be started, or is killed again and again.
        """
        self.drop()
        failure: DecoderLost | ZygoteError | ZygoteKilledError
        for pause in (*_PAUSES, 0.0):
            try:
                connection, process = self._ready_zygote().spawn()
                link = DecoderLink(connection, self._config.reply_max, process)
            except ZygoteGone:
                self._drop_zygote()
                failure = ZygoteKilledError("the process that decoders are forked from dies again and again")
            except OSError as error:
                failure = DecoderLost(Reason.STARVED, f"none can be started: {error.strerror}")
            else:
                try:
                    self._judge(link.receive_hello(time.monotonic() + HELLO_SECONDS))
                    # Only now, whatever interrupts us: no file is for a decoder that hasn't been judged.
                    self.link = link
                    return link
                except (DecoderSilent, DecoderClosed):
                    lost = self.lost(Reason.DECODER_DIED, "", DYING_SECONDS)
                    failure = ZygoteError(f"decoders die before their first file: {lost.detail}")
                finally:
                    if self.link is not link:
                        link.close()
            time.sleep(pause)
        raise failure

    def _ready_zygote(self) -> ZygoteProcess:
        """The zygote once it has loaded the plug-in, which may take several attempts.

        Raises:
            ZygoteError: the plug-in can't be loaded.
            ZygoteKilledError: it can't be started, or is killed while it loads, and so are others.
        """
        why: Exception | None = None
        for pause in (*_ZYGOTE_PAUSES, 0.0):
            try:
                if self._zygote is None:
                    self._zygote = ZygoteProcess(self._config)
                self._zygote.wait_ready()
            except ZygoteError:
                self._drop_zygote()
                raise
            except (ZygoteGone, OSError) as error:
                self._drop_zygote()
                why = error
                time.sleep(pause)
            else:
                return self._zygote
        raise ZygoteKilledError(f"the process that decoders are forked from can't be started: {why}") from why

    def _judge(self, hello: Hello) -> None:
        new = hello.level(self._config.mode)
        before = self.level or new
        self.level = SandboxLevel(
            mode=new.mode,
            landlock=min(new.landlock, before.landlock),
            seccomp=new.seccomp and before.seccomp,
            uid_dropped=new.uid_dropped and before.uid_dropped,
            capabilities_dropped=new.capabilities_dropped and before.capabilities_dropped,
            limits=new.limits and before.limits,
        )
        if self._config.mode == "required" and not new.full:
            self.lost(Reason.DECODER_DIED, "discarded", 0)
            raise SandboxError(f"the sandbox is incomplete, it lacks: {hello.lacking()}")

    def lost(self, reason: Reason, detail: str, patience: float) -> DecoderLost:
        """Have the decoder ended, and say so; without `detail`, in the words of its wait status."""
        self.drop()
        assert self._zygote is not None
        try:
            status, killed = self._zygote.end(patience)
        except ZygoteGone:
            self._drop_zygote()
            return DecoderLost(Reason.STARVED, "the process it was forked from died")
        self._deaths += 1
        if self._deaths >= DEATHS_PER_ZYGOTE:
            self._drop_zygote()
        return DecoderLost(reason, detail) if detail else DecoderLost(*_words(status, killed))

    def drop(self) -> None:
        """Let the decoder go."""
        link, self.link = self.link, None
        self.files, self.owner = 0, None
        if link is not None:
            link.close()

    def close(self, *, ours: bool) -> None:
        """End the decoder and the zygote, or only let go of them where they belong to another process."""
        self.drop()
        if ours:
            self._drop_zygote()
        elif self._zygote is not None:
            self._zygote.forget()
            self._zygote = None

    def _drop_zygote(self) -> None:
        zygote, self._zygote = self._zygote, None
        self._deaths = 0
        if zygote is not None:
            zygote.close()


def _words(status: int, killed: bool) -> tuple[Reason, str]:
    """What a wait status says of a decoder whose socket had closed."""
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        reason = _REASONS.get(code, Reason.DECODER_DIED)
        return reason, EXIT_WORDS.get(code, f"exit code {code}")
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU:
        return Reason.TIMEOUT, "its processor time is used up"
    if number == signal.SIGKILL and killed:
        return Reason.DECODER_DIED, "it closed its socket"
    if number == signal.SIGKILL:
        return Reason.STARVED, "signal SIGKILL, perhaps for want of memory"
    if number == signal.SIGSYS:
        return Reason.DECODER_DIED, "signal SIGSYS, a forbidden system call"
    reason = Reason.DECODER_DIED if number in _FAULTS else Reason.STARVED
    try:
        return reason, f"signal {signal.Signals(number).name}"
    except ValueError:
        return reason, f"signal {number}"
