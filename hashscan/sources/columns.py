"""Store the files of a batch as columns, and create items only when they are used."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

from hashscan.model import FileStat, Item
from hashscan.sources.folder_listing import ListingChunk

_WIDTH = 8
_SECOND = 1_000_000_000
_LOWEST = (1 << 64) - 1
_FAR = 9_000_000_000
"""Seconds from 1970 within which nanoseconds fit into 64 signed bits."""


class ItemColumns(Sequence[Item]):
    """A sequence of items, one per file, created at the first access."""

    def __init__(self, names: bytes, identities: bytes, further: bytes, device: int | None) -> None:
        """Store columns of 8 bytes per file, one column after another.

        Args:
            names: the file names, separated by slashes.
            identities: inodes, then sizes, mtimes and ctimes, see `Look`.
            further: devices, link counts, owners, and the seconds of mtimes and ctimes.
            device: the device that all files are on; None if there are several.
        """
        self.names = names
        self.identities = identities
        self.further = further
        self.device = device

    @classmethod
    def from_look(cls, found: ListingChunk) -> ItemColumns:
        """Return the files of a `Look` that contains at least one."""
        device = int.from_bytes(found.further[:_WIDTH], sys.byteorder) if found.one_device else None
        return cls(found.names, found.identities, found.further, device)

    def __len__(self) -> int:
        return len(self.identities) // (4 * _WIDTH)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, place: int | slice) -> Item | tuple[Item, ...]:
        return self._items[place]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._items == tuple(other)

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[type[tuple[Item, ...]], tuple[tuple[Item, ...]]]:
        return tuple, (self._items,)

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        return tuple(
            # Without their constructors, which take twice as long.
            tuple.__new__(Item, (name, tuple.__new__(FileStat, numbers), "", "", ""))
            for name, numbers in zip(self.names.split(b"/"), self._stats(), strict=True)
        )

    def _stats(self) -> Iterator[tuple[int, ...]]:
        inodes, sizes, mtimes, ctimes = self._columns(self.identities)
        devices, links, owners, mtime_seconds, ctime_seconds = self._columns(self.further)
        times = _nanoseconds(mtimes, mtime_seconds), _nanoseconds(ctimes, ctime_seconds)
        numbers = (column.tolist() for column in (devices, inodes, sizes))
        return zip(*numbers, *times, links.tolist(), owners.tolist(), strict=True)

    def _columns(self, data: bytes) -> list[memoryview[int]]:
        table = memoryview(data).cast("Q")
        return [table[start : start + len(self)] for start in range(0, len(table), len(self))]

    def part(self, start: int, end: int) -> ItemColumns:
        """Return the files from index `start` up to, not including, `end`."""
        names = b"/".join(self.names.split(b"/")[start:end])
        identities, further = (
            b"".join(column[start:end] for column in self._columns(data))
            for data in (self.identities, self.further)
        )
        return ItemColumns(names, identities, further, self.device)

    def parts(self, files: int, size: int) -> Iterator[ItemColumns]:
        """Yield all files in parts of at most `files` files and `size` bytes.

        A file larger than `size` is a part by itself.
        """
        start = total = 0
        for place, more in enumerate(self._columns(self.identities)[1].tolist()):
            if place > start and (total + more > size or place - start >= files):
                yield self.part(start, place)
                start, total = place, 0
            total += more
        yield self.part(start, len(self)) if start else self


def _nanoseconds(cut: memoryview[int], seconds: memoryview[int]) -> list[int]:
    """Return times in nanoseconds, from their lowest 64 bits and their seconds, both unsigned."""
    signed = seconds.cast("B").cast("q").tolist()
    if not signed or -_FAR < min(signed) <= max(signed) < _FAR:
        return cut.cast("B").cast("q").tolist()
    return [
        second * _SECOND + ((low - second * _SECOND) & _LOWEST)
        for low, second in zip(cut.tolist(), signed, strict=True)
    ]
