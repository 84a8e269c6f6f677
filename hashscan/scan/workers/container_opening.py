"""Open containers in a sandbox of their own, and match what is in them.

The sandbox is started for the first container: the libraries take longer to load than all that pictures need,
and make each decoder that is forked slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from math import inf

from msgspec import json, structs

from hashscan.hashing.container_kinds import (
    VIDEOS,
    is_opened,
    missing_extra,
    missing_recogniser,
    opened_by_python,
    seconds_to_open,
)
from hashscan.hashing.containers import UNRECOGNISED
from hashscan.hashing.embedded.within import containers_within
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.member_records import RECORD_MAX
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import REPLY_MAX, pack_request
from hashscan.locking import ClosedOnExit
from hashscan.matching.container_members import MemberMatching, add_part_to, add_to
from hashscan.matching.evaluation import FileTask, Matcher, disprove
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Match, MemberLimits, Reason
from hashscan.registry import EXACT_HASHES
from hashscan.sandbox.client import DecoderProgram, Sandbox
from hashscan.sandbox.decoders import DecoderLost
from hashscan.scan.workers.slow_files import SlowOwners, container_seconds, cost_of
from hashscan.sources.base import FileError, OpenFile

_OPENED_ALONE = frozenset({"PDF", *VIDEOS})
"""Names of the formats whose libraries are the largest, and known to crash: a decoder opens one such file and
no other."""

_ENDED_AT = 1.02
"""The multiple of its processor time at which a decoder is ended from outside. At its limit it ends itself,
with all that it has, unless it is within a call of a library."""


class ContainerOpening(ClosedOnExit):
    """The sandbox of containers, and the limits within which they are opened."""

    def __init__(
        self,
        setup: WorkerSetup,
        limits: MemberLimits,
        program: DecoderProgram,
        pictures: Sandbox,
        slow: SlowOwners,
    ) -> None:
        """Start nothing yet. The program also decodes the pictures in containers; the budgets of owners in
        its sandbox are those of containers, too."""
        self._program, self._options = opening_program(setup, limits, program), setup.sandbox
        self._by_python = False
        """True if no library written in C opens containers, except those of Python itself."""
        self._limits, self._pictures, self._slow = limits, pictures, slow
        self.sandbox: Sandbox | None = None
        """None before the first container."""

    def look_into(self, file: FileTask, setup: WorkerSetup, matcher: Matcher, *, defer: bool) -> None:
        """Open a container if that is wanted and possible, or defer it; else say why not. `setup` is the
        present one, with the lists of the matcher."""
        opened = file.opened
        if opened is None:
            file.detail += "; there was no room in TMPDIR to open it"
            return
        containers, _ = containers_within(PreadFile(opened.descriptor), file.kind)
        if not self._limits.kinds and containers != (UNRECOGNISED,):
            # It is a container, whatever else it is.
            return
        opening = [each for each in containers if is_opened(each, self._limits.kinds)]
        missing = list(filter(None, map(missing_extra, opening)))
        if len(missing) == len(opening):
            if missing:
                file.detail += f"; to have it opened, install hashscan[{missing[0]}]"
            return
        self._start()
        file.by_signature = file.kind == UNRECOGNISED and (self._by_python or bool(missing_recogniser()))
        if self._by_python and not any(opened_by_python(each, self._limits.kinds) for each in opening):
            file.detail += "; containers of this kind are opened in a full sandbox only"
            return
        file.looked_into = True
        # The decoder opens what it can of them, and says if there are others.
        kind, matching = containers[0], partial(MemberMatching, matcher, file.item, setup)
        self._open(file, opened, kind, matching, defer=defer and not opened.fetched)

    def started(self) -> Sandbox | None:
        """Return the sandbox, in which pictures are decoded, too; None if no library in C is loaded there."""
        self._start()
        return None if self._by_python else self.sandbox

    def _start(self) -> None:
        """Start the sandbox; without libraries if it is not a full one."""
        if self.sandbox is None:
            self.sandbox = Sandbox(self._program, self._options, self._pictures)
        if not self._by_python and not (self.sandbox.level or self.sandbox.start()).full:
            self._by_python = True
            self.sandbox.close()
            program = structs.replace(self._program, arguments=(*self._program.arguments, "libraries=none"))
            self.sandbox = Sandbox(program, self._options, self._pictures)

    def _open(
        self,
        file: FileTask,
        opened: OpenFile,
        kind: FileFormat,
        matching: Callable[[str], MemberMatching],
        *,
        defer: bool,
    ) -> None:
        """Have a decoder open a container, and match its members; or defer it. The decoder may have seen
        other files of the same owner: one of them could have taken it over, so that any match, and the loss
        of the decoder, is confirmed by a fresh one before it is reported. The first one has a tenth of the
        time, so that the second one can have all of it."""
        assert self.sandbox is not None
        limit = seconds_to_open(kind, opened.stat.size, self._limits)
        if defer and opened.stat.uid in self._slow:
            _defer(file, opened, limit)
            return
        # What a picture was decoded to is confirmed apart from what else it is.
        is_picture = file.kind is not None and file.kind.pillow is not None
        found = matching(kind.name)
        alone = kind.name in _OPENED_ALONE
        lost = self._receive(found, opened, kind, alone=alone, on_trial=defer or not alone)
        on_trial = lost is not None and lost.on_trial
        if not opened.fetched:
            self._slow.charge(opened.stat.uid, self.sandbox.used, opened.stat.size, given_up=on_trial)
        if defer and on_trial:
            _defer(file, opened, limit)
            return
        before: Sequence[Match] = ()
        doubtful = found.matches or lost is not None or found.lacked_memory
        if on_trial or (doubtful and not self.sandbox.first):
            # What a decoder that saw no other file has found need not be found again.
            before, found = found.matches if not self.sandbox.first else (), matching(kind.name)
            lost = self._receive(found, opened, kind, fresh=True)
        if not is_picture:
            file.confirmed = self.sandbox.first
        try:
            file.recognised = found.members > 0
            if lost is None:
                add_to(file, found)
                file.members = found.opened
            else:
                add_part_to(file, found, lost.reason, f"{kind.name}: {lost.detail}")
            opened.check_unchanged()
        except FileError as trouble:
            file.fail(trouble)
            return
        if before and not found.matches:
            disprove(file, before[0], None if lost is None else lost.reason)
            file.members = None

    def _receive(
        self,
        found: MemberMatching,
        opened: OpenFile,
        kind: FileFormat,
        *,
        fresh: bool = False,
        alone: bool = False,
        on_trial: bool = False,
    ) -> DecoderLost | None:
        """Have a decoder open a container, and match what it sends; return its loss, if it is lost. On trial,
        it is given up if it takes longer than its size explains."""
        assert self.sandbox is not None
        limit = seconds_to_open(kind, opened.stat.size, self._limits)
        parts = self.sandbox.parts(
            opened.descriptor,
            pack_request(kind),
            opened.stat.uid,
            seconds=_ENDED_AT * limit,
            trial_seconds=container_seconds(limit, opened.stat.size) if on_trial else inf,
            parts_max=3 * self._limits.members + 3,
            fresh=fresh,
            alone=alone,
        )
        lost = None
        try:
            with closing(parts):
                for part in parts:
                    found.take(part)
            found.finish()
        except DecoderLost as loss:
            lost = loss
        except ValueError as error:
            self.sandbox.discard()
            lost = DecoderLost(Reason.DECODER_DIED, str(error))
        found.match()
        return lost

    def close(self) -> None:
        if self.sandbox is not None:
            self.sandbox.close()


def _defer(file: FileTask, opened: OpenFile, seconds: float) -> None:
    """Leave a container unopened, to be opened, with so many seconds of processor time, when all files of
    others have been checked."""
    file.deferred = max(cost_of(seconds), opened.stat.size)
    file.fail(FileError(Reason.TIMEOUT, "not opened yet"))


def opening_program(setup: WorkerSetup, limits: MemberLimits, program: DecoderProgram) -> DecoderProgram:
    arguments = (
        *program.arguments,
        f"exact={','.join(EXACT_HASHES.rows[name].target for name in setup.exact)}",
        f"containers={json.encode(limits).decode()}",
        *(() if setup.pictures_compared else ("members=bytes",)),
        *(() if setup.videos is None else ("videos=vpdq",)),
    )
    return DecoderProgram(program.target, arguments, max(REPLY_MAX, RECORD_MAX), program.libraries)
