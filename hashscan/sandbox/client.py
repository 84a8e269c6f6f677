"""The worker's side of the sandbox: hands files to a confined decoder, and takes its answers.

with Sandbox(Plugin("package.module:load", (), reply_max=64), SandboxOptions("required")) as sandbox:
    begun = sandbox.begin(descriptor, b"request", owner=uid)
    ...                                     # hash the same bytes meanwhile, with pread only, or begin others
    reply = sandbox.finish(begun)

The decoder takes one file after another, in the order in which they were begun. Those behind the one it is
busy with wait in its socket, so that neither has to wait for the other's hand-over.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Literal

from hashscan.errors import ZygoteError
from hashscan.model import Reason, SandboxLevel
from hashscan.sandbox import seccomp
from hashscan.sandbox.budget import OwnerBudget
from hashscan.sandbox.decoders import DYING_SECONDS, DecoderLost, Decoders
from hashscan.sandbox.launch import import_path
from hashscan.sandbox.link import (
    DecoderClosed,
    DecoderLink,
    DecoderMisbehaved,
    DecoderOverTime,
    DecoderSilent,
)
from hashscan.sandbox.protocol import REPLY_MAX, REQUEST_MAX, ZygoteConfig

WALL_FACTOR = 15.0
"""A scan in the background beside one busy process got 1.4 % of a core: within 300 s it has 4 s of processor
time, and an ordinary photograph takes less than one."""


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How decoders are held."""

    mode: Literal["required", "auto", "off"]
    """required: in full or not at all; auto: as far as this system can; off: only apart, and limited."""

    memory_bytes: int = 1 << 30
    """What one decoder may map beyond what the loaded plug-in has mapped already."""

    seconds: float = 20.0
    """Processor time for one file."""

    wall_factor: float = WALL_FACTOR
    """How many times as long a file may take by the wall clock."""

    files_per_decoder: int = 256

    owner_losses: int = 1000
    owner_seconds: float = 600.0
    """How many decoders one owner's files may cost, and how long those may have them in all. Ordinary broken
    pictures cost none, so this leaves room where one user owns the files of all customers."""

    @property
    def wall_seconds(self) -> float:
        """Wall clock for one file."""
        return self.seconds * self.wall_factor


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


@dataclass(slots=True, eq=False)
class Begun:
    """A file that was handed over."""

    descriptor: int
    request: bytes
    owner: int
    link: DecoderLink | None = None
    """The decoder that it was sent to last."""
    first: bool = False
    """Whether that one had seen no other file before."""
    since: float = 0.0
    """When it was sent, by time.monotonic()."""
    loss: DecoderLost | None = None
    """Why it could not even be sent."""
    outcome: bytes | DecoderLost | None = None
    """What became of it; None while it is under way."""


