"""The worker: it reads each file of a batch once, digests it, matches the digests and decides the verdict.

The same class serves in the scanning process, in a process of a pool and on a node of a cluster.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import inf
from typing import NoReturn

from msgspec import json

from hashscan.hashing.containers import TAIL_SIZE, UNRECOGNISED, container_behind, is_later_part
from hashscan.hashing.embedded.within import containers_within
from hashscan.hashing.exact import ExactReader, FileGrewError
from hashscan.hashing.formats import (
    PREFIX_SIZE,
    SVG,
    TEXT,
    contains_pictures,
    counts_faults,
    is_plain_picture,
    sniff,
    sniff_begin,
)
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.none_kinds import TEXT_PROOF, none_kind
from hashscan.hashing.recognition.text_proof import TextProof
from hashscan.hashing.records import REPLY_MAX, pack_failure, pack_request
from hashscan.hashing.variants import MADE_FOR_LISTS
from hashscan.locking import ClosedOnExit
from hashscan.matching.evaluation import (
    LIMIT_REASONS,
    FileTask,
    Matcher,
    disprove,
    match_files,
    recognition_counts,
    result_of,
    store_reply,
    take_name,
    take_undecodable,
)
from hashscan.matching.policy import NO_SUBJECT, sort_key, subject_of
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import (
    ALGORITHMS,
    Batch,
    BatchResult,
    CtimeTrust,
    FileResult,
    MemberLimits,
    Reason,
    SandboxLevel,
)
from hashscan.registry import EXACT_HASHES, PICTURE_HASHES, SOURCES
from hashscan.sandbox.client import DecoderProgram, PendingFile, Sandbox
from hashscan.sandbox.decoders import DecoderLost
from hashscan.scan.workers.batch_queues import LARGE_BYTES, SPARSE_BYTES
from hashscan.scan.workers.container_opening import ContainerOpening
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.large_memory import granted_memory, turn_on_machine, usable_memory
from hashscan.scan.workers.slow_files import PICTURE_SECONDS, SlowOwners, cost_of
from hashscan.scan.workers.stored_checksums import ChecksumComparison, fail_if_differing
from hashscan.sources.base import Acquire, FileError, Opener, OpenFile, OpenFolder, full_path, no_rate_limit
from hashscan.state.store.members import to_keep

_DECODER_QUEUE_MAX = 16
"""The number of files that the decoder may have at a time, so that worker and decoder need not wait for
each other. Waiting at every file would cost two context switches a file, and refilled CPU caches."""

_TOO_LARGE = frozenset({Reason.TOO_LARGE, Reason.MEMORY})
"""Reasons for which a picture is decoded again with more memory."""

_DRAWING_SECONDS, _PATIENT_FACTOR = 2.0, 1.5
"""Processor time limit in seconds for a drawing, and its multiple for a fresh decoder."""

_LARGE_PICTURE_COST = 1 << 30
"""Decoding a large picture takes about as long as reading and digesting so many bytes."""

OPEN_BYTES_MAX = 64 << 20
"""The bytes of pictures that may stay open until they are matched, plus one picture more; the other files
of a batch are read after that."""


class Worker(ClosedOnExit):
    """A checker of batches, with the index and the sandbox."""

    def __init__(
        self,
        setup: WorkerSetup,
        decode_cache: DecodeCache | None = None,
        openers: Mapping[str, Opener] | None = None,
    ) -> None:
        """Map the lists.

        Args:
            decode_cache: the decode cache that the scan's workers share; closed with the worker. If None,
                the worker has a cache of its own.
            openers: by name of a batch's source, objects that open its files, in addition to those of the
                registry; they are closed with the worker.
        """
        self.setup = setup
        self.decode_cache = DecodeCache() if decode_cache is None else decode_cache
        self.matcher = Matcher.of_setup(setup)
        self.consult: Callable[[Sequence[FileTask]], None] | None = None
        """Called with matched files, and once more with those whose picture matches a second decoder has
        confirmed; may add matches, as of a matching service."""
        self._openers: dict[str, Opener] = dict(openers or {})
        self._spend: Acquire = no_rate_limit
        self._spend_bytes: Callable[[int], None] | None = None
        self._reader = ExactReader([EXACT_HASHES[name]() for name in setup.exact])
        self._pictures = setup.pictures
        self._by_bytes = not setup.pictures_compared
        self._asked_for = ",".join(setup.pictures).encode()
        self._program = picture_program(setup)
        self.sandbox = Sandbox(self._program, setup.sandbox)
        """Decodes pictures."""
        self._opening: ContainerOpening | None = None
        self._checksums = ChecksumComparison()
        self._large_memory = usable_memory(setup.sandbox.large_memory_bytes)
        self._defer = False
        """True if what takes long in this batch is decoded later."""
        self._slow = SlowOwners()
        # Pictures that stay open until they are matched must leave descriptors for the rest.
        self._held_files = max(1, _free_descriptors() // 3)
        self._waiting: deque[FileTask] = deque()
        """The files that the decoder has, in the order in which it got them."""

    def set_rate_limiter(self, spend: Acquire) -> None:
        """Call the rate limiter before files are opened and bytes are read; set it before the first batch."""
        self._spend = spend
        self._spend_bytes = partial(spend, 0)

    @property
    def level(self) -> SandboxLevel | None:
        """The confinement of the decoders; None before the first one."""
        return next((sandbox.level for sandbox in self._sandboxes() if sandbox.level is not None), None)

    def prepare(self, number: int) -> None:
        """Have decoders forked ahead; see `Sandbox.prepare`."""
        for sandbox in self._sandboxes():
            sandbox.prepare(number)

    def leave(self) -> None:
        """End decoders whose owner has no more files; see `Sandbox.leave`."""
        for sandbox in self._sandboxes():
            sandbox.leave()

    def _sandboxes(self) -> Iterator[Sandbox]:
        yield self.sandbox
        if self._opening is not None and self._opening.sandbox is not None:
            yield self._opening.sandbox

    def use(self, setup: WorkerSetup) -> None:
        """Match with other lists, exceptions and policy from the next batch on.

        Args:
            setup: differs from the present one in nothing else; see `decodes_as`.

        Raises:
            ColumnError, OSError: a list can't be mapped; the present ones stay in use.
        """
        if not setup.decodes_as(self.setup):
            raise ValueError("a worker can't decode in another way")
        self.matcher = Matcher.of_setup(setup)
        self.setup = setup

    def check(self, batch: Batch) -> BatchResult:
        """Check every file of a batch; return one result for each, in the batch's order."""
        self._defer = batch.defer
        self._slow.name(batch.slow)
        if self.setup.sandbox.mode == "required":
            # So that a missing sandbox is an error before the first file, not at the first picture.
            self.sandbox.start()
        try:
            with self._opener(batch.source).reopen(batch) as folder:
                files = [FileTask(item) for item in batch.items]
                try:
                    self._check_all(folder, batch, files)
                finally:
                    # Files are left only if an exception was raised, and their descriptors are closed now.
                    self._waiting.clear()
                    self.sandbox.give_up()
                    for file in files:
                        file.close()
        except FileError as trouble:
            files = [FileTask(item) for item in batch.items]
            for file in files:
                file.fail(trouble)
            self._consult(files)
        return BatchResult(
            results=tuple(self._result(batch, file) for file in files),
            kept=tuple(to_keep(file, self._pictures) for file in files) if self.setup.keep else (),
            bytes_read=sum(file.bytes_read for file in files),
            sandbox=self.level,
            deferred=tuple((place, file.deferred) for place, file in enumerate(files) if file.deferred),
            hole_bytes=sum(file.hole_bytes for file in files),
            compared=sum(file.compared is True for file in files),
            not_compared=sum(file.compared is False and not file.unreadable for file in files),
            recognition=recognition_counts(files),
            excess=self._slow.report(),
        )

    def _result(self, batch: Batch, file: FileTask) -> FileResult:
        subject = NO_SUBJECT
        if file.matches:
            path = full_path(batch.target, batch.folder, file.item.name)
            subject = subject_of(path, file.item.stat)
        return result_of(
            file,
            self.setup.algorithms,
            with_digests=self.setup.with_digests,
            augment=self.setup.augmented,
            subject=subject,
            policy=self.setup.policy,
        )

    def _opener(self, source: str) -> Opener:
        if source not in self._openers:
            self._openers[source] = SOURCES[source].opener(self.setup.access, self._spend)
        return self._openers[source]

    def _check_all(self, folder: OpenFolder, batch: Batch, files: Sequence[FileTask]) -> None:
        """Check the files owner by owner, because a decoder serves one owner only."""
        ordered = sorted(files, key=lambda f: f.item.stat.uid)
        folder.prefetch([file.item for file in ordered])
        held: list[FileTask] = []
        held_files = held_bytes = 0
        for file in ordered:
            held.append(file)
            self._open(folder, batch, file)
            if file.opened is not None:
                held_files += 1
                held_bytes += file.item.stat.size
            # For objects, the open files are copies on our own disk.
            if held_bytes >= OPEN_BYTES_MAX or held_files >= self._held_files:
                self._conclude(folder, batch, held)
                held.clear()
                held_files = held_bytes = 0
        self._conclude(folder, batch, held)

    def _open(self, folder: OpenFolder, batch: Batch, file: FileTask) -> None:
        """Read one file; it stays open if it may have to be decoded again to confirm a match."""
        try:
            opened = file.opened = folder.open(file.item)
            file.as_listed = opened.stat[:5] == file.item.stat[:5]
            file.ctime = opened.ctime_trust(self.setup.trust_ctime)
            if opened.hole_bytes > SPARSE_BYTES or opened.stat.size > LARGE_BYTES:
                self._check_cost(file, opened, batch)
            try:
                self._read(file, opened)
                if opened.compressed and file.reason in {None, Reason.CONTAINER}:
                    # Exact digests are of the stored bytes; the content that viewers show was not checked.
                    file.reason, file.detail = Reason.COMPRESSED, opened.compressed
                if opened.fetched:
                    file.checksum, file.compared = opened.checksum, False
            finally:
                if file.item.stat.size < 0:
                    # Not every object store gives the size of an object in the listing.
                    file.item = file.item._replace(stat=opened.stat)
        except FileError as trouble:
            # If the decoder has the file, it may have to be given to it again.
            self._receive_replies(0 if file.begun is not None else _DECODER_QUEUE_MAX)
            file.fail(trouble)
        if file.kind is None:
            file.close()

    def _check_cost(self, file: FileTask, opened: OpenFile, batch: Batch) -> None:
        """Decide if a file that may take long is read; raise FileError if not, or not yet. It may have grown
        since it was listed, and a listing doesn't show holes."""
        if batch.defer and not opened.fetched and opened.stream is None:
            file.deferred = opened.stat.size
            raise FileError(Reason.SPARSE, "not read yet")
        limit = self.setup.max_sparse if batch.max_sparse is None else batch.max_sparse
        if opened.hole_bytes > SPARSE_BYTES:
            try:
                too_sparse = opened.holes_exceed(limit)
            except OSError as error:
                raise FileError(Reason.IO_ERROR, error.strerror or str(error)) from error
            if too_sparse:
                whose = "" if limit == self.setup.max_sparse else " in the files of this owner"
                raise FileError(Reason.SPARSE, f"more than {self.setup.max_sparse} bytes of holes{whose}")
            file.hole_bytes = opened.hole_bytes

    def _read_again(self, folder: OpenFolder, batch: Batch, files: Sequence[FileTask]) -> None:
        for file in files:
            file.restart()
            self._open(folder, batch, file)
        self._receive_replies(0)

    def _conclude(self, folder: OpenFolder, batch: Batch, files: Sequence[FileTask]) -> None:
        """Match files that were read, confirm picture matches, and close the files."""
        self._receive_replies(0)
        self._checksums.compare(batch.target, folder, files, partial(self._read_again, folder, batch))
        match_files(self.matcher, self.setup.algorithms, files)
        self._consult(files)
        for file in files:
            if any(ALGORITHMS[m.algorithm].of_picture for m in file.matches):
                self._confirm(file)
            # A picture that can't be decoded may be a container, too.
            undecoded = file.kind is not None and file.opened is not None and not file.unreadable
            if file.reason is Reason.CONTAINER or (file.reason is not None and undecoded):
                self._look_into(file)
            if file.reason is None and is_later_part(file.item.name, file.kind):
                file.reason = Reason.PARTIAL
            if file.matches and self._by_bytes and file.decoded is None:
                self._decode_finding(file)
            fail_if_differing(file)
            file.close()

    def _decode_finding(self, file: FileTask) -> None:
        """Give a finding the digests of its picture, which was not decoded before; nothing if it can't be."""
        if file.opened is None or file.kind is None or file.kind.pillow is None:
            return
        again = FileTask(file.item, kind=file.kind)
        self._begin(again, file.opened, fresh=True)
        self._finish(again, file.opened)
        file.decoded = again.decoded

    def _look_into(self, file: FileTask) -> None:
        # A picture may hold something, too: only the probes tell.
        recognising = file.kind is not None and (file.kind == UNRECOGNISED or not file.kind.container)
        opening = self._container_opening(recognising=recognising)
        if opening is not None:
            opening.look_into(file, self.setup, self.matcher, defer=self._defer)

    def _container_opening(self, *, recognising: bool = False) -> ContainerOpening | None:
        """Return what opens containers, also if none are opened but files are to be recognised."""
        limits = self.setup.containers
        if limits is None and not recognising:
            return None
        limits = limits or MemberLimits(kinds=())
        if self._opening is None:
            self._opening = ContainerOpening(self.setup, limits, self._program, self.sandbox, self._slow)
        return self._opening

    def _consult(self, files: Sequence[FileTask]) -> None:
        if self.consult is not None and files:
            self.consult(files)

    def _read(self, file: FileTask, opened: OpenFile) -> None:
        """Digest a file and have it decoded; if the decoder still has it, the result is taken later."""
        try:
            if opened.stream is not None:
                self._read_stream(file, opened, opened.stream)
                return
            if opened.content is None:
                first = self._reader.begin(
                    opened.descriptor, opened.stat.size, None if opened.fetched else self._spend_bytes
                )
            else:
                first = self._reader.begin_content(opened.content)
            # A file that is whole may be proven to be text without a picture, which takes less.
            is_whole = opened.stat.size <= len(first)
            file.kind = sniff_begin(first) if is_whole else sniff(first)
            by_bytes = self._by_bytes and file.kind is not None and is_plain_picture(file.kind, first)
            decoding = (
                not by_bytes
                and file.kind is not None
                and file.kind.pillow is not None
                and bool(self._pictures)
            )
            # Decoding runs while we digest; but if the digest may make it unnecessary, the digest comes
            # first.
            waiting = decoding and self._seen_before(opened, first)
            if decoding and not waiting:
                self._send_to_decoder(file, opened)
            self._digest(file, opened, first, by_bytes=by_bytes)
        except FileGrewError as error:
            raise FileError(Reason.CHANGED, "it is much longer than it was") from error
        except OSError as error:
            raise FileError(Reason.IO_ERROR, error.strerror or str(error)) from error
        if waiting and not self._use_cached_reply(file, opened):
            # The decoder may have the same content at this moment.
            self._receive_replies(0)
            if not self._use_cached_reply(file, opened):
                self._send_to_decoder(file, opened)
        if file.begun is None:
            opened.check_unchanged()

    def _digest(self, file: FileTask, opened: OpenFile, first: memoryview, *, by_bytes: bool) -> None:
        """Read a file to its end, and store its digests and whether it is a container; with `by_bytes` it is
        a picture that is not decoded."""
        file.exact, file.bytes_read = self._reader.finish()
        if file.kind is None and file.bytes_read:
            self._recognise(file, opened, first)
        if file.kind is None:
            if file.none_by:
                take_name(file)
            return
        if by_bytes:
            # As the decoder does, which would have looked behind the picture.
            if containers_within(PreadFile(opened.descriptor), file.kind)[0]:
                file.reason, file.detail = Reason.CONTAINER, file.kind.name
        elif file.kind.pillow is None:
            take_undecodable(file)

    def _recognise(self, file: FileTask, opened: OpenFile, first: memoryview) -> None:
        """Store the kind of a file that its begin does not tell, or the row that proves it to be none."""
        # Only where nothing else was recognised: the decoder looks behind a picture.
        behind = container_behind(_last_bytes(opened, first, file.bytes_read))
        in_memory = first if file.bytes_read == len(first) else opened.content
        whole = None if in_memory is None else bytes(in_memory)
        if behind is None and whole is not None and TextProof().feed(whole):
            file.none_by = TEXT_PROOF
        elif file.bytes_read == len(first) and contains_pictures(bytes(first)):
            file.kind = TEXT
        elif behind is not None:
            file.kind = behind
        else:
            file.none_by = none_kind(
                PreadFile(opened.descriptor if whole is None else whole), text=whole is None
            )
            file.kind = None if file.none_by else UNRECOGNISED

    def _read_stream(self, file: FileTask, opened: OpenFile, pieces: Iterator[bytes | memoryview]) -> None:
        """Digest content that can't be stored; a decoder would need all of it."""
        tail = bytearray()
        file.kind = sniff(self._reader.begin_pieces(_with_tail(pieces, tail)))
        file.exact, file.bytes_read = self._reader.finish()
        opened.check_unchanged()
        file.kind = file.kind or container_behind(bytes(tail))
        if file.kind is not None and file.kind.pillow is None:
            take_undecodable(file)
        elif file.bytes_read:
            # A file that no signature tells can't be asked about, either.
            file.kind = file.kind or UNRECOGNISED
            file.reason, file.detail = Reason.NO_ROOM, file.kind.name
        file.close()

    def _send_to_decoder(self, file: FileTask, opened: OpenFile) -> None:
        """Give a file to the decoder, when it has answered enough of the files before."""
        self._receive_replies(_DECODER_QUEUE_MAX - 1)
        on_trial = self._defer and not opened.fetched
        if on_trial and opened.stat.uid in self._slow:
            self._defer_picture(file, opened)
        self._begin(file, opened, trial_seconds=PICTURE_SECONDS if on_trial else inf)
        self._waiting.append(file)

    def _defer_picture(self, file: FileTask, opened: OpenFile) -> NoReturn:
        """Leave a picture undecoded, to be decoded when all files of others have been checked."""
        file.deferred = max(cost_of(self.setup.sandbox.seconds), opened.stat.size)
        raise FileError(Reason.TIMEOUT, "not decoded yet")

    def _receive_replies(self, left: int) -> None:
        """Receive the decoder's replies until it has at most this number of files left."""
        while len(self._waiting) > left:
            file = self._waiting.popleft()
            self._finish(file)
            if file.opened is None:
                continue
            try:
                # Checked after the decoder has read it, too.
                file.opened.check_unchanged()
            except FileError as trouble:
                file.fail(trouble)
                continue
            sha256 = file.exact.get("sha256")
            if file.reply and sha256 is not None and file.ctime is CtimeTrust.PROVEN:
                self.decode_cache.put(file.opened.stat.uid, self._cached_as(sha256), file.reply)

    def _seen_before(self, opened: OpenFile, first: memoryview) -> bool:
        """Return True if a picture of this owner with this size, beginning and end was read before."""
        size = opened.stat.size
        if size <= len(first):
            last = bytes(first[-PREFIX_SIZE:])
        else:
            last = os.pread(opened.descriptor, PREFIX_SIZE, size - PREFIX_SIZE)
        return self.decode_cache.seen_before(b"%d %d " % (opened.stat.uid, size) + first[:PREFIX_SIZE] + last)

    def _use_cached_reply(self, file: FileTask, opened: OpenFile) -> bool:
        """Use the cached reply for the same content of the same owner, and return True if there is one."""
        sha256 = file.exact.get("sha256")
        if sha256 is None:
            return False
        reply = self.decode_cache.get(opened.stat.uid, self._cached_as(sha256))
        # It was validated before it was cached.
        if reply is None or not store_reply(file, reply, self._pictures):
            return False
        file.reply = reply
        return True

    def _cached_as(self, sha256: bytes) -> bytes:
        """Return the key of a content in the cache.

        A service's workers share it while lists change. A reply does not name its algorithms, so that digests
        of one would be compared with entries of another.
        """
        return hashlib.sha256(self._asked_for + sha256).digest()

    def _begin(
        self,
        file: FileTask,
        opened: OpenFile,
        *,
        fresh: bool = False,
        memory_bytes: int = 0,
        trial_seconds: float = inf,
    ) -> None:
        assert file.kind is not None
        # The second decoder must get as far as the first, or it couldn't confirm a match in the last frame.
        request = pack_request(file.kind, patient=fresh, memory_bytes=memory_bytes)
        file.begun = self.sandbox.begin(
            opened.descriptor,
            request,
            opened.stat.uid,
            fresh=fresh,
            memory_bytes=memory_bytes,
            seconds=inf if file.kind != SVG else _DRAWING_SECONDS * (_PATIENT_FACTOR if fresh else 1),
            trial_seconds=trial_seconds,
        )

    def _finish(self, file: FileTask, opened: OpenFile | None = None) -> None:
        """Receive the reply to a file; decode it with more memory if it is a large picture, or defer it."""
        self._receive(file)
        opened = opened or file.opened
        if file.reason is Reason.UNSUPPORTED and opened is not None:
            self._decode_lossless(file, opened)
        if file.reason not in _TOO_LARGE or opened is None or not self._large_memory:
            return
        if self._defer and not opened.fetched and file.opened is not None:
            # Its cost counts as that of reading so many bytes. No later batch is deferred again.
            file.deferred = max(_LARGE_PICTURE_COST, opened.stat.size)
            file.fail(FileError(file.reason, "not decoded yet"))
            return
        with self.decode_cache.large_picture(), turn_on_machine():
            memory_bytes = granted_memory(self._large_memory)
            again = self._decoded_large(file, opened, memory_bytes)
        if memory_bytes < self._large_memory and again.reason in _TOO_LARGE:
            again.reason, again.detail, again.reply = Reason.STARVED, "too little memory is free", b""
        # Where nothing could be decoded now, it may have previews that were decoded before.
        file.decoded = again.decoded or file.decoded
        file.reason, file.detail, file.reply = again.reason, again.detail, again.reply

    def _decode_lossless(self, file: FileTask, opened: OpenFile) -> None:
        """Have a fresh decoder of containers decode a JPEG that Pillow can't: it has FFmpeg loaded."""
        if file.kind is None or file.kind.pillow != "JPEG" or not counts_faults():
            return
        opening = self._container_opening()
        sandbox = None if opening is None else opening.started()
        if sandbox is None:
            return
        again = FileTask(file.item, kind=file.kind)
        request = pack_request(file.kind, patient=True)
        again.begun = sandbox.begin(opened.descriptor, request, opened.stat.uid, fresh=True)
        self._receive(again, sandbox)
        file.decoded = again.decoded or file.decoded
        file.reason, file.detail, file.reply = again.reason, again.detail, again.reply

    def _decoded_large(self, file: FileTask, opened: OpenFile, memory_bytes: int) -> FileTask:
        again = FileTask(file.item, kind=file.kind)
        self._begin(again, opened, fresh=True, memory_bytes=memory_bytes)
        self._receive(again)
        return again

    def _receive(self, file: FileTask, sandbox: Sandbox | None = None) -> None:
        """Receive the decoder's reply; a decoder that was taken over may send anything of valid form."""
        assert file.begun is not None
        sandbox = sandbox or self.sandbox
        begun, file.begun = file.begun, None
        try:
            reply = sandbox.finish(begun)
        except DecoderLost as lost:
            self._count_time(file, begun, given_up=lost.on_trial)
            if lost.on_trial and begun.trial_seconds < inf and file.opened is not None:
                file.deferred = max(cost_of(self.setup.sandbox.seconds), file.opened.stat.size)
                file.fail(FileError(lost.reason, "not decoded yet"))
                return
            file.reason, file.detail = lost.reason, lost.detail
            if lost.reason in LIMIT_REASONS:
                # The decoder had decoded nothing else and failed at this file, so the failure follows from
                # the content, too.
                file.reply = pack_failure(lost.reason)
        else:
            self._count_time(file, begun)
            if not store_reply(file, reply, self._pictures):
                sandbox.discard()
            elif file.reason is Reason.MEMORY and not begun.first and file.opened is not None:
                # Earlier files may have left the decoder with little memory.
                file.reason, file.detail, file.decoded = None, "", None
                self._begin(file, file.opened, fresh=True)
                self._receive(file)
            else:
                file.reply = reply

    def _count_time(self, file: FileTask, begun: PendingFile, *, given_up: bool = False) -> None:
        if file.opened is not None and not file.opened.fetched:
            self._slow.charge(begun.owner, begun.used, file.opened.stat.size, given_up=given_up)

    def _confirm(self, file: FileTask) -> None:
        """Decode a matching picture again with a fresh decoder, before the match is reported.

        The first decoder has decoded other pictures of the same owner: one that took the decoder over could
        make it report anything about an innocent picture.
        """
        assert file.opened is not None
        exact = [m for m in file.matches if not ALGORITHMS[m.algorithm].of_picture]
        before = [m for m in file.matches if ALGORITHMS[m.algorithm].of_picture]
        again = FileTask(file.item, kind=file.kind)
        try:
            self._begin(again, file.opened, fresh=True)
            self._finish(again, file.opened)
            file.opened.check_unchanged()
        except FileError as trouble:
            file.fail(trouble)
            return
        known = again.decoded is not None and bool(again.reply) and file.ctime is CtimeTrust.PROVEN
        if known and "sha256" in file.exact:
            # It replaces the first decoder's reply, which it may contradict.
            self.decode_cache.put(file.opened.stat.uid, self._cached_as(file.exact["sha256"]), again.reply)
        match_files(self.matcher, self.setup.algorithms, [again])
        if again.decoded is not None:
            again.exact, again.confirmed = file.exact, True
            self._consult([again])
        found = [m for m in again.matches if ALGORITHMS[m.algorithm].of_picture]
        if found:
            file.matches = sorted(exact + found, key=sort_key)
            file.decoded = again.decoded
            # All cached data must be of one decoder, and of this one.
            file.reply, file.confirmed = again.reply, True
            return
        file.matches, file.reply = exact, b""
        disprove(file, before[0], again.reason)

    def close(self) -> None:
        """Stop the sandbox and close connections."""
        for opener in self._openers.values():
            opener.close()
        if self._opening is not None:
            self._opening.close()
        self.sandbox.close()
        self.decode_cache.close()


