"""Check uploads: workers with index and sandbox as a scan has them, fed by the doors.

The engine belongs to one asyncio loop. Doors call it from that loop only.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from msgspec import msgpack, structs

from hashscan.errors import HashscanError, UsageError
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import fingerprinted, lists_version
from hashscan.matching.worker_setup import compare_pictures
from hashscan.matching_service_api import FilterAddress
from hashscan.model import (
    USABLE_STATES,
    FileResult,
    FileStat,
    ListInfo,
    Match,
    MemberLimits,
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.sandbox.client import WALL_FACTOR
from hashscan.scan.opened_matching import OpenedMatching, open_matching
from hashscan.service.engine.contents import Content, PassedDescriptors, Receiving, Room
from hashscan.service.engine.list_changes import now_unusable
from hashscan.service.engine.messages import Check, Checked, Found, Lookup, Reply, encode
from hashscan.service.engine.recorder import NoRecorder, Recorder
from hashscan.service.engine.uploads import (
    Answer,
    Client,
    NoLegalBasis,
    Outcome,
    Overloaded,
    Unchecked,
    Upload,
)
from hashscan.service.engine.waiting import Task
from hashscan.service.engine.worker_process import EngineSetup
from hashscan.service.engine.workers import (
    LOST_MAX,
    PARKED,
    WorkerDied,
    WorkerPool,
    WorkerStuck,
)
from hashscan.settings.legal_basis import ended_door
from hashscan.settings.service import AnswerTo, DoorSettings, ServeSettings

_log = logging.getLogger(__name__)

DIGESTS_AT_A_TIME = 200
"""Digests in one request to a worker, so that uploads needn't wait long for it."""

TROUBLES = frozenset(
    {
        Reason.STARVED, Reason.OVER_BUDGET, Reason.NO_ROOM, Reason.PENDING, Reason.WORKER_DIED, Reason.STUCK,
        Reason.UNCONFIRMED,
    }
)  # fmt: skip
"""Reasons for which an upload that was not checked in full is answered as `trouble`: a later check may
succeed, or, where decoders disagree, one of them has found a match."""

_FINDINGS: Mapping[Verdict, AnswerTo] = {
    Verdict.MATCH: "match", Verdict.HELD: "held", Verdict.REVIEW: "review",
}  # fmt: skip
_LESS_THAN_DOUBT = {(Verdict.CLEAN, None), (Verdict.UNDECODED, Reason.CONTAINER)}
"""Verdicts and reasons that say less of an upload than a doubt of its door does."""
_STRICTEST_LAST = (Outcome.ALLOW, Outcome.ERROR, Outcome.REFUSE)


