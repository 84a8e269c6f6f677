"""Start decoders one after another, and determine why a decoder has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import OrderedDict
from typing import NamedTuple

from hashscan.errors import LibraryError, SandboxError, ZygoteError, ZygoteKilledError
from hashscan.model import Reason, SandboxLevel
from hashscan.sandbox.launch import ZygoteLost, ZygoteProcess
from hashscan.sandbox.link import DecoderClosed, DecoderLink, DecoderTimeout
from hashscan.sandbox.protocol import (
    EXIT_MEMORY,
    EXIT_MESSAGES,
    EXIT_NO_MEMORY,
    EXIT_ORPHANED,
    ConfinementResult,
    LibraryFailedError,
    ZygoteConfig,
)
from hashscan.text import printable

HELLO_SECONDS = 15.0
"""Timeout for a new decoder to confine itself; it takes 5 ms on an idle machine."""

DYING_SECONDS = 2.0
"""Time that a decoder whose socket has closed may take to end by itself, so that its own exit status is seen.
Its memory is free by then."""

_PAUSES = (0.05, 0.2)
"""Seconds between tries to start a decoder; there is one try more than pauses."""

ZYGOTE_PAUSES = (1.0, 4.0)
"""Seconds between tries to start the zygote; the system may lack memory or processes for a while."""


_FAULTS = frozenset(
    {
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP),
        *(signal.SIGABRT, signal.SIGSYS),
    }
)
"""Signals that a decoder can cause itself. It can't send itself other signals; those come from outside."""


_REASONS = {EXIT_MEMORY: Reason.MEMORY, EXIT_NO_MEMORY: Reason.STARVED, EXIT_ORPHANED: Reason.STARVED}
"""Reasons by exit code; for other codes the reason is that the decoder died."""

DEATHS_PER_ZYGOTE = 32
"""Number of lost decoders after which their zygote is replaced. All decoders forked from it have the same
address layout, and each that dies may have been an attempt to guess a part of it: guessing one byte takes 128
attempts on average."""


