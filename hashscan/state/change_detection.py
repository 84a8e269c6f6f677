"""Detect which files and objects of a scan have changed since they were stored, and update what is stored.

A random share of the unchanged ones is read again, and reported where the content has changed all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.matching.policy import subject_of
from hashscan.model import Batch, CtimeTrust, FileResult, Item
from hashscan.sources.base import full_path
from hashscan.state.queries.cached_results import CachedResults
from hashscan.state.scopes import Scopes
from hashscan.state.store.contents import LOW, QUIET, STALE, Contents
from hashscan.state.store.folder_rows import FolderRows
from hashscan.state.store.listings import (
    NONE,
    NOT_PROVEN,
    ON_TRUST,
    PROVEN,
    TRUSTED,
    UNPROVEN,
    YOUNG_CTIME,
    Listing,
    StoredListing,
    joined,
    listing_of,
)
from hashscan.state.store.object_rows import ObjectRows


class CachedBatch(NamedTuple):
    """The files of a batch, grouped by how the scan proceeds with them."""

    quiet: int
    """Number of unchanged files that are clean."""
    low: int
    """Number of these that are pictures whose PDQ quality was too low to be matched."""
    results: list[tuple[Item, FileResult]]
    """Unchanged files that have something to report, with their results."""
    reading: list[Item]
    later: bool
    """True if those were checked in this turn already, so that all others are read before them."""
    unproven: int = 0
    """Number of unchanged files that are only probably unchanged; see `CtimeTrust`."""
    on_trust: int = 0
    """Number of unchanged files that are so only by the operator's option."""


def combine(parts: Sequence[CachedBatch]) -> CachedBatch:
    return CachedBatch(
        sum(part.quiet for part in parts),
        sum(part.low for part in parts),
        [answer for part in parts for answer in part.results],
        [item for part in parts for item in part.reading],
        all(part.later for part in parts),
        sum(part.unproven for part in parts),
        sum(part.on_trust for part in parts),
    )


_TRUST_FLAGS = {
    CtimeTrust.FILESYSTEM: 0,
    CtimeTrust.WRITER: 0,
    CtimeTrust.ON_TRUST: ON_TRUST,
    CtimeTrust.UNPROVEN: UNPROVEN,
    CtimeTrust.PROVEN: PROVEN,
}


@dataclass(slots=True)
class _Folder:
    """A folder that is being scanned, limited to its files on one filesystem."""

    path: bytes
    filesystem: int
    row: int | None
    kept: StoredListing
    later: bool
    blocks: list[Listing] = field(default_factory=list)
    waiting: dict[bytes, tuple[Listing, int]] = field(default_factory=dict)
    """Files without a verdict by name: their block, and index in it."""
    postponed: dict[bytes, tuple[Listing, int]] = field(default_factory=dict)
    """Files that the folder does not wait for, in the same form."""
    fresh: dict[int, tuple[Listing, list[int]]] = field(default_factory=dict)
    """Files that were read, and are not in the database yet: blocks by their id, with the files' indices."""
    changed: bool = False
    ended: bool = False
    whole: bool = False


