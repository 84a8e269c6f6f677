"""Pack a folder's files into one blob, and find which of them are unchanged since.

| bytes | content |
| --- | --- |
| 4 | CRC-32 of all that follows |
| 4 | number of files |
| 8 each | inodes, then sizes, mtimes, ctimes, each in a row of its own; times in nanoseconds |
| 4 each | number of the content |
| 1 each | flags |
| the rest | names, separated by slashes |

All numbers are little-endian and cut to their lowest bits: inodes beyond 2⁶³ and times in the year 2400 don't
fit into a signed number of eight bytes.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from hashscan.model import FileStat, Item
from hashscan.sources.filesystem.folder_listing import ItemColumns

YOUNG_CTIME, YOUNG_MTIME = 1, 2
"""Flags of files changed so shortly before the listing that a later change may leave the time unchanged."""
RACY_NS = 2_000_000_000
PROVEN, UNPROVEN, ON_TRUST = 4, 8, 16
"""Flags for how far the ctime could be trusted when the content was read; see `CtimeTrust`. A file with none
of these is read again.
"""
NOT_PROVEN = UNPROVEN | ON_TRUST
TRUSTED = PROVEN | NOT_PROVEN

_HEAD = struct.Struct("<II")
_CHECKED_FROM = 4
_FILE_BYTES = 4 * 8 + 4 + 1
_LOWEST = (1 << 64) - 1
_TOP = 1 << 63
NONE = -1
"""Content number of files without a content."""


@dataclass(slots=True)
class Listing:
    """Files of one folder, as columns."""

    identities: NDArray[np.int64]
    """Shape (4, files): inode, size, mtime, ctime."""
    contents: NDArray[np.int64]
    """Shape (files,); NONE for a file of which no content is kept."""
    flags: NDArray[np.uint8]
    names: bytes

    def __len__(self) -> int:
        return len(self.contents)

    def select(self, places: Sequence[int]) -> Listing:
        """Return a listing of only the files at `places`."""
        names = self.names.split(b"/")
        chosen = b"/".join([names[place] for place in places])
        return Listing(self.identities[:, places], self.contents[places], self.flags[places], chosen)

    def to_bytes(self) -> bytes:
        """Return the stored form, without files that have no content."""
        keep = self.contents != NONE
        if not keep.all():
            return self.select(np.flatnonzero(keep).tolist()).to_bytes()
        rows = b"".join(
            (
                self.identities.astype("<i8").tobytes(),
                self.contents.astype("<u4").tobytes(),
                self.flags.tobytes(),
                self.names,
            )
        )
        head = _HEAD.pack(0, len(self))[_CHECKED_FROM:]
        return _HEAD.pack(zlib.crc32(rows, zlib.crc32(head)), len(self)) + rows


def from_bytes(data: bytes) -> Listing:
    """Parse what `to_bytes` returned."""
    if len(data) < _HEAD.size:
        raise ValueError("a folder's list is cut short")
    crc, count = _HEAD.unpack_from(data)
    # The database has no checksums of its own, and a changed number would point to another content.
    if zlib.crc32(memoryview(data)[_CHECKED_FROM:]) != crc:
        raise ValueError("a folder's list has another checksum")
    contents_at = _HEAD.size + 32 * count
    names_at = _HEAD.size + _FILE_BYTES * count
    names = data[names_at:]
    if len(data) < names_at or (names.count(b"/") + 1 != count if count else names):
        raise ValueError("a folder's list contradicts itself")
    return Listing(
        np.frombuffer(data, "<i8", 4 * count, _HEAD.size).reshape(4, count).astype(np.int64, copy=False),
        np.frombuffer(data, "<u4", count, contents_at).astype(np.int64),
        np.frombuffer(data, np.uint8, count, names_at - count),
        names,
    )


def joined(listings: Sequence[Listing]) -> Listing:
    if len(listings) == 1:
        return listings[0]
    if not listings:
        return Listing(np.zeros((4, 0), np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8), b"")
    return Listing(
        np.concatenate([listing.identities for listing in listings], axis=1),
        np.concatenate([listing.contents for listing in listings]),
        np.concatenate([listing.flags for listing in listings]),
        b"/".join(listing.names for listing in listings if len(listing)),
    )


def listing_of(items: Sequence[Item], now_ns: int) -> tuple[Listing, int | None]:
    """Return the listing of files of one folder, at least one, that were listed at `now_ns` or later, without
    contents; and the device that all are on, None where they are on several."""
    if isinstance(items, ItemColumns):
        return _listed(
            np.frombuffer(items.identities, np.int64).reshape(4, -1), items.names, now_ns
        ), items.device
    fields = len(FileStat._fields)
    stats = [item.stat for item in items]
    device = stats[0].device
    try:
        flat = array("q", chain.from_iterable(stats))
    except OverflowError:
        flat = array("q", (wrapped(number) for number in chain.from_iterable(stats)))
    table = np.frombuffer(flat, np.int64).reshape(-1, fields)
    identities = np.ascontiguousarray(table[:, 1:5].T)
    names = b"/".join([item.name for item in items])
    same = (table[:, 0] == table[0, 0]).all()
    return _listed(identities, names, now_ns), device if same else None


def _listed(identities: NDArray[np.int64], names: bytes, now_ns: int) -> Listing:
    files = identities.shape[1]
    recent = now_ns - RACY_NS
    flags = np.zeros(files, np.uint8)
    if (identities[2:] > recent).any():
        flags |= (identities[3] > recent) * np.uint8(YOUNG_CTIME)
        flags |= (identities[2] > recent) * np.uint8(YOUNG_MTIME)
    return Listing(identities, np.full(files, NONE, np.int64), flags, names)


def wrapped(number: int) -> int:
    """Return a number cut to 64 signed bits, as it is stored."""
    number &= _LOWEST
    return number - (1 << 64) if number >= _TOP else number


class StoredListing:
    """A cache of a folder's stored listing, compared with the folder while it is listed again."""

    def __init__(self, listing: Listing, *, weak: bool, on_trust: bool = False) -> None:
        """Prepare comparisons with a listing, in which the latest of several files with one identity is last.
        With `weak`, a file whose ctime alone has changed counts as unchanged; `on_trust` says if the
        filesystem's type is trusted by the operator's option."""
        self.listing = listing
        self._fields = 3 if weak else 4
        young = YOUNG_MTIME if weak else YOUNG_CTIME
        raw = listing.flags.tobytes()
        self.all_proven = raw.count(PROVEN) == len(raw)
        """True if every file's ctime is proven; then no file needs a check of its own."""
        self._unusable = _unusable(young, TRUSTED if on_trust else PROVEN | UNPROVEN)[listing.flags]
        self._some_unusable = not self.all_proven and bool(self._unusable.any())
        self._weak = weak
        self._next = 0
        self._offset = 0
        self._order: NDArray[np.int64] | None = None

    def recall(self, listed: Listing) -> bool:
        """Fill in contents and trust in ctimes; return True if `listed` is stored next, name by name."""
        taken = self._take_next(listed)
        if taken is None:
            listed.contents[:], trusted = self._find(listed)
            listed.flags |= trusted
            return False
        listed.contents[:] = self.listing.contents[taken]
        listed.flags |= PROVEN if self.all_proven else self.listing.flags[taken] & TRUSTED
        return True

    def _take_next(self, listed: Listing) -> slice | None:
        start, end = self._next, self._next + len(listed)
        kept = self.listing
        offset = self._offset + len(listed.names)
        if (
            end > len(kept)
            or kept.names[self._offset : offset] != listed.names
            or kept.names[offset : offset + 1] not in {b"/", b""}
            or not (kept.identities[: self._fields, start:end] == listed.identities[: self._fields]).all()
            or (self._some_unusable and self._unusable[start:end].any())
        ):
            return None
        self._next, self._offset = end, offset + 1
        return slice(start, end)

    @property
    def all_matched(self) -> bool:
        """Return True if all files were taken, in order."""
        return self._next == len(self.listing)

    def _find(self, listed: Listing) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return each file's content by its identity, and the trust in its ctime.

        NONE and 0 where the file isn't known or has changed.
        """
        kept = self.listing
        if not len(kept):
            return np.full(len(listed), NONE, np.int64), np.zeros(len(listed), np.uint8)
        if self._order is None:
            self._order = np.argsort(kept.identities[0], kind="stable")
        sorted_inodes = kept.identities[0][self._order]
        # Of equal ones, the last is the latest.
        place = np.searchsorted(sorted_inodes, listed.identities[0], side="right") - 1
        rows = self._order[np.maximum(place, 0)]
        same = (kept.identities[: self._fields, rows] == listed.identities[: self._fields]).all(axis=0)
        usable = same & ~self._unusable[rows]
        trusted = np.where(usable, kept.flags[rows] & np.uint8(TRUSTED), np.uint8(0))
        return np.where(usable, kept.contents[rows], NONE), trusted


@lru_cache(maxsize=4)
def _unusable(young: int, trusted: int) -> NDArray[np.bool_]:
    """Return a table over all flag values: True if a file must be read again.

    It must be if it was `young`, or not `trusted`.
    """
    flags = np.arange(256)
    unusable: NDArray[np.bool_] = ((flags & young) != 0) | ((flags & trusted) == 0)
    return unusable