class DecoderLost(Exception):
    """The error that the decoder has ended without a reply for this file; the next file gets a new decoder.

    With the reason `STARVED` the file is not the cause: the system had too little time, memory or processes
    for the decoder, or the decoder was killed from outside.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        """A text for people; no part of it comes from the file."""
        self.on_trial = False
        """True if the file took longer than it may on trial, so that it is to be tried again."""


PARKED_BYTES = 96 << 20
"""Bytes of its own memory that a decoder may have to be set aside."""


class _Parked(NamedTuple):
    """A decoder that was set aside."""

    link: DecoderLink
    files: int


class Decoders:
    """A zygote, and its current decoder."""

    def __init__(self, config: ZygoteConfig) -> None:
        """Start nothing yet: the zygote is started when the first decoder is needed."""
        self._config = config
        self._deaths = 0
        """Number of lost decoders of the current zygote."""
        self.level: SandboxLevel | None = None
        """The weakest confinement of all decoders so far; None before the first decoder."""
        self.link: DecoderLink | None = None
        self.files = 0
        """Number of files that were sent to it."""
        self.owner: int | None = None
        """Owner of these files."""
        self.memory_bytes = 0
        """Its memory limit, if it is not the configured one; else 0."""
        self._parked: OrderedDict[int, _Parked] = OrderedDict()
        """Decoders that were set aside, by owner, the least used first."""
        self._zygote: ZygoteProcess | None = None

    def replace(self, memory_bytes: int = 0) -> DecoderLink:
        """Start a decoder in place of the current one, with another memory limit if one is given.
        DecoderLost: the system has no resources for one; SandboxError: mode is required, and a part of the
        confinement is not available; ZygoteError: the program can't be loaded, or decoders die before their
        first file; LibraryError: they die because of a library, or can't use it; ZygoteKilledError: the
        zygote can't be started, or is killed again and again."""
        self.drop()
        failure: DecoderLost | ZygoteError | ZygoteKilledError
        for pause in (*_PAUSES, 0.0):
            try:
                zygote = self._ready_zygote()
                spare = None if memory_bytes else zygote.promote_spare()
                connection, process = spare or zygote.spawn(memory_bytes)
                link = DecoderLink(connection, self._config.reply_max, process)
            except ZygoteLost:
                self._drop_zygote()
                failure = ZygoteKilledError("the process that decoders are forked from dies again and again")
            except OSError as error:
                failure = DecoderLost(Reason.STARVED, f"none can be started: {error.strerror}")
            else:
                try:
                    self._judge(link.receive_hello(time.monotonic() + HELLO_SECONDS))
                    if spare and not link.idle():
                        # It was killed after its hello. No file is lost with it.
                        raise DecoderClosed
                    # Set it only now, in case of an interruption: no file may be sent to a decoder that has
                    # not been checked.
                    self.link, self.memory_bytes = link, memory_bytes
                    return link
                except LibraryFailedError as error:
                    self.lost(Reason.DECODER_DIED, "discarded", 0)
                    raise _library_error(self._config, str(error)) from error
                except (DecoderTimeout, DecoderClosed):
                    lost = self.lost(Reason.DECODER_DIED, "", DYING_SECONDS)
                    if self._config.libraries and lost.reason is not Reason.STARVED:
                        failure = _library_error(self._config, f"a decoder died with it: {lost.detail}")
                    else:
                        failure = ZygoteError(f"decoders die before their first file: {lost.detail}")
                finally:
                    if self.link is not link:
                        link.close()
            time.sleep(pause)
        raise failure

    def park(self) -> None:
        """Set the current decoder aside for its owner; end one that holds much memory.

        It is stopped, so that one that was taken over can do nothing meanwhile.
        """
        link, owner = self.link, self.owner
        zygote = self._zygote
        if link is None or owner is None or zygote is None or _own_memory(link.process) > PARKED_BYTES:
            self.drop()
            return
        with contextlib.suppress(ZygoteLost):
            zygote.park()
            self._end_parked(owner)
            self._parked[owner] = _Parked(link, self.files)
            self.link = None
        self.drop()

    def trim(self, number: int) -> None:
        """End the least used of those that were set aside, until there are at most `number`."""
        while len(self._parked) > number:
            self._end_parked(next(iter(self._parked)))

    def _end_parked(self, owner: int) -> None:
        parked = self._parked.pop(owner, None)
        if parked is not None and self._zygote is not None:
            parked.link.close()
            # A zygote that has died is replaced when the next decoder is needed.
            with contextlib.suppress(ZygoteLost):
                self._zygote.discard(parked.link.process)

    def resume(self, owner: int) -> None:
        """Use the decoder that was set aside for an owner, if there is one; there is no current one."""
        parked = self._parked.pop(owner, None)
        if parked is None:
            return
        assert self._zygote is not None
        try:
            self._zygote.promote(parked.link.process)
        except ZygoteLost:
            parked.link.close()
            self._drop_zygote()
            return
        self.link, self.files, self.owner = parked.link, parked.files, owner
        if not self.link.idle():
            # It has ended, or sent something unasked.
            self.drop()

    def prepare(self, number: int) -> None:
        """Have decoders forked for later, so that so many are ready; none where the system refuses it.

        They confine themselves at once, and wait. Each is checked as any other before it is used.
        """
        if self._zygote is None or self.link is None:
            # It is started, and its start is waited for, when there is something to decode.
            return
        # A zygote that has died is replaced when the next decoder is needed.
        with contextlib.suppress(ZygoteLost, OSError):
            self._zygote.prepare(number)

    def _ready_zygote(self) -> ZygoteProcess:
        """Return the zygote after it has loaded the program, with several tries; raise ZygoteError if that
        can't be loaded, ZygoteKilledError if all tries failed."""
        why: Exception | None = None
        for pause in (*ZYGOTE_PAUSES, 0.0):
            try:
                if self._zygote is None:
                    self._zygote = ZygoteProcess(self._config)
                self._zygote.wait_ready()
            except ZygoteError:
                self._drop_zygote()
                raise
            except (ZygoteLost, OSError) as error:
                self._drop_zygote()
                why = error
                time.sleep(pause)
            else:
                return self._zygote
        raise ZygoteKilledError(f"the process that decoders are forked from can't be started: {why}") from why

    def _judge(self, hello: ConfinementResult) -> None:
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
        """End the decoder and return the loss; without `detail`, it is described by the wait status."""
        self.drop()
        assert self._zygote is not None
        try:
            status, killed = self._zygote.end(patience)
        except ZygoteLost:
            self._drop_zygote()
            return DecoderLost(Reason.STARVED, "the process it was forked from died")
        loss = DecoderLost(reason, detail) if detail else DecoderLost(*_describe_status(status, killed))
        self._deaths += 1
        if self._deaths >= DEATHS_PER_ZYGOTE:
            self._drop_zygote()
        elif loss.reason is Reason.STARVED:
            # Whoever killed it may have killed the spare ones, too, and the file gets only one more.
            with contextlib.suppress(ZygoteLost):
                self._zygote.discard_spares()
        return loss

    def drop(self) -> None:
        link, self.link = self.link, None
        self.files, self.owner, self.memory_bytes = 0, None, 0
        if link is not None:
            link.close()

    def close(self, *, ours: bool) -> None:
        """End the decoder and the zygote; if they belong to another process, only close the connections."""
        self.drop()
        if ours:
            self._drop_zygote()
        elif self._zygote is not None:
            self._zygote.detach()
            self._zygote = None

    def _drop_zygote(self) -> None:
        zygote, self._zygote = self._zygote, None
        self._deaths = 0
        while self._parked:
            self._parked.popitem()[1].link.close()
        if zygote is not None:
            zygote.close()


def _library_error(config: ZygoteConfig, why: str) -> LibraryError:
    return LibraryError(f"the library {printable(config.libraries[-1])} can't be used: {why}")


def _own_memory(process: int) -> int:
    """Return the bytes of memory that a decoder has, without those of files; a large number if unknown."""
    try:
        with open(f"/proc/{process}/statm", "rb", buffering=0) as statm:
            _, resident, shared, *_ = map(int, statm.read(128).split())
    except (OSError, ValueError):
        return PARKED_BYTES + 1
    return (resident - shared) * os.sysconf("SC_PAGESIZE")


def _describe_status(status: int, killed: bool) -> tuple[Reason, str]:
    """Return reason and text for the wait status of a decoder whose socket had closed."""
    if not os.WIFSIGNALED(status):
        code = os.waitstatus_to_exitcode(status)
        reason = _REASONS.get(code, Reason.DECODER_DIED)
        return reason, EXIT_MESSAGES.get(code, f"exit code {code}")
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