class ScannedFolders:
    """The folders of all targets. Batches of one folder follow each other until it is listed to its end."""

    def __init__(
        self,
        rows: FolderRows,
        scopes: Scopes,
        deriving: CachedResults,
        rereading: RandomReread,
        *,
        weak: bool,
    ) -> None:
        """Start outside of any folder."""
        self._began_ns = time.time_ns()
        self._rows = rows
        self._scopes = scopes
        self._deriving = deriving
        self._rereading = rereading
        self._weak = weak
        self._open: dict[tuple[bytes, int], _Folder] = {}
        self._current: bytes | None = None
        self._entered: list[tuple[int, _Folder]] = []
        """Open parts of the current folder, by device."""
        self._seen: list[tuple[int, int, int, int, int]] = []

    def recall(self, batch: Batch) -> CachedBatch:
        """Return the known results of a batch; each file that must be read is recorded as checked later."""
        path = full_path(batch.target, batch.folder)
        if path != self._current:
            self._leave(whole=True)
            self._current = path
        listed, device = listing_of(batch.items, time.time_ns())
        if device is not None:
            return self._recall(path, device, batch.items, listed)
        found = []
        for device in sorted({item.stat.device for item in batch.items}):
            items = [item for item in batch.items if item.stat.device == device]
            found.append(self._recall(path, device, items, listing_of(items, time.time_ns())[0]))
        return combine(found)

    def _recall(self, path: bytes, device: int, items: Sequence[Item], listed: Listing) -> CachedBatch:
        folder = self._open.get((path, device)) or self._enter(path, device)
        if folder is None:
            return CachedBatch(0, 0, [], list(items), False)
        if not folder.kept.recall(listed):
            folder.changed = True
        doubtful = None if folder.kept.all_proven else listed.flags & np.uint8(NOT_PROVEN)
        if self._weak:
            # The next scan that checks ctimes decides whether content has changed with a ctime.
            listed.flags[listed.contents != NONE] |= YOUNG_CTIME
        folder.blocks.append(listed)
        attention = self._deriving.attention_flags(listed.contents)
        for place in self._rereading.choose(attention, doubtful).tolist():
            whole = full_path(path, b"", items[place].name)
            self._rereading.remember_content(whole, "", int(listed.contents[place]))
        if not attention.any():
            return CachedBatch(len(items), 0, [], [], False, *_doubts(doubtful))
        loud = np.flatnonzero(attention & ~np.uint8(QUIET))
        low = int(np.count_nonzero(attention & LOW)) - int(np.count_nonzero(attention[loud] & LOW))
        if not loud.size:
            return CachedBatch(len(items), low, [], [], False, *_doubts(doubtful))
        results: list[tuple[Item, FileResult]] = []
        unread: list[int] = []
        kept = [place for place in loud.tolist() if not attention[place] & STALE]
        asked = [(int(listed.contents[place]), items[place]) for place in kept]
        found = dict(zip(kept, _results(self._deriving, path, asked), strict=True))
        for place in loud.tolist():
            result = found.get(place)
            if result is None:
                unread.append(place)
            else:
                results.append((items[place], result))
        if doubtful is not None:
            doubtful[unread] = 0
        reading = self._await_reading(folder, listed, items, unread)
        return CachedBatch(len(items) - len(loud), low, results, reading, folder.later, *_doubts(doubtful))

    def _await_reading(
        self, folder: _Folder, listed: Listing, items: Sequence[Item], unread: list[int]
    ) -> list[Item]:
        """Mark some files of a block as having no content until they are read; return them."""
        listed.contents[unread] = NONE
        listed.flags[unread] &= ~np.uint8(TRUSTED)
        folder.changed = folder.changed or bool(unread)
        if not folder.later:
            folder.waiting.update((items[place].name, (listed, place)) for place in unread)
        return [items[place] for place in unread]

    def _enter(self, path: bytes, device: int) -> _Folder | None:
        filesystem = self._rows.filesystem(path, device)
        if filesystem is None:
            return None
        row, listing, in_pieces = self._rows.find(path, filesystem)
        later = row is not None and self._scopes.checked(self._rows, row, path)
        kept = StoredListing(listing, weak=self._weak, on_trust=self._rows.is_on_trust(path, device))
        folder = _Folder(path, filesystem, row, kept, later)
        folder.changed = in_pieces
        self._open[path, device] = folder
        self._entered.append((device, folder))
        return folder

    def record_checked(self, batch: Batch, item: Item, content: int | None, ctime: CtimeTrust) -> None:
        """Store that a file which had to be read has its verdict, and its kept content, if any."""
        path, device = full_path(batch.target, batch.folder), item.stat.device
        folder = self._open.get((path, device))
        found = None
        if folder is not None:
            found = folder.waiting.pop(item.name, None) or folder.postponed.pop(item.name, None)
        if found is None:
            if content is not None:
                self._add_late(path, item, content, ctime)
            return
        assert folder is not None
        if content is not None:
            block, place = found
            block.contents[place] = content
            block.flags[place] |= _TRUST_FLAGS[ctime]
            folder.fresh.setdefault(id(block), (block, []))[1].append(place)
        if folder.ended and not folder.waiting:
            self._finish(folder, device)

    def postpone(self, batch: Batch, item: Item) -> None:
        """Let a file that must be read get its verdict after the folder may have been written."""
        device = item.stat.device
        folder = self._open.get((full_path(batch.target, batch.folder), device))
        found = None if folder is None else folder.waiting.pop(item.name, None)
        if folder is None or found is None:
            return
        folder.postponed[item.name] = found
        if folder.ended and not folder.waiting:
            self._finish(folder, device)

    def _add_late(self, path: bytes, item: Item, content: int, ctime: CtimeTrust) -> None:
        """Store a file that was read after its folder had been left."""
        filesystem = self._rows.filesystem(path, item.stat.device)
        if filesystem is None:
            return
        # The time of reading is not known any more, but it is not before the scan's start.
        listing, _ = listing_of([item], self._began_ns)
        listing.contents[0] = content
        listing.flags[0] |= _TRUST_FLAGS[ctime]
        row = self._rows.find_or_insert(path, filesystem)
        self._rows.add_piece(row, listing)

    def break_off(self, target: bytes, folder: bytes) -> None:
        """Mark a folder as not listed to its end, so that files that were not met may still exist."""
        if full_path(target, folder) == self._current:
            self._leave(whole=False)

    def _leave(self, *, whole: bool) -> None:
        for device, folder in self._entered:
            folder.ended, folder.whole = True, whole and not self._scopes.only_some_of(folder.path)
            if not folder.waiting:
                self._finish(folder, device)
        self._entered.clear()
        self._current = None

    def _finish(self, folder: _Folder, device: int) -> None:
        """Update the database with a folder whose files all have their verdicts."""
        del self._open[folder.path, device]
        if folder.whole and (folder.changed or not folder.kept.all_matched):
            listing = joined(folder.blocks)
            if folder.row is None:
                folder.row = self._rows.find_or_insert(folder.path, folder.filesystem)
            self._rows.write(folder.row, listing)
        else:
            self._add_pieces(folder)
        if folder.row is not None and folder.whole:
            self._seen.append((folder.row, *self._scopes.mark(folder.path), int(time.time())))

    def _add_pieces(self, folder: _Folder) -> None:
        """Write the files of a folder that were read, and are not in the database yet."""
        for block, places in folder.fresh.values():
            if folder.row is None:
                folder.row = self._rows.find_or_insert(folder.path, folder.filesystem)
            self._rows.add_piece(folder.row, block.select(places))
        folder.fresh.clear()

    def answered(self, batch: Batch) -> None:
        """Write the files that were read of a batch, all of them recorded as checked, to the database."""
        path = full_path(batch.target, batch.folder)
        for device in {item.stat.device for item in batch.items}:
            folder = self._open.get((path, device))
            if folder is not None:
                self._add_pieces(folder)

    def see(self) -> None:
        """Store which folders were seen."""
        self._rows.store_checked(self._seen)
        self._seen.clear()

    def finish(self, *, listed: bool) -> None:
        """Leave all folders, and store what was read of them."""
        self._leave(whole=listed)
        for folder in self._open.values():
            self._add_pieces(folder)
        self.see()


