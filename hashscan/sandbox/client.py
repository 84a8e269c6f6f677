"""Pass files to a confined decoder and receive its replies, within a budget of decoders for each owner.

An owner who uses up this budget hides nothing: the rest of the owner's pictures are `undecoded` with a reason
of its own, exact digests are checked all the same, and the scan is incomplete. Losses that depend on the
content are cached with it and cost the next scan nothing, so the next scan gets further.

with Sandbox(DecoderProgram("package.module:load", (), reply_max=64), SandboxOptions("required")) as sandbox:
    begun = sandbox.begin(descriptor, b"request", owner=uid)
    ...                                     # hash the same bytes meanwhile, with pread only, or begin others
    reply = sandbox.finish(begun)

The decoder processes one file after another, in the order in which they were begun. The next files wait in
the queue of its socket, so that neither side has to wait while the other passes a file.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from msgspec import Struct

from hashscan.errors import ZygoteError
from hashscan.locking import ClosedOnExit
from hashscan.model import Reason, SandboxLevel
from hashscan.sandbox import seccomp
from hashscan.sandbox.decoders import DYING_SECONDS, DecoderLost, Decoders
from hashscan.sandbox.launch import import_path
from hashscan.sandbox.link import (
    DecoderClosed,
    DecoderLink,
    DecoderMisbehaved,
    DecoderOverTime,
    DecoderTimeout,
)
from hashscan.sandbox.protocol import REPLY_MAX, REQUEST_MAX, ZygoteConfig


class OwnerBudget:
    """The budget of each owner, in one sandbox."""

    def __init__(self, losses: int, seconds: float) -> None:
        """Set the limits of each owner: lost decoders, and seconds that the lost decoders have used."""
        self._losses = losses
        self._seconds = seconds
        self._spent: dict[int, tuple[int, float]] = {}

    def charge(self, owner: int, seconds: float) -> None:
        """Count a decoder that was lost because of a file on which it has worked for so many seconds."""
        losses, before = self._spent.get(owner, (0, 0.0))
        self._spent[owner] = losses + 1, before + seconds

    def renew(self) -> None:
        """Forget what every owner has spent."""
        self._spent.clear()

    def is_exhausted(self, owner: int) -> bool:
        """Return True if no more files of an owner are to be decoded."""
        losses, seconds = self._spent.get(owner, (0, 0.0))
        return losses >= self._losses or seconds >= self._seconds


WALL_FACTOR = 15.0
"""Wall clock limit as a multiple of the processor time limit. A scan in the background beside one busy
process got 1.4 % of a core: within 300 s it has 4 s of processor time, and an ordinary photograph takes less
than one."""


LARGE_FACTOR = 3.0
"""Time limits for a large picture, as a multiple of those for others."""


PARTS_SECONDS, PARTS_BYTES = 1.0, 4 << 20

TRIAL_SHARE = 0.1
"""Share of a file's processor time that it may take in a decoder that has seen other files, so that the whole
is left for a fresh decoder, and both together are near the limit."""


class SandboxOptions(Struct, frozen=True):
    """The mode and the limits of decoders."""

    mode: Literal["required", "auto", "off"]
    """required: full confinement or an error; auto: as much as this system supports; off: only a separate
    process with limits."""

    memory_bytes: int = 768 << 20
    """Bytes that one decoder may map in addition to what the loaded program has mapped already."""

    seconds: float = 20.0
    """Processor time limit for one file."""

    wall_factor: float = WALL_FACTOR
    """Wall clock limit for one file, as a multiple of `seconds`."""

    files_per_decoder: int = 256

    large_memory_bytes: int = 3 << 30
    """Memory limit for a decoder of one large picture; 0 if there is to be none."""

    owner_large_seconds: float = 1800.0
    """Total time for which the large pictures of an owner may use such decoders."""

    owner_parts_seconds: float = 1800.0
    """Total processor time that the files of an owner which are replied to in parts may take, without
    `PARTS_SECONDS` and a second for each `PARTS_BYTES` of each file: files that take longer are made for
    that."""

    parked: int = 0
    """Decoders that are set aside for their owners when files of others come, at most."""

    owner_losses: int = 1000
    owner_seconds: float = 600.0
    """Limits per owner: the number of decoders that the owner's files may cost, and the total time that the
    lost decoders have spent on them. Ordinary broken pictures cost none, so this is enough even if one user
    owns the files of all customers."""

    @property
    def wall_seconds(self) -> float:
        """Wall clock limit for one file."""
        return self.seconds * self.wall_factor

    def seconds_for(self, memory_bytes: int) -> float:
        """Return the processor time limit for one file, for a large one with a memory limit of its own."""
        return self.seconds * (LARGE_FACTOR if memory_bytes else 1.0)


class DecoderProgram(Struct, frozen=True):
    """The code that runs in the sandbox.

    `target` is called in the zygote with `arguments`, and returns a `zygote.Handle`. It must import, open
    and prepare everything: afterwards nothing can be imported or opened, and no thread can be started.
    """

    target: str
    """Dotted path and function, "package.module:function"."""
    arguments: tuple[str, ...]
    """Arguments of the target; every user of the machine can see them in the list of processes."""
    reply_max: int
    """Maximum length of a reply in bytes; the minimum is one. The caller must check which length is valid."""
    libraries: tuple[str, ...] = ()
    """Absolute paths of shared libraries, each after those that it needs. Every decoder loads them when it is
    nearly confined (see `confine.confine`), and then calls the function `attach` of the target's module with
    them, which raises an OSError if they can't be used."""


