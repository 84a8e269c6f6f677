"""Divides a sweep into shards, so that machines that know nothing of each other do it together.

Which shard a file is in follows from the bytes of its whole path or URL alone: XXH3 of them (64 bits, seed 0)
modulo the number of shards. So it is the same in every process, on every machine and in every version. Every
shard lists everything, which is cheap beside reading, and keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import xxhash

from hashscan.model import Batch, Shard
from hashscan.sources.base import ClosedFolder, Listing, LostFile, Passed, SkippedFile, shown_path
from hashscan.sources.gathering import Gathering
from hashscan.sources.options import ListingOptions

SEED = 0
"""Never to be changed: shards of one sweep may run in different versions."""


def shard_of(path: bytes, count: int) -> int:
    """The shard that a path or URL belongs to.

    Args:
        path: as it is shown in reports, but its bytes.
        count: number of shards.

    Returns:
        1 to `count`.
    """
    return _digest(path) % count + 1


def _digest(path: bytes) -> int:
    return xxhash.xxh3_64_intdigest(path, SEED)


class ShardFilter:
    """Keeps what belongs to one shard."""

    def __init__(self, shard: Shard, options: ListingOptions) -> None:
        """Filter for a shard.

        Args:
            shard: which one.
            options: how much goes into a batch; what is left of listed ones is gathered again.
        """
        self.targets_with_files: set[bytes] = set()
        """Targets that files were listed of, whichever shard those are in."""
        self.listed = 0
        """Files that were listed, of all shards."""
        self._sum = 0
        """Of the digests of their paths, whatever their order."""
        self._shard = shard
        self._gathering = Gathering(options)

    def keep(self, listings: Iterable[Listing]) -> Iterator[Listing]:
        """The listings of this shard: every file, and every closed folder, is in exactly one.

        For each listing taken there is at least one given, if only one that says nothing, so that whoever
        iterates gets a turn. What was passed by is counted in the first shard.
        """
        for listing in listings:
            match listing:
                case Batch():
                    yield from self._filter(listing)
                case SkippedFile(target, folder, item):
                    yield listing if self._see(target, shown_path(target, folder, item.name)) else Passed()
                case LostFile(target, folder, name):
                    yield listing if self._see(target, shown_path(target, folder, name)) else Passed()
                case ClosedFolder(target, folder):
                    own = shard_of(shown_path(target, folder), self._shard.count) == self._shard.index
                    yield listing if own else Passed()
                case Passed():
                    # The end of a folder, or a pause: what was gathered need not wait.
                    yield from self._gathered()
                    yield listing if self._shard.index == 1 else Passed()
        yield from self._gathered()

    def _filter(self, batch: Batch) -> Iterator[Listing]:
        head = replace(batch, items=())
        # Empty only for an empty name, which no file has; so this is what stands before every name.
        before = shown_path(batch.target, batch.folder, b"-")[:-1]
        for item in batch.items:
            if self._see(batch.target, before + item.name):
                full = self._gathering.add(head, item)
                if full is not None:
                    yield full
        yield Passed()

    def _gathered(self) -> Iterator[Listing]:
        batch = self._gathering.take()
        if batch is not None:
            yield batch

    def _see(self, target: bytes, path: bytes) -> bool:
        """Count a file; whether it belongs to this shard."""
        digest = _digest(path)
        self.targets_with_files.add(target)
        self.listed += 1
        self._sum = (self._sum + digest) & (1 << 64) - 1
        return digest % self._shard.count + 1 == self._shard.index

    def fields(self) -> dict[str, Any]:
        """What a report says of all that was listed, so that shards can be compared."""
        return {"listed": self.listed, "listed_sum": f"{self._sum:016x}"}
