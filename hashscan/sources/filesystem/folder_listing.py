"""List a folder by its descriptor, and store its files as columns that create items on first use."""

from __future__ import annotations

import os
import stat
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, overload

from hashscan.c_parts import BUILT
from hashscan.model import FileStat, Item

_in_c: Callable[[int, int], tuple[Any, ...]] | None = None
if BUILT:
    from hashscan.sources._folder_listing import look as _in_c

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_LOWEST = (1 << 64) - 1
_SECOND = 1_000_000_000


class ListingChunk(NamedTuple):
    """A part of a folder's content, in the system's order."""

    files: int
    """Number of regular files."""
    names: bytes
    """Names of the files, separated by slashes."""
    identities: bytes
    """Inodes, then sizes, mtimes and ctimes in nanoseconds; 8 bytes each, in the machine's byte order, so
    that larger numbers lose their highest bits."""
    further: bytes
    """Devices, link counts, owners, and the seconds of mtime and ctime, in the format of `identities`."""
    one_device: int
    """1 if all files are on one device, otherwise 0."""
    size: int
    """Total size of all files in bytes."""
    folders: bytes
    """Names of folders, separated by slashes."""
    links: int
    """Number of symlinks."""
    specials: int
    """Number of devices, sockets and FIFOs."""
    odd: list[tuple[bytes, int, int]]
    """Names that could not be examined, with the error number and 0; and names that were listed as files and
    are something else now, with 0 and their mode."""
    ended: int
    """1 if the folder ends here, otherwise 0."""
    error: int
    """Number of the error that stopped the listing; 0 if there was none."""


def looks(descriptor: int, most: int) -> Iterator[ListingChunk]:
    """List a folder that was just opened for listing; open nothing in it and follow no symlink. `most` is the
    number of names per `Look`; the C extension returns some more, as they come from the system. The last
    `Look` has `ended` or `error` set."""
    if _in_c is None:
        yield from looks_in_python(descriptor, most)
        return
    while True:
        found = ListingChunk._make(_in_c(descriptor, most))
        yield found
        if found.ended or found.error:
            return


def looks_in_python(descriptor: int, most: int) -> Iterator[ListingChunk]:
    if most < 1:
        raise ValueError("at least one name must be asked for")
    try:
        with os.scandir(descriptor) as entries:
            while True:
                gathered = _ChunkBuilder()
                try:
                    for entry in islice(entries, most):
                        gathered.take(entry)
                except OSError as error:
                    yield gathered.look(error=error.errno or 0)
                    return
                yield gathered.look(ended=gathered.count < most)
                if gathered.count < most:
                    return
    except OSError as error:
        yield _ChunkBuilder().look(error=error.errno or 0)


class _ChunkBuilder:
    """A collector of the names for the next `Look`."""

    def __init__(self) -> None:
        self.count = self._links = self._specials = 0
        self._names: list[bytes] = []
        self._rows: list[tuple[int, ...]] = []
        self._folders: list[bytes] = []
        self._odd: list[tuple[bytes, int, int]] = []

    def take(self, entry: os.DirEntry[str]) -> None:
        self.count += 1
        # Does the same as os.fsencode, which takes four times as long.
        name = entry.name.encode(_ENCODING, _ERRORS)
        try:
            known = entry.is_file(follow_symlinks=False)
            if known:
                status = entry.stat(follow_symlinks=False)
            elif entry.is_dir(follow_symlinks=False):
                self._folders.append(name)
                return
            elif entry.is_symlink():
                self._links += 1
                return
            else:
                # Some file systems don't report the type of a name. There, a file that has just vanished
                # seems to be none of the above, and this raises.
                status = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._odd.append((name, error.errno or 0, 0))
            return
        if stat.S_ISREG(status.st_mode):
            self._names.append(name)
            self._rows.append(_row(status))
        elif known:
            self._odd.append((name, 0, status.st_mode))
        else:
            self._specials += 1

    def look(self, *, ended: bool = False, error: int = 0) -> ListingChunk:
        columns = list(zip(*self._rows, strict=True)) or [()] * 9
        identities, further = (b"".join(array("Q", c) for c in part) for part in (columns[:4], columns[4:]))
        return ListingChunk(
            len(self._names),
            b"/".join(self._names),
            identities,
            further,
            int(len(set(columns[4])) < 2),
            sum(columns[1]),
            b"/".join(self._folders),
            self._links,
            self._specials,
            self._odd,
            int(ended),
            error,
        )


def _row(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_ino,
        status.st_size & _LOWEST,
        status.st_mtime_ns & _LOWEST,
        status.st_ctime_ns & _LOWEST,
        status.st_dev,
        status.st_nlink,
        status.st_uid,
        status.st_mtime_ns // _SECOND & _LOWEST,
        status.st_ctime_ns // _SECOND & _LOWEST,
    )


_WIDTH = 8
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
            tuple.__new__(Item, (name, tuple.__new__(FileStat, numbers), "", "", "", ""))
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
