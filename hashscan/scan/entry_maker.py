"""Make hash list entries from files that the list's owner has."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from hashscan.model import (
    ALGORITHMS,
    Batch,
    BatchResult,
    Digest,
    Entry,
    FileResult,
    FileStat,
    Reason,
    Verdict,
)
from hashscan.scan.workers.pool import Pool
from hashscan.sources.base import Listing, SkippedFile, UnlistedFolder, UnreadableName, full_path

IDENTIFYING = "sha256"
"""The algorithm that entry ids are made from, so that a file gets the same ids each time it is hashed."""

_ID_DIGITS = 32
_PARTIAL = frozenset({Reason.TRUNCATED, Reason.BROKEN})
"""Reasons for which a part of the picture is missing: the rest is decoded as grey, so its hash is not
usable."""

_EMPTY_STAT = FileStat(device=0, inode=0, size=0, mtime_ns=0, ctime_ns=0, links=0, uid=0)


@dataclass(frozen=True, slots=True)
class HashedFile:
    """The result for one file or folder."""

    path: bytes
    entries: tuple[Entry, ...] = ()
    problem: str = ""
    """The entries that are missing and why; empty if none is missing."""


class EntryMaker:
    """A converter from a worker's results to entries; each content gives entries once."""

    def __init__(self, category: str, algorithms: Sequence[str]) -> None:
        """Make entries of one category by these algorithms."""
        self.counts: Counter[str] = Counter()
        """Numbers of files that are `hashed`, `in part`, `repeated` or `not hashed`, and of folders that
        are `closed`."""
        self._category = category
        self._algorithms = frozenset(algorithms)
        self._seen: set[bytes] = set()

    def make(self, path: bytes, result: FileResult) -> HashedFile:
        """Return the entries of one file."""
        digests = {digest.algorithm: digest for digest in result.digests}
        if IDENTIFYING not in digests:
            self.counts["not hashed"] += 1
            return HashedFile(path, problem=f"not hashed: {_why(result)}")
        content = digests[IDENTIFYING].value
        if content in self._seen:
            self.counts["repeated"] += 1
            return HashedFile(path)
        self._seen.add(content)
        problem = self._missing(result, digests)
        self.counts["in part" if problem else "hashed"] += 1
        name = content.hex()[:_ID_DIGITS]
        kept = [
            (f"{name}-{digest.algorithm}", digest)
            for digest in digests.values()
            if not (ALGORITHMS[digest.algorithm].of_picture and (result.reason in _PARTIAL or _poor(digest)))
        ]
        if result.reason not in _PARTIAL:
            kept += [
                (f"{name}-{found.digest.algorithm}-{found.variant.replace(' ', '-')}", found.digest)
                for found in result.augmented
                if not _poor(found.digest)
            ]
        entries = tuple(
            Entry(entry_id, digest.algorithm, digest.value, self._category)
            for entry_id, digest in kept
            if digest.algorithm in self._algorithms
        )
        return HashedFile(path, entries, problem)

    def closed(self, path: bytes, closed: UnlistedFolder) -> HashedFile:
        """Record a folder that could not be entered, so that nothing is known of its files."""
        self.counts["closed"] += 1
        return HashedFile(path, problem=f"folder not entered: {closed.reason.value}")

    def _missing(self, result: FileResult, digests: dict[str, Digest]) -> str:
        if result.reason in _PARTIAL:
            return f"exact entries only: {_why(result)}"
        if result.reason is not None:
            shown = any(ALGORITHMS[name].of_picture for name in digests)
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
            for result in future.result().results:
                yield maker.make(full_path(batch.target, batch.folder, result.name), result)

    for listing in listings:
        match listing:
            case Batch():
                waiting.append((listing, pool.submit(listing)))
                # Results keep the order of the listing, so that the file of entries is the same each time.
                yield from finish(leave=2 * pool.workers)
            case SkippedFile(target, folder, item, reason):
                result = FileResult(item.name, item.stat, Verdict.SKIPPED, reason)
                yield maker.make(full_path(target, folder, item.name), result)
            case UnreadableName(target, folder, name, reason, detail):
                lost = FileResult(name, _EMPTY_STAT, Verdict.UNREADABLE, reason, detail)
                yield maker.make(full_path(target, folder, name), lost)
            case UnlistedFolder(target, folder):
                yield maker.closed(full_path(target, folder), listing)
    yield from finish(leave=0)


def _poor(digest: Digest) -> bool:
    return digest.quality is not None and digest.quality < ALGORITHMS[digest.algorithm].min_quality


def _why(result: FileResult) -> str:
    reasons = [result.reason.value if result.reason else "no reason given", result.detail]
    return ", ".join(reason for reason in reasons if reason)