class Engine:
    """The checker of uploads and digests."""

    def __init__(self, settings: ServeSettings, recorder: Recorder | None = None) -> None:
        """Make an engine; without a recorder, its checks are recorded nowhere."""
        self.settings = settings
        self.recorder = recorder or NoRecorder()
        limits = settings.limits
        self.room = Room(limits.upload_bytes, limits.bytes_in_flight)
        self.infos: tuple[ListInfo, ...] = ()
        """The lists in use."""
        self._descriptors = PassedDescriptors(self.room)
        self._opened: list[tuple[EngineSetup, OpenedMatching]] = []
        """The opened lists of each setup that a worker may still use."""
        self._pool: WorkerPool | None = None
        self._reloading = asyncio.Lock()
        # Nobody who knows a client's name knows its number.
        self._secret = secrets.token_bytes(16)

    @property
    def version(self) -> str:
        """A text of `[0-9a-f]{16}` that changes with the lists, exceptions and policy in use."""
        return self.pool.setup.version

    @property
    def filter(self) -> FilterAddress | None:
        """The filter of the lists in use; None if the settings name none."""
        if self.settings.filter is None:
            return None
        return FilterAddress(*self.settings.filter, self.pool.setup.lists_version)

    @property
    def pool(self) -> WorkerPool:
        """The workers; the engine must have been started."""
        if self._pool is None:
            raise RuntimeError("the engine is not started")
        return self._pool

    @property
    def sandbox(self) -> SandboxLevel | None:
        return self.pool.sandbox

    async def start(self) -> None:
        """Open the lists and start the workers; return when the first worker is ready."""
        limits = self.settings.limits
        setup, opened, infos = await asyncio.to_thread(self._open)
        self._pool = WorkerPool(
            setup, limits.workers, limits.queue, limits.queue_seconds, unused=self._close_unused
        )
        self._opened.append((setup, opened))
        self.infos = infos
        try:
            await self._pool.start()
        except BaseException:
            await self.close()
            raise
        _log.info("%s", _decoding_text(setup))

    def receive(self, size: int = 0) -> Receiving:
        """Begin to receive an upload; the size is announced by the client, 0 if it has announced none."""
        return Receiving(self.room, size)

    def passed(self, descriptor: int) -> Content:
        """Take over a descriptor that a client passed; it is closed in any case."""
        content = self._descriptors.take(descriptor)
        if self.pool.lost >= LOST_MAX:
            content.close()
            raise Overloaded("workers wait for files without end; no more files are read")
        return content

    async def check(
        self,
        content: Content,
        upload: Upload,
        door: DoorSettings,
        *,
        unchecked: Reason | None = None,
        taken_apart: bool = False,
        keep: bool = False,
    ) -> Answer:
        """Check one upload; a refused one has its case before this returns. The content is closed in any
        case, unless it is kept because the caller has to send it back. `unchecked` is a reason why the
        content may show more than is checked here, such as a form that could not be taken apart; with it,
        `undecoded` takes the place of `clean`. If the caller is cancelled, the work is given up. A case that
        is begun is finished all the same. Raise Overloaded if the queue is full, or the upload has waited too
        long; Unchecked if it could not be checked."""
        begun, size = time.monotonic(), content.size
        held = True
        try:
            try:
                self._require_basis(upload.client)
                result, version = await self._result(content, upload.client)
            except HashscanError as error:
                self.recorder.failed(upload.client, error)
                raise
            # Of both reasons, also where only one is named.
            outcome = outcome_of(result, door, unchecked, taken_apart=taken_apart)
            if unchecked is not None and (result.verdict, result.reason) in _LESS_THAN_DOUBT:
                result = structs.replace(result, verdict=Verdict.UNDECODED, reason=unchecked)
            reference = ""
            if outcome is Outcome.REFUSE:
                recording = asyncio.ensure_future(self.recorder.refused(upload, result, content))
                try:
                    reference = await asyncio.shield(recording)
                except asyncio.CancelledError:
                    held = False
                    recording.add_done_callback(lambda _: None if keep else content.close())
                    raise
            self.recorder.checked(upload.client, result.verdict, outcome, size, time.monotonic() - begun)
            return Answer(outcome, result, version, reference)
        finally:
            if held and not keep:
                content.close()

    def _require_basis(self, client: Client) -> None:
        """Raise NoLegalBasis if a door's legal basis has ended by the system clock of this moment."""
        if (one := ended_door(self.settings.bases, client.door, time.time())) is not None:
            raise NoLegalBasis(f"the legal basis of {one.subject} ended on {one.legal_basis_until}")

    async def _result(self, content: Content, client: Client) -> tuple[FileResult, str]:
        """Have a worker check a content; return the result and the version of the lists."""
        owner = self._owner_of(client)
        request = encode(Check(owner, content.size, content.sealed, client.once))
        try:
            reply, descriptor = await self._ask(
                self.pool.submit(client.turn, owner, request, content.descriptor)
            )
        except (WorkerDied, WorkerStuck) as trouble:
            reason = Reason.WORKER_DIED if isinstance(trouble, WorkerDied) else Reason.STUCK
            stat = FileStat(0, 0, content.size, 0, 0, 1, owner)
            return FileResult(b"", stat, Verdict.UNREADABLE, reason, str(trouble)), self.version
        assert isinstance(reply, Checked)
        if descriptor >= 0:
            content.replace(descriptor, reply.size)
        return reply.result, reply.version

    async def _ask(self, task: Task) -> tuple[Reply, int]:
        try:
            return await task.future
        except asyncio.CancelledError:
            self.pool.leave(task)
            raise

    def _owner_of(self, client: Client) -> int:
        """Return the number of an upload's owner, by which its decoder and cached replies go."""
        name = f"{client.door} {client.owner}" if client.owner else str(client.connection)
        kind = b"owner" if client.owner else b"connection"
        code = hashlib.blake2b(name.encode(), digest_size=8, key=self._secret, person=kind).digest()
        return int.from_bytes(code, "little") >> 1

    async def match(self, digests: Sequence[tuple[str, bytes]], client: Client) -> list[list[Match]]:
        """Return the matches of each digest, closest first; exceptions are in `Match.excepted`."""
        owner = self._owner_of(client)
        found: list[list[Match]] = []
        version = ""
        try:
            self._require_basis(client)
            while len(found) < len(digests):
                part = list(digests[len(found) : len(found) + DIGESTS_AT_A_TIME])
                try:
                    reply, _ = await self._ask(self.pool.submit(client.turn, owner, encode(Lookup(part))))
                except (WorkerDied, WorkerStuck) as trouble:
                    raise Unchecked("workers end while they match digests") from trouble
                assert isinstance(reply, Found)
                if reply.silent:
                    raise Unchecked(f"no answer from {' and '.join(reply.silent)}")
                if found and reply.version != version:
                    # All of a request is answered by one version.
                    found, version = [], ""
                    continue
                version = reply.version
                found += reply.matches
        except HashscanError as error:
            self.recorder.failed(client, error)
            raise
        self.recorder.matched(client, len(digests), sum(map(bool, found)))
        return found

    async def reload(self) -> bool:
        """Use the lists, exceptions and policy as they are now; return True if any has changed.

        Requests in progress are answered by the lists they began with. If the new state can't be used, the
        old one stays, and the reason is logged.
        """
        async with self._reloading:
            try:
                setup, opened, infos = await asyncio.to_thread(self._open)
            except (HashscanError, OSError) as error:
                _log.error("the lists can't be loaded again, the present ones stay in use: %s", error)
                return False
            if setup.version == self.version and setup.has_files_of(self.pool.setup):
                self.infos = infos
                opened.close()
                return False
            if worse := now_unusable(self.infos, infos):
                _log.error("the present lists stay in use: %s", worse)
                opened.close()
                return False
            self._opened.append((setup, opened))
            if trouble := await self.pool.use(setup):
                _log.error("the new lists can't be used, the present ones stay in use: %s", trouble)
                return False
            self.infos = infos
            _log.info("lists of version %s are in use: %s", setup.version, _decoding_text(setup))
            return True

    def _open(self) -> tuple[EngineSetup, OpenedMatching, tuple[ListInfo, ...]]:
        """Open the lists, exceptions and policy as they are now."""
        settings = self.settings
        opened = open_matching(
            settings.state,
            settings.lists,
            datetime.now(UTC),
            VerificationLevel.CHECKSUMS,
            settings.decoding,
            settings.matching,
            settings.policy,
            _log.warning,
            _member_limits(settings),
        )
        try:
            infos = fingerprinted(opened.lists)
        except BaseException:
            opened.close()
            raise
        if settings.filter is not None and opened.lists.services:
            opened.close()
            raise UsageError(
                f"no filter has the entries of the matching service {opened.lists.services[0].name}",
                advice="Leave out --filter, or name the lists with --list.",
            )
        sandbox = structs.replace(opened.setup.sandbox, parked=PARKED)
        # A door that shows entries shows digests, too.
        shown = any(door.show_entries for door in settings.doors)
        # Services may take digests of pictures, and which ones they take changes without a new list.
        compared = (
            shown
            or bool(opened.lists.services)
            or compare_pictures(opened.setup.lists, opened.setup.algorithms)
        )
        worker = replace(opened.setup, sandbox=sandbox, with_digests=shown, pictures_compared=compared)
        setup = EngineSetup(
            _version_of(opened, infos), worker, opened.lists.services, opened.took, lists_version(infos)
        )
        return setup, opened, infos

    def _close_unused(self) -> None:
        """Release the lists of versions that no worker uses any more."""
        used = self.pool.setups()
        for pair in list(self._opened):
            if all(pair[0] is not setup for setup in used):
                self._opened.remove(pair)
                pair[1].close()

    async def close(self) -> None:
        """Stop the workers; checks in progress raise Unchecked."""
        if self._pool is not None:
            await self._pool.close()
        for _, opened in self._opened:
            opened.close()
        self._opened.clear()