class Sandbox:
    """One zygote with one decoder; for one thread at a time.

    The zygote starts to load the plug-in at once; the first `begin` or `start` waits for it.
    """

    seccomp_library: ClassVar[str] = seccomp.LIBRARY

    def __init__(self, plugin: Plugin, options: SandboxOptions) -> None:
        if not 0 < plugin.reply_max <= REPLY_MAX:
            raise ValueError(f"a reply has at most 1 to {REPLY_MAX} bytes")
        if min(options.memory_bytes, options.wall_seconds, options.files_per_decoder) <= 0:
            raise ValueError("limits are above 0")
        self._options = options
        config = ZygoteConfig(
            path=import_path(__name__, plugin.target),
            target=plugin.target,
            arguments=plugin.arguments,
            reply_max=plugin.reply_max,
            mode=options.mode,
            memory_bytes=options.memory_bytes,
            # Over all its files. It comes into play only where we don't look any more.
            cpu_seconds=math.ceil((options.seconds + 1) * options.files_per_decoder),
            seccomp_library=self.seccomp_library,
        )
        self._decoders = Decoders(config)
        self._budget = OwnerBudget(options.owner_losses, options.owner_seconds)
        self._process = os.getpid()
        self._under_way: deque[Begun] = deque()
        self._settled = 0.0
        self._closed = False

    @property
    def level(self) -> SandboxLevel | None:
        """What holds the decoders, the least of all so far; None before the first."""
        return self._decoders.level

    def start(self) -> SandboxLevel:
        """Start a decoder before there is a file, to learn early whether the sandbox can be had.

        Raises:
            SandboxError: mode is required, and something is lacking.
            ZygoteError: the plug-in can't be loaded, or no decoder be started.
        """
        self._check_use()
        if self._decoders.link is None:
            try:
                self._decoders.replace()
            except DecoderLost as lost:
                raise ZygoteError(f"no decoder can be started: {lost.detail}") from lost
        assert self._decoders.level is not None
        return self._decoders.level

    def begin(self, descriptor: int, request: bytes, owner: int, *, fresh: bool = False) -> Begun:
        """Hand over one file, behind those that are under way; what becomes of it is told by `finish`.

        Where another decoder is needed than theirs, this waits for their answers.

        Args:
            descriptor: open for reading only, and not closed before it is finished or given up. Its offset is
                shared with the decoder, and moves.
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
        begun, now = Begun(descriptor, request, owner), self._decoders
        if self._budget.used_up(owner):
            begun.outcome = _over_budget()
            return begun
        used_up = now.files > 0 and (
            fresh or owner != now.owner or now.files >= self._options.files_per_decoder
        )
        try:
            while used_up and self._under_way:
                self._settle()
            if used_up or (now.link is not None and not self._under_way and not now.link.idle()):
                now.drop()
            before = self._under_way[-1] if self._under_way else None
            # Before it is sent: an interruption must not leave a decoder that owes an answer to nobody.
            self._under_way.append(begun)
            # They go in order, so one that couldn't be sent keeps back those behind it.
            if before is None or self._has(before):
                self._send(begun)
        except BaseException:
            self.give_up()
            raise
        return begun

    def finish(self, begun: Begun) -> bytes:
        """Wait for the answer to a file, and so for those to all that were begun before it.

        When the decoder is lost, a new one is asked once more, unless the file itself must have done it: the
        lost one had seen no other. Those behind it, which the lost one hadn't come to, go to a new one in any
        case.

        Returns:
            The plug-in's reply, 1 to `reply_max` bytes. Trust it no further than the file, which may have
            taken the decoder over.

        Raises:
            DecoderLost: there is none.
            SandboxError, ZygoteError: see `begin`.
        """
        self._check_use()
        while begun.outcome is None:
            if begun not in self._under_way:
                raise RuntimeError("the file was given up")
            try:
                self._settle()
            except BaseException:
                self.give_up()
                raise
        if isinstance(begun.outcome, DecoderLost):
            raise begun.outcome
        return begun.outcome

    def discard(self) -> None:
        """End the decoder, as after a reply that makes no sense; what is under way goes to another."""
        self._check_use()
        if self._decoders.link is not None:
            self._decoders.lost(Reason.DECODER_DIED, "discarded", 0)

    def give_up(self) -> None:
        """Forget the files that are under way, and end the decoder that has them."""
        if self._under_way:
            self._under_way.clear()
            self.discard()

    def close(self) -> None:
        """End the decoder and the zygote; the sandbox is of no use afterwards."""
        self._closed = True
        self._decoders.close(ours=os.getpid() == self._process)

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

    def _has(self, begun: Begun) -> bool:
        """Whether the present decoder was sent a file."""
        return self._decoders.link is not None and begun.link is self._decoders.link

    def _send(self, begun: Begun) -> None:
        """Hand a file to the decoder, or to a new one where there is none."""
        lost: DecoderLost | None = None
        # The decoder may have ended since we looked, for which this file is not to blame.
        for _ in range(2):
            try:
                link = self._decoders.link or self._decoders.replace()
                link.send(begun.request, begun.descriptor)
            except DecoderClosed:
                if begun is not self._under_way[0]:
                    # Most likely another before it has done that, which shows when its answer is due.
                    return
                lost = self._decoders.lost(Reason.DECODER_DIED, "", DYING_SECONDS)
            except DecoderLost as none:
                lost = none
                break
            else:
                begun.link, begun.first, begun.since = link, not self._decoders.files, time.monotonic()
                self._decoders.owner = begun.owner
                self._decoders.files += 1
                return
        begun.loss, begun.first = lost, True

    def _send_all(self) -> None:
        """Hand over all that is under way, of which the present decoder has nothing."""
        for begun in self._under_way:
            begun.loss = None
            self._send(begun)
            if not self._has(begun):
                # It goes when its turn comes, and then those behind it.
                break

    def _settle(self) -> None:
        """Find out what became of the first file under way."""
        begun = self._under_way[0]
        if begun.loss is None and not self._has(begun):
            self._send_all()
        outcome = begun.loss or self._await(begun)
        if isinstance(outcome, DecoderLost) and not begun.loss and not _is_certain(begun, outcome):
            # An earlier file may have done it, or the system, and must not cost this one its verdict.
            if self._budget.used_up(begun.owner):
                outcome = _over_budget()
            else:
                self._send_all()
                outcome = begun.loss or self._await(begun)
        self._settled = time.monotonic()
        self._under_way.popleft()
        begun.outcome = outcome
        if self._under_way and self._budget.used_up(begun.owner):
            # They are all of the same owner.
            for other in self._under_way:
                other.outcome = _over_budget()
            self.give_up()
        if self._under_way and not self._has(self._under_way[0]):
            self._send_all()

    def _await(self, begun: Begun) -> bytes | DecoderLost:
        assert self._decoders.link is not None
        # It was looked at no earlier than the one before it was answered.
        since = max(begun.since, self._settled)
        outcome = self._outcome(since)
        if isinstance(outcome, DecoderLost):
            self._budget.charge(begun.owner, time.monotonic() - since)
        return outcome

    def _outcome(self, since: float) -> bytes | DecoderLost:
        assert self._decoders.link is not None
        seconds, wall_seconds = self._options.seconds, self._options.wall_seconds
        deadline = since + wall_seconds
        try:
            return self._decoders.link.receive(deadline, seconds)
        except DecoderOverTime:
            return self._decoders.lost(Reason.TIMEOUT, f"over {seconds:g} s of processor time", 0)
        except DecoderSilent:
            return self._decoders.lost(Reason.STARVED, f"no answer within {wall_seconds:g} s", 0)
        except DecoderMisbehaved as misbehaved:
            return self._decoders.lost(Reason.DECODER_DIED, str(misbehaved), 0)
        except DecoderClosed:
            return self._decoders.lost(Reason.DECODER_DIED, "", DYING_SECONDS)


def _over_budget() -> DecoderLost:
    return DecoderLost(Reason.OVER_BUDGET, "not decoded in this scan")


def _is_certain(begun: Begun, loss: DecoderLost) -> bool:
    """Whether the file, and nothing else, has cost its decoder."""
    return begun.first and loss.reason is not Reason.STARVED