def _results(
    deriving: CachedResults, folder: bytes, asked: Sequence[tuple[int, Item]]
) -> list[FileResult | None]:
    """Return the cached results of files or objects with their contents; None where one must be read."""
    return deriving.results(
        [(content, item, subject_of(full_path(folder, b"", item.name), item.stat)) for content, item in asked]
    )


def _doubts(doubtful: NDArray[np.uint8] | None) -> tuple[int, int]:
    if doubtful is None:
        return 0, 0
    return int(np.count_nonzero(doubtful == UNPROVEN)), int(np.count_nonzero(doubtful == ON_TRUST))


class ScannedObjects:
    """The objects of all containers."""

    def __init__(
        self, rows: ObjectRows, scopes: Scopes, deriving: CachedResults, rereading: RandomReread
    ) -> None:
        self._rows = rows
        self._scopes = scopes
        self._deriving = deriving
        self._rereading = rereading

    def recall(self, batch: Batch) -> CachedBatch:
        """Return the known results of a batch."""
        if not self._scopes.knows(batch.target):
            return CachedBatch(0, 0, [], list(batch.items), False)
        results: list[tuple[Item, FileResult]] = []
        reading: list[Item] = []
        quiet = low = 0
        scope, scan, _ = self._scopes.mark(batch.target)
        contents = self._rows.find(batch)
        all_attention = self._deriving.attention_flags(np.array(contents, np.int64))
        for place in self._rereading.choose(all_attention).tolist():
            item = batch.items[place]
            self._rereading.remember_content(
                full_path(batch.target, b"", item.name), item.version, contents[place]
            )
        loud = np.flatnonzero(all_attention & ~np.uint8(QUIET))
        kept = [place for place in loud.tolist() if not all_attention[place] & STALE]
        asked = [(contents[place], batch.items[place]) for place in kept]
        found = dict(zip(kept, _results(self._deriving, batch.target, asked), strict=True))
        for place, (item, attention) in enumerate(zip(batch.items, all_attention.tolist(), strict=True)):
            if not attention & ~QUIET:
                quiet += 1
                low += bool(attention & LOW)
            elif (result := found.get(place)) is not None:
                results.append((item, result))
            else:
                reading.append(item)
                continue
            self._rows.see(batch, item, scope, scan)
        return CachedBatch(quiet, low, results, reading, False)

    def record_checked(self, batch: Batch, item: Item, content: int | None) -> None:
        if content is not None and self._scopes.knows(batch.target):
            scope, scan, _ = self._scopes.mark(batch.target)
            self._rows.put(batch, item, content, scope, scan)