_LEAST_SECONDS = 0.5
"""Processor time for opening a container, however short requests are."""


def _member_limits(settings: ServeSettings) -> MemberLimits | None:
    """Return the limits for containers; no check of one lasts longer than a request may take to arrive."""
    if settings.containers is None:
        return None
    # The worker waits for a decoder `WALL_FACTOR` times this twice, and a second more.
    patience = min((door.request_seconds for door in settings.doors), default=math.inf) / WALL_FACTOR
    longest = max((patience - 1) / 2, _LEAST_SECONDS)
    seconds = min(settings.containers.seconds, longest)
    return structs.replace(settings.containers, seconds=seconds, more_seconds=0.0)


def _decoding_text(setup: EngineSetup) -> str:
    if setup.worker.pictures_compared:
        return "pictures are decoded"
    return "pictures are not decoded, since no list has hashes of pictures"


def _version_of(opened: OpenedMatching, infos: Iterable[ListInfo]) -> str:
    """Return the version of lists, exceptions and policy: equal if all of them are."""
    lists = [(info.name, info.fingerprint, info.state in USABLE_STATES) for info in infos]
    setup = opened.setup
    parts = lists, opened.lists.services, setup.excepted, setup.policy
    document = msgpack.encode(parts, enc_hook=str, order="deterministic")
    return hashlib.blake2b(document, digest_size=8).hexdigest()


