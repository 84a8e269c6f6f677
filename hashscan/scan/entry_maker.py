"""Make hash list entries from files that the list's owner has."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import zip_longest

from hashscan.hashing.container_kinds import VIDEOS
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.member_records import FRAME_SIZE, OpenedContainer
from hashscan.lists.index.quadrants import has_enough
from hashscan.lists.storage.degenerate import is_degenerate
from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.lists.storage.video_frames import FrameId
from hashscan.matching.container_members import member_tasks, place_text
from hashscan.matching.evaluation import result_of
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import (
    ALGORITHMS,
    QUADRANTS,
    Batch,
    BatchResult,
    Digest,
    Entry,
    FileResult,
    FileStat,
    Reason,
    StoredContentData,
    Verdict,
)
from hashscan.scan.workers.pool import Pool
from hashscan.sources.base import Listing, SkippedFile, UnlistedFolder, UnreadableName, full_path
from hashscan.state.store.members import unpack_members

IDENTIFYING = "sha256"
"""The algorithm that entry ids are made from, so that a file gets the same ids each time it is hashed."""

_ID_DIGITS = 32
_PARTIAL = frozenset({Reason.TRUNCATED, Reason.BROKEN})
"""Reasons for which a part of the picture is missing: the rest is decoded as grey, so its hash is not
usable."""

_EMPTY_STAT = FileStat(device=0, inode=0, size=0, mtime_ns=0, ctime_ns=0, links=0, uid=0)


@dataclass(frozen=True, slots=True)
class HashedFile:
    """The result for one file or folder, or for a picture in a file."""

    path: bytes
    entries: tuple[Entry, ...] = ()
    problem: str = ""
    """The entries that are missing and why; empty if none is missing."""


class EntryMaker:
    """A converter from a worker's results to entries; each content gives entries once."""

    def __init__(self, category: str, algorithms: Sequence[str], setup: WorkerSetup) -> None:
        """Make entries of one category by these algorithms; `setup` is that of the workers."""
        self.counts: Counter[str] = Counter()
        """Numbers of files that are `hashed`, `partial`, `repeated` or `unhashed`, of `pictures` in them
        that are hashed, of `degenerate` digests that have no entry, and of folders that are `closed`."""
        self._category = category
        self._algorithms = frozenset(algorithms)
        self._setup = setup
        self._seen: set[bytes] = set()

    def make(self, path: bytes, result: FileResult, kept: StoredContentData | None) -> Iterator[HashedFile]:
        """Yield the entries of one file, and of each picture in it where containers are opened.

        Args:
            kept: the data to be stored for it, where the workers keep it.
        """
        digests = {digest.algorithm: digest for digest in result.digests}
        if IDENTIFYING not in digests:
            self.counts["unhashed"] += 1
            yield HashedFile(path, problem=f"not hashed: {_why(result)}")
            return
        if not self._is_new(digests):
            self.counts["repeated"] += 1
            yield HashedFile(path)
            return
        record = None if kept is None else kept.members
        problem = self._missing(result, digests, opened=record is not None)
        entries = self._entries(result, digests)
        if self._setup.keep and kept is None and not problem:
            problem = "in part: it has too many members"
        container = None if record is None else unpack_members(record, self._setup.pictures)
        is_video = kept is not None and kept.kind >= 0 and FORMATS[kept.kind].name in VIDEOS
        if container is not None and (is_video or any(member.of_video for member in container.members)):
            is_video = True
            entries += self._frames(digests, container)
            if entries[-1].algorithm != VPDQ and not problem:
                problem = "no vpdq entry: no frame has enough detail to be matched"
        self.counts["partial" if problem else "hashed"] += 1
        yield HashedFile(path, entries, problem)
        if container is not None and not is_video:
            yield from self._pictures_in(path, container)

    def _frames(self, digests: Mapping[str, Digest], container: OpenedContainer) -> tuple[Entry, ...]:
        """Return the entries of a video as a whole, one for each distinct frame."""
        # The setup has no variants, so that each frame has one digest.
        values = dict.fromkeys(
            some.values[at : at + FRAME_SIZE]
            for some in container.sampled
            for at in range(0, len(some.values), FRAME_SIZE)
        )
        video = f"{digests[IDENTIFYING].value.hex()[:_ID_DIGITS]}-{VPDQ}"
        return tuple(
            Entry(str(FrameId(video, number, len(values))), VPDQ, value, self._category)
            for number, value in enumerate(values)
        )

    def _pictures_in(self, path: bytes, container: OpenedContainer) -> Iterator[HashedFile]:
        """Yield the entries of the pictures in a container.

        What else is in it may be harmless, such as the texts beside the pictures; and pictures that are no
        files, such as pages of a document, have nothing that identifies them.
        """
        setup = self._setup
        tasks = member_tasks(container, setup.exact, setup.pictures)
        for member, task in zip(container.members, tasks, strict=True):
            if member.kind is None or member.reason is not None or IDENTIFYING not in task.exact:
                continue
            decoded = member.decoded(setup.pictures)
            task.reason = decoded if isinstance(decoded, Reason) else None
            if task.decoded is not None:
                task.reason = task.reason or task.decoded.damage
            result = result_of(task, setup.algorithms, with_digests=True, augment=setup.augmented)
            digests = {digest.algorithm: digest for digest in result.digests}
            if self._is_new(digests):
                self.counts["pictures"] += 1
                problem = self._missing(result, digests)
                place = f"in the member {place_text(member.place)}: {problem}" if problem else ""
                yield HashedFile(path, self._entries(result, digests), place)

    def _is_new(self, digests: Mapping[str, Digest]) -> bool:
        """Return True for the digests of a content that had no entries yet."""
        content = digests[IDENTIFYING].value
        if content in self._seen:
            return False
        self._seen.add(content)
        return True

    def _entries(self, result: FileResult, digests: Mapping[str, Digest]) -> tuple[Entry, ...]:
        name = digests[IDENTIFYING].value.hex()[:_ID_DIGITS]
        kept = [
            (f"{name}-{digest.algorithm}", digest)
            for digest in digests.values()
            if not (ALGORITHMS[digest.algorithm].of_picture and (result.reason in _PARTIAL or _poor(digest)))
            and not (digest.algorithm == QUADRANTS and not has_enough(digest.value))
        ]
        if result.reason not in _PARTIAL:
            kept += [
                (f"{name}-{found.digest.algorithm}-{found.variant.replace(' ', '-')}", found.digest)
                for found in result.augmented
                if not _poor(found.digest)
            ]
        return tuple(
            Entry(entry_id, digest.algorithm, digest.value, self._category)
            for entry_id, digest in kept
            if digest.algorithm in self._algorithms and not self._is_degenerate(digest)
        )

    def _is_degenerate(self, digest: Digest) -> bool:
        """Return True for a digest that would never be matched, and count it."""
        found = is_degenerate(digest.algorithm, digest.value)
        self.counts["degenerate"] += found
        return found

    def closed(self, path: bytes, closed: UnlistedFolder) -> HashedFile:
        """Record a folder that could not be entered, so that nothing is known of its files."""
        self.counts["closed"] += 1
        return HashedFile(path, problem=f"folder not entered: {closed.reason.value}")

    def _missing(self, result: FileResult, digests: Mapping[str, Digest], *, opened: bool = False) -> str:
        if result.reason in _PARTIAL and not opened:
            return f"exact entries only: {_why(result)}"
        if result.reason is not None:
            shown = opened or any(ALGORITHMS[name].of_picture for name in digests)
            return f"{'in part' if shown else 'exact entries only'}: {_why(result)}"
        poor = [digest for digest in digests.values() if _poor(digest)]
        return "; ".join(
            f"no {digest.algorithm} entry: quality {digest.quality} is below "
            f"{ALGORITHMS[digest.algorithm].min_quality}, so that it would never be matched"
            for digest in poor
            if digest.algorithm in self._algorithms
        )