class RandomReread:
    """The files and objects that one scan rereads at random."""

    def __init__(
        self,
        share: float,
        contents: Contents,
        notify: Callable[[str], None],
        before: tuple[int, int] = (0, 0),
    ) -> None:
        """Start with no file chosen. The share is a fraction, from 0 to 1, of the files that need not be
        read. `before` says how many files and objects the last scan met, and how many of them were unchanged
        only probably: the same numbers are expected again, so that such files can be chosen before all
        others."""
        self.met = self.doubtful = 0
        """Files and objects that this scan has met, and how many of them are unchanged only probably."""
        self.changed = 0
        """Number of files with other content, although no attribute had changed."""
        self._share, self._share_of_doubtful = _shares(share, *before)
        self._contents = contents
        self._notify = notify
        self._random = np.random.default_rng()
        self._chosen: dict[tuple[bytes, str], int] = {}
        """Known content of chosen files that have no verdict yet, by path and version."""

    @property
    def waits(self) -> bool:
        return bool(self._chosen)

    def choose(
        self, attention: NDArray[np.uint8], doubtful: NDArray[np.uint8] | None = None
    ) -> NDArray[np.int64]:
        """Choose files to be read, mark them in `attention`, and return their indices; `doubtful` is not 0
        for those that are unchanged only probably."""
        self.met += len(attention)
        if doubtful is not None:
            self.doubtful += int(np.count_nonzero(doubtful))
        if not self._share_of_doubtful:
            return np.zeros(0, np.int64)
        share = self._share if doubtful is None else np.where(doubtful, self._share_of_doubtful, self._share)
        chosen = ((attention & STALE) == 0) & (self._random.random(len(attention)) < share)
        attention[chosen] |= STALE
        return np.flatnonzero(chosen)

    def remember_content(self, path: bytes, version: str, content: int) -> None:
        self._chosen[path, version] = content

    def compare(self, path: bytes, version: str, content: int | None) -> str:
        """Return the known SHA-256 in hex where the content that was read differs; else an empty string."""
        before = self._chosen.pop((path, version), None)
        if before is None or content is None:
            return ""
        column = self._contents.columns["sha256"]
        known, found = (bytes(column.read(row, 1)[0]) for row in (before, content))
        if known == found:
            return ""
        self.changed += 1
        self._notify(
            f"{path.decode(errors='backslashreplace')!r} has other content than when it was read before, "
            "though nothing else says so: the disk may be failing, or somebody hides a change"
        )
        return known.hex()


def _shares(share: float, met: int, doubtful: int) -> tuple[float, float]:
    """Return the shares of proven and of doubtful files to read, so that `share` of all files is read."""
    if not 0 < doubtful < met:
        return share, share
    wanted = share * met
    return max(0.0, (wanted - doubtful) / (met - doubtful)), min(1.0, wanted / doubtful)