def picture_program(setup: WorkerSetup) -> DecoderProgram:
    """Return the decoder program of pictures, with the arguments that a setup asks for."""
    library = setup.photodna
    arguments = (
        *(PICTURE_HASHES.rows[name].target for name in setup.pictures),
        f"max-pixels={setup.max_pixels}",
        # So that it answers with what it has, long before it would be killed.
        f"seconds={setup.sandbox.seconds / 2:g}",
        f"memory={setup.sandbox.memory_bytes}",
        f"variants={','.join(setup.variants)}",
        f"augment={','.join(kind.name for kind in setup.augmented & MADE_FOR_LISTS)}",
        *(() if library is None else (f"photodna={json.encode(library).decode()}",)),
    )
    return DecoderProgram(setup.decoder, arguments, REPLY_MAX, () if library is None else library.files)


def _free_descriptors() -> int:
    """Return how many files this process can still open; where there is no /proc, as if it had none open."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        return allowed - len(os.listdir("/proc/self/fd"))
    except OSError:
        return allowed


def _last_bytes(opened: OpenFile, first: memoryview, length: int) -> bytes:
    """Return the bytes in which the end of an archive is recognised, of a file that was read to its end and
    begins with `first`."""
    if opened.content is not None:
        return bytes(opened.content[-TAIL_SIZE:])
    if length == len(first):
        # Nothing was read after them.
        return bytes(first[-TAIL_SIZE:])
    return os.pread(opened.descriptor, TAIL_SIZE, max(0, length - TAIL_SIZE))


def _with_tail(pieces: Iterable[bytes | memoryview], tail: bytearray) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        tail += piece[-TAIL_SIZE:]
        del tail[:-TAIL_SIZE]
        yield piece