def outcome_of(
    result: FileResult, door: DoorSettings, unchecked: Reason | None = None, *, taken_apart: bool = False
) -> Outcome:
    """Return a door's answer to a result: the strictest of those to its verdict and to its reasons, and to
    another reason (`unchecked`) why the content may show more than was checked. A near miss or a match that
    is withheld does not clear what could not be checked in the same upload. `taken_apart` is True if the
    files in the content are checked, too: a form is a mail for mail programs, and a part in Base64 is a text
    with a picture. That such a container was not opened says nothing."""
    reason = None if taken_apart and result.reason is Reason.CONTAINER else result.reason
    if result.verdict is Verdict.CLEAN and reason is unchecked is None:
        return Outcome.ALLOW
    keys: list[AnswerTo] = []
    if result.verdict in _FINDINGS:
        keys.append(_FINDINGS[result.verdict])
    elif result.verdict not in {Verdict.CLEAN, Verdict.UNDECODED}:
        keys.append("trouble")
        reason = None
    for doubt in (reason, unchecked):
        if doubt is Reason.AMBIGUOUS:
            keys.append("ambiguous")
        elif doubt is not None:
            keys.append("trouble" if doubt in TROUBLES else "undecoded")
    outcomes = [Outcome(door.answers[key]) for key in keys]
    return max(outcomes, key=_STRICTEST_LAST.index, default=Outcome.ALLOW)