def make_entries(listings: Iterator[Listing], pool: Pool, maker: EntryMaker) -> Iterator[HashedFile]:
    """Hash all files that a source lists, and yield the result of each file."""
    waiting: deque[tuple[Batch, Future[BatchResult]]] = deque()

    def finish(leave: int) -> Iterator[HashedFile]:
        while len(waiting) > leave:
            batch, future = waiting.popleft()
            done = future.result()
            for result, kept in zip_longest(done.results, done.kept):
                yield from maker.make(full_path(batch.target, batch.folder, result.name), result, kept)

    for listing in listings:
        match listing:
            case Batch():
                waiting.append((listing, pool.submit(listing)))
                # Results keep the order of the listing, so that the file of entries is the same each time.
                yield from finish(leave=2 * pool.workers)
            case SkippedFile(target, folder, item, reason):
                result = FileResult(item.name, item.stat, Verdict.SKIPPED, reason)
                yield from maker.make(full_path(target, folder, item.name), result, None)
            case UnreadableName(target, folder, name, reason, detail):
                lost = FileResult(name, _EMPTY_STAT, Verdict.UNREADABLE, reason, detail)
                yield from maker.make(full_path(target, folder, name), lost, None)
            case UnlistedFolder(target, folder):
                yield maker.closed(full_path(target, folder), listing)
    yield from finish(leave=0)


def _poor(digest: Digest) -> bool:
    return digest.quality is not None and digest.quality < ALGORITHMS[digest.algorithm].min_quality


def _why(result: FileResult) -> str:
    reasons = [result.reason.value if result.reason else "no reason given", result.detail]
    return ", ".join(reason for reason in reasons if reason)
