"""Divide a scan into shards, so that independent machines can do it together.

The shard of a file depends only on the bytes of its whole path or URL: their XXH3 (64 bits, seed 0) modulo
the number of shards. So it is the same in every process, on every machine and in every version. Every shard
lists everything, which is cheap compared to reading, and keeps its own part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import xxhash
from msgspec import structs

from hashscan.model import Batch, Shard
from hashscan.sources.base import (
    Gathering,
    Listing,
    ListingOptions,
    NonFileCounts,
    SkippedFile,
    UnlistedFolder,
    UnreadableName,
    full_path,
)

SEED = 0
"""The seed of the hash. Never change it: shards of one scan may run in different versions."""


def shard_of(path: bytes, count: int) -> int:
    """Return the shard that a path or URL belongs to.

    Args:
        path: the bytes of the path as reports show it.
        count: number of shards.

    Returns:
        1 to `count`.
    """
    return _digest(path) % count + 1


def _digest(path: bytes) -> int:
    return xxhash.xxh3_64_intdigest(path, SEED)


class ShardFilter:
    """A filter for the files of one shard."""

    def __init__(self, shard: Shard, options: ListingOptions) -> None:
        self.targets_with_files: set[bytes] = set()
        """Targets of which files were listed, in any shard."""
        self.listed = 0
        """Number of files that were listed, in all shards."""
        self._sum = 0
        """Sum of the digests of their paths, independent of the order."""
        self._shard = shard
        self._gathering = Gathering(options)

    def keep(self, listings: Iterable[Listing]) -> Iterator[Listing]:
        """Yield the listings of this shard: every file and every closed folder is in exactly one shard.

        For each listing read, at least one is yielded, an empty `NonFileCounts` if necessary, so that the
        consumer can do other work. Things that are not files are counted in the first shard.
        """
        for listing in listings:
            match listing:
                case Batch():
                    yield from self._filter(listing)
                case SkippedFile(target, folder, item):
                    yield (
                        listing
                        if self._see(target, full_path(target, folder, item.name))
                        else NonFileCounts()
                    )
                case UnreadableName(target, folder, name):
                    yield listing if self._see(target, full_path(target, folder, name)) else NonFileCounts()
                case UnlistedFolder(target, folder):
                    own = shard_of(full_path(target, folder), self._shard.count) == self._shard.index
                    yield listing if own else NonFileCounts()
                case NonFileCounts():
                    # The end of a folder, or a pause: the files collected so far need not wait.
                    yield from self._gathering.flush()
                    yield listing if self._shard.index == 1 else NonFileCounts()
        yield from self._gathering.flush()

    def _filter(self, batch: Batch) -> Iterator[Listing]:
        head = structs.replace(batch, items=())
        # The path is empty only for an empty name, which no file has; so this is the part before every name.
        before = full_path(batch.target, batch.folder, b"-")[:-1]
        for item in batch.items:
            if self._see(batch.target, before + item.name):
                yield from self._gathering.add(head, item)
        yield NonFileCounts()

    def _see(self, target: bytes, path: bytes) -> bool:
        """Count a file, and return True if it belongs to this shard."""
        digest = _digest(path)
        self.targets_with_files.add(target)
        self.listed += 1
        self._sum = (self._sum + digest) & (1 << 64) - 1
        return digest % self._shard.count + 1 == self._shard.index

    def fields(self) -> dict[str, Any]:
        """Return the report fields about everything that was listed, so that shards can be compared."""
        return {"listed": self.listed, "listed_sum": f"{self._sum:016x}"}