@dataclass(slots=True, eq=False)
class PendingFile:
    """A file that was passed to the sandbox."""

    descriptor: int
    request: bytes
    owner: int
    memory_bytes: int = 0
    """Memory limit of its decoder, if it is a large picture; else 0."""
    seconds: float = math.inf
    """Processor time limit, if it has one of its own."""
    trial_seconds: float = math.inf
    """Processor time after which it is given up, to be tried again later."""
    used: float = 0.0
    """Processor time in seconds that its decoders have used for it."""
    link: DecoderLink | None = None
    """The decoder that it was sent to last."""
    first: bool = False
    """True if that decoder had received no other file before."""
    since: float = 0.0
    """Time when it was sent, by time.monotonic()."""
    loss: DecoderLost | None = None
    outcome: bytes | DecoderLost | None = None
    """The reply or the loss; None while the file is in progress."""


class Sandbox(ClosedOnExit):
    """A zygote, started when it is first needed, with one decoder; for use by one thread at a time."""

    seccomp_library: ClassVar[str] = seccomp.LIBRARY

    def __init__(
        self, program: DecoderProgram, options: SandboxOptions, other: Sandbox | None = None
    ) -> None:
        """Check the options, and start nothing yet.

        Args:
            other: a sandbox whose files count against the same budgets of their owners.
        """
        if not 0 < program.reply_max <= REPLY_MAX:
            raise ValueError(f"a reply has at most 1 to {REPLY_MAX} bytes")
        if min(options.memory_bytes, options.wall_seconds, options.files_per_decoder) <= 0:
            raise ValueError("limits are above 0")
        self._options = options
        config = ZygoteConfig(
            path=import_path(__name__, program.target),
            target=program.target,
            arguments=program.arguments,
            reply_max=program.reply_max,
            mode=options.mode,
            memory_bytes=options.memory_bytes,
            # For all files of a decoder together. This limit applies only if the worker no longer checks.
            cpu_seconds=math.ceil((options.seconds + 1) * options.files_per_decoder),
            seccomp_library=self.seccomp_library,
            libraries=program.libraries,
        )
        self._decoders = Decoders(config)
        self._budgets: tuple[OwnerBudget, OwnerBudget, OwnerBudget] = (
            (
                OwnerBudget(options.owner_losses, options.owner_seconds),
                OwnerBudget(sys.maxsize, options.owner_large_seconds),
                OwnerBudget(sys.maxsize, options.owner_parts_seconds),
            )
            if other is None
            else other._budgets
        )
        self._budget, self._large_budget, self._parts_budget = self._budgets
        self._process = os.getpid()
        self._under_way: deque[PendingFile] = deque()
        self._cpu_seconds = config.cpu_seconds
        self._finished_at = 0.0
        self.first = True
        """True if the decoder that `parts` used last had received no other file before."""
        self.used = 0.0
        """Processor time in seconds that the decoder has used for the last file of `parts`."""
        self._closed = False

    @property
    def level(self) -> SandboxLevel | None:
        """The weakest confinement of all decoders so far; None before the first decoder."""
        return self._decoders.level

    def start(self) -> SandboxLevel:
        """Start a decoder before there is a file, to find out early whether the sandbox works.

        Raises:
            SandboxError: mode is required, and a part of the confinement is not available.
            ZygoteError: the program can't be loaded, or no decoder can be started.
            LibraryError: a library can't be loaded or used.
        """
        self._check_use()
        if self._decoders.link is None:
            try:
                self._decoders.replace()
            except DecoderLost as lost:
                raise ZygoteError(f"no decoder can be started: {lost.detail}") from lost
        assert self._decoders.level is not None
        return self._decoders.level

    def begin(
        self,
        descriptor: int,
        request: bytes,
        owner: int,
        *,
        fresh: bool = False,
        memory_bytes: int = 0,
        seconds: float = math.inf,
        trial_seconds: float = math.inf,
    ) -> PendingFile:
        """Pass one file to the decoder, behind those in progress; `finish` returns the result.

        If the file needs another decoder than those files, this waits for their results.

        Args:
            descriptor: open for reading only; don't close it before the file is finished or given up. Its
                offset is shared with the decoder, and changes.
            request: for the program, at most 4096 bytes.
            owner: owner of the file. No decoder sees files of two owners.
            fresh: use a decoder that has not seen any file.
            memory_bytes: use a fresh decoder with this memory limit, and for no other file.
            seconds: processor time limit for this file, if it is less than that of all.
            trial_seconds: processor time after which the file is given up; see `DecoderLost.on_trial`.

        Raises:
            SandboxError: mode is required, and a part of the confinement is not available.
            ZygoteError: the program can't be loaded, or no decoder can be started.
        """
        self._check_use()
        if len(request) > REQUEST_MAX:
            raise ValueError(f"a request has at most {REQUEST_MAX} bytes")
        begun, now = (
            PendingFile(descriptor, request, owner, memory_bytes, seconds, trial_seconds),
            self._decoders,
        )
        if self._budget.is_exhausted(owner) or (memory_bytes and self._large_budget.is_exhausted(owner)):
            begun.outcome = _over_budget()
            return begun
        other = memory_bytes != now.memory_bytes
        used_up = (now.link is not None and other) or (
            now.files > 0
            and (
                fresh
                or bool(memory_bytes)
                or owner != now.owner
                or now.files >= self._options.files_per_decoder
            )
        )
        try:
            while used_up and self._under_way:
                self._finish_first()
            if used_up or (now.link is not None and not self._under_way and not now.link.idle()):
                self._leave_decoder(owner)
            if self._options.parked and now.link is None and not (self._under_way or fresh or memory_bytes):
                now.resume(owner)
            before = self._under_way[-1] if self._under_way else None
            # Add it before it is sent: an interruption must not leave a decoder whose next reply belongs to
            # no file.
            self._under_way.append(begun)
            # Files are sent in order, so a file that couldn't be sent holds back those behind it.
            if before is None or self._has(before):
                self._send(begun)
            # Only now, so that the decoder need not wait for it.
            now.trim(self._options.parked)
        except BaseException:
            self.give_up()
            raise
        return begun

    def finish(self, begun: PendingFile) -> bytes:
        """Wait for the reply to a file, and so for the replies to all files begun before it.

        If the decoder is lost, the file is sent once more to a new one, unless the file itself must be the
        cause, because the lost decoder had received no other file. In a decoder that has received others, a
        file gets `TRIAL_SHARE` of its processor time, and all of it in a new one. The files behind it, which
        the lost decoder had not started, are sent to a new one in any case.

        Returns:
            The program's reply, 1 to `reply_max` bytes. Trust it no more than the file, which may have taken
            over the decoder.

        Raises:
            DecoderLost: there is no reply.
            SandboxError, ZygoteError: see `begin`.
        """
        self._check_use()
        while begun.outcome is None:
            if begun not in self._under_way:
                raise RuntimeError("the file was given up")
            try:
                self._finish_first()
            except BaseException:
                self.give_up()
                raise
        if isinstance(begun.outcome, DecoderLost):
            raise begun.outcome
        return begun.outcome

    def parts(
        self,
        descriptor: int,
        request: bytes,
        owner: int,
        *,
        seconds: float,
        parts_max: int,
        trial_seconds: float = math.inf,
        fresh: bool = False,
        alone: bool = False,
    ) -> Generator[bytes, None, None]:
        """Have a decoder reply to one file in parts, and yield each.

        The decoder waits while parts are not taken. Close the iterator to end the decoder earlier; use the
        sandbox for nothing else before that. Files in progress are finished first.

        Args:
            descriptor, request, owner: see `begin`.
            seconds: processor time limit for the file. All times of waiting together are limited by
                `wall_factor` times this.
            parts_max: a decoder that sends more parts than this is lost.
            trial_seconds: processor time after which the file is given up; see `DecoderLost.on_trial`.
            fresh: use a decoder that has not seen any file; else that of the owner.
            alone: use it for no other file, before or after.

        Raises:
            DecoderLost: the decoder has ended before the last part; there is no second try, since earlier
                parts were taken.
            SandboxError, ZygoteError: see `begin`.
        """
        self._check_use()
        self.first = True
        while self._under_way:
            self._finish_first()
        if self._budget.is_exhausted(owner) or self._parts_budget.is_exhausted(owner):
            raise _over_budget()
        usual = usual_seconds(os.fstat(descriptor).st_size)
        now = self._decoders
        if ((fresh or alone) and now.files) or not self._serves(owner, seconds):
            self._leave_decoder(owner)
        since, whole, self.used = time.monotonic(), False, 0.0
        link: DecoderLink | None = None
        try:
            if self._options.parked and now.link is None and not (fresh or alone):
                now.resume(owner)
            link = now.link or now.replace()
            now.trim(self._options.parked)
            self.first = not now.files
            now.owner = owner
            now.files += 1
            yield from self._received_parts(link, descriptor, request, (seconds, trial_seconds), parts_max)
            whole = True
        except DecoderLost as lost:
            if not lost.on_trial:
                self._budget.charge(owner, time.monotonic() - since)
            raise
        finally:
            if link is not None:
                self._parts_budget.charge(owner, max(0.0, self.used - usual))
            if not whole:
                # Also where the iterator is closed or an exception comes from outside: none may live on.
                self.discard()
            elif alone:
                now.drop()

    def _serves(self, owner: int, seconds: float) -> bool:
        """Return True if the current decoder may get one more file of an owner, to be replied to in parts.

        The kernel limits the processor time of all its files together: it must not reach that limit with a
        file that is within its own.
        """
        now = self._decoders
        return (
            now.link is not None
            and not now.memory_bytes
            and (not now.files or (now.owner == owner and now.files < self._options.files_per_decoder))
            and now.link.used() + seconds < self._cpu_seconds
            and now.link.idle()
        )

    def _received_parts(
        self,
        link: DecoderLink,
        descriptor: int,
        request: bytes,
        limits: tuple[float, float],
        parts_max: int,
    ) -> Iterator[bytes]:
        """Yield the parts of a reply; the limits are processor time for the file, and on trial, in
        seconds."""
        seconds, before = min(limits), link.used()
        left = limits[0] * self._options.wall_factor
        try:
            link.send(request, descriptor)
            for _ in range(parts_max):
                begun = time.monotonic()
                part, last = link.receive_part(begun + left, seconds)
                left -= time.monotonic() - begun
                self.used = max(self.used, link.used() - before)
                yield part
                if last:
                    return
        except (DecoderOverTime, DecoderTimeout, DecoderMisbehaved, DecoderClosed) as error:
            self.used = (
                seconds if isinstance(error, DecoderOverTime) else max(self.used, link.used() - before)
            )
            lost = self._lost_by(error, seconds)
            lost.on_trial = seconds < limits[0] and lost.reason is Reason.TIMEOUT
            raise lost from None
        raise self._lost_by(DecoderMisbehaved("it replied in too many parts"), seconds)

    def discard(self) -> None:
        """End the decoder, for example after an invalid reply; files in progress are sent to another one."""
        self._check_use()
        if self._decoders.link is not None:
            self._decoders.lost(Reason.DECODER_DIED, "discarded", 0)

    def give_up(self) -> None:
        """Forget the files in progress, and end their decoder."""
        if self._under_way:
            self._under_way.clear()
            self.discard()

    def leave(self) -> None:
        """End the decoder, since its owner has no more files; it is not set aside.

        Call it while there is no file to decode. One that has seen no file is kept.
        """
        self._check_use()
        if self._decoders.files and not self._under_way:
            self._decoders.drop()

    def prepare(self, number: int) -> None:
        """Have decoders forked ahead, so that the next owner or the next confirmation needn't wait for one.

        Call it while there is no file to decode: forking takes some milliseconds of processor time.
        """
        self._check_use()
        self._decoders.prepare(number)

    def renew_budgets(self) -> None:
        """Give every owner the whole budget again, in a sandbox that is used without end."""
        for budget in self._budgets:
            budget.renew()

    def close(self) -> None:
        """End the decoder and the zygote; the sandbox can't be used afterwards."""
        self._closed = True
        self._decoders.close(ours=os.getpid() == self._process)

    def _check_use(self) -> None:
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        if os.getpid() != self._process:
            # Two processes would read each other's replies.
            raise RuntimeError("a sandbox can't be used in a process forked after it was made")

    def _leave_decoder(self, owner: int) -> None:
        """End the current decoder, or set it aside if the next file is of another owner."""
        now = self._decoders
        of_other = now.owner != owner and not now.memory_bytes and now.files < self._options.files_per_decoder
        if self._options.parked and of_other and now.link is not None and now.link.idle():
            now.park()
        else:
            now.drop()

    def _has(self, begun: PendingFile) -> bool:
        return self._decoders.link is not None and begun.link is self._decoders.link

    def _send(self, begun: PendingFile) -> None:
        """Send a file to the decoder; start a new decoder if there is none."""
        lost: DecoderLost | None = None
        # The decoder may have ended since the last check; this file is not the cause.
        for _ in range(2):
            try:
                link = self._decoders.link or self._decoders.replace(begun.memory_bytes)
                link.send(begun.request, begun.descriptor)
            except DecoderClosed:
                if begun is not self._under_way[0]:
                    # Most likely a file before it has caused this; that is handled when its reply is due.
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
        """Send all files in progress to the current decoder, which has received none of them."""
        for begun in self._under_way:
            begun.loss = None
            self._send(begun)
            if not self._has(begun):
                # It is sent when its turn comes, and then the files behind it.
                break

    def _finish_first(self) -> None:
        """Get the result of the first file in progress."""
        begun = self._under_way[0]
        if begun.loss is None and not self._has(begun):
            self._send_all()
        outcome = begun.loss or self._await(begun)
        given_up = isinstance(outcome, DecoderLost) and outcome.on_trial and begun.trial_seconds < math.inf
        if isinstance(outcome, DecoderLost) and not (begun.loss or given_up or _is_cause(begun, outcome)):
            # An earlier file or the system may be the cause; this must not cost the file its verdict.
            if self._budget.is_exhausted(begun.owner):
                outcome = _over_budget()
            else:
                self._send_all()
                outcome = begun.loss or self._await(begun)
        self._finished_at = time.monotonic()
        self._under_way.popleft()
        begun.outcome = outcome
        if self._under_way and self._budget.is_exhausted(begun.owner):
            # All files in progress have the same owner.
            for other in self._under_way:
                other.outcome = _over_budget()
            self.give_up()
        if self._under_way and not self._has(self._under_way[0]):
            self._send_all()

    def _await(self, begun: PendingFile) -> bytes | DecoderLost:
        assert self._decoders.link is not None
        # The decoder can't have started it before the previous file was answered.
        since = max(begun.since, self._finished_at)
        outcome = self._outcome(since, begun)
        if begun.memory_bytes:
            self._large_budget.charge(begun.owner, time.monotonic() - since)
        if isinstance(outcome, DecoderLost) and not outcome.on_trial:
            self._budget.charge(begun.owner, time.monotonic() - since)
        return outcome

    def _outcome(self, since: float, begun: PendingFile) -> bytes | DecoderLost:
        link = self._decoders.link
        assert link is not None
        most = self._options.seconds_for(begun.memory_bytes)
        deadline, whole = since + most * self._options.wall_factor, min(most, begun.seconds)
        seconds = min(whole if begun.first else TRIAL_SHARE * whole, begun.trial_seconds)
        before = link.used_before
        try:
            reply = link.receive(deadline, seconds)
        except (DecoderOverTime, DecoderTimeout, DecoderMisbehaved, DecoderClosed) as error:
            lost = self._lost_by(error, seconds)
            lost.on_trial = seconds < whole and lost.reason is Reason.TIMEOUT
            begun.used += seconds if lost.reason is Reason.TIMEOUT else 0.0
            return lost
        begun.used += link.used_before - before
        return reply

    def _lost_by(self, error: Exception, seconds: float) -> DecoderLost:
        """End the decoder after an error of its link, and return the loss."""
        if isinstance(error, DecoderOverTime):
            return self._decoders.lost(Reason.TIMEOUT, f"over {seconds:g} s of processor time", 0)
        if isinstance(error, DecoderTimeout):
            wall_seconds = seconds * self._options.wall_factor
            return self._decoders.lost(Reason.STARVED, f"no answer within {wall_seconds:g} s", 0)
        if isinstance(error, DecoderMisbehaved):
            return self._decoders.lost(Reason.DECODER_DIED, str(error), 0)
        return self._decoders.lost(Reason.DECODER_DIED, "", DYING_SECONDS)


def usual_seconds(size: int) -> float:
    """Return the seconds of processor time that a file of so many bytes takes at most, if not made to."""
    return PARTS_SECONDS + size / PARTS_BYTES


def _over_budget() -> DecoderLost:
    return DecoderLost(Reason.OVER_BUDGET, "not decoded in this scan")


def _is_cause(begun: PendingFile, loss: DecoderLost) -> bool:
    """Return True if the file must be the cause of the loss of its decoder."""
    return begun.first and loss.reason is not Reason.STARVED
