"""What a sweep asks and tells of what is remembered: is this file known, and this is what reading it gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.model import Batch, BatchResult, FileResult, Item, Reason
from hashscan.reports.base import Record
from hashscan.reports.records import FINDINGS
from hashscan.scan.matcher import Matcher
from hashscan.scan.rules import Subject, subject_of
from hashscan.scan.setup import WorkerSetup
from hashscan.scan.state.contents import HIT, LACKING, LOW, ODD, QUIET, STALE, Contents
from hashscan.scan.state.database import closed_on_failure, explained, open_database
from hashscan.scan.state.findings import NO_STAT, Findings, Standing, standing_record_of
from hashscan.scan.state.folder_rows import FolderRows
from hashscan.scan.state.gained import Gains
from hashscan.scan.state.listings import NONE, YOUNG_CTIME, KeptListing, Listing, joined, listing_of
from hashscan.scan.state.objects import ObjectRows
from hashscan.scan.state.profile import profile_of
from hashscan.scan.state.recollection import result_of
from hashscan.scan.state.rereading import Rereading
from hashscan.scan.state.scopes import Scopes, Shrunken
from hashscan.sources.base import shown_path

_FILES = "file"
_COMMIT_SECONDS = 1.0
_SYNC_SECONDS = 20.0
_NOWHERE = Item(b"", NO_STAT)


class Ending(NamedTuple):
    """What is to be said at the end of a sweep."""

    shrunken: list[Shrunken]
    """Targets with far fewer files than last time, of which nothing was forgotten."""
    standing: list[Record]
    """Earlier findings that the sweep did not come by."""


class Recalled(NamedTuple):
    """What is known of a batch."""

    quiet: int
    """Unchanged files that are clean."""
    low: int
    """How many of these are pictures whose PDQ was too poor to be matched."""
    answers: list[tuple[Item, FileResult]]
    """Unchanged files of which there is more to say."""
    reading: list[Item]
    """Files that must be read."""
    later: bool
    """Whether those were checked in this turn already, so that all others go before."""


@dataclass(slots=True)
class _Folder:
    """A folder that is being swept, as far as its files are on one filesystem."""

    path: bytes
    filesystem: int
    row: int | None
    kept: KeptListing
    later: bool
    blocks: list[Listing] = field(default_factory=list)
    waiting: dict[bytes, tuple[Listing, int]] = field(default_factory=dict)
    """By name the files without a verdict: their block, and place in it."""
    fresh: dict[int, tuple[Listing, list[int]]] = field(default_factory=dict)
    """Files that were read, and are not in the database yet: blocks, by their id, with the files' places."""
    changed: bool = False
    ended: bool = False
    whole: bool = False


class SweepMemory:
    """The state, as one sweep uses it.

    Raises, in all it does:
        OutputError: the state can't be read or written, or is found damaged.
    """

    def __init__(
        self,
        state: Path,
        setup: WorkerSetup,
        scopes: Scopes,
        *,
        with_digests: bool = False,
        weak: bool = False,
        reread: float = 0.0,
        told: Callable[[str], None],
    ) -> None:
        """Open the state, and compare what is kept with what the lists have gained.

        Args:
            state: the state folder, whose lock the caller holds.
            setup: of the sweep's workers.
            scopes: what is swept.
            with_digests: tell the digests of clean files, too.
            weak: whether a file whose ctime alone has changed counts as unchanged.
            reread: share of the unchanged files and objects that is to be read all the same.
            told: called with what a person should know.
        """
        self._began_ns = time.time_ns()
        self._setup = setup
        self._scopes = scopes
        self._weak = weak
        self._with_digests = with_digests
        self._database, self._folder, remark = open_database(state)
        if remark:
            told(remark)
        self._open: dict[tuple[bytes, int], _Folder] = {}
        self._current: bytes | None = None
        self._entered: list[tuple[int, _Folder]] = []
        """What is open of the current folder, by device."""
        self._seen: list[tuple[int, int, int, int, int]] = []
        self._matcher: Matcher | None = None
        self._committed = self._synced = time.monotonic()
        with closed_on_failure(self._database), explained(self._folder):
            self._database.execute("BEGIN IMMEDIATE")
            self._contents = Contents(self._database, self._folder, profile_of(setup))
            scopes.begin(self._database)
            if scopes.rebooted and (lost := self._contents.recover()):
                told(f"{lost} files are read again, since a power cut took what was remembered of them")
            self.rereading = Rereading(reread, self._contents, told)
            self._findings = Findings(self._database)
            self._rows = FolderRows(self._database, scopes.shard)
            self._objects = ObjectRows(self._database, setup.access.endpoint)
            self._gains = Gains(self._database, self._contents, setup.lists, setup.review_threshold)
            self._gains.take()
            self._commit()

    def left_over(self) -> Mapping[bytes, Sequence[bytes]]:
        """By target, the folders beneath it that the last sweep had not come to."""
        with explained(self._folder):
            return self._scopes.left()

    def recall(self, batch: Batch) -> Recalled:
        """What is known of the files of a batch; each that must be read has to be settled later.

        Batches of one folder come one after another, until it has been listed to its end.
        """
        if batch.source != _FILES:
            with explained(self._folder):
                return self._recall_objects(batch)
        with explained(self._folder):
            path = shown_path(batch.target, batch.folder)
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
            return Recalled(
                sum(part.quiet for part in found),
                sum(part.low for part in found),
                [answer for part in found for answer in part.answers],
                [item for part in found for item in part.reading],
                all(part.later for part in found),
            )

    def _recall_objects(self, batch: Batch) -> Recalled:
        if not self._scopes.knows(batch.target):
            return Recalled(0, 0, [], list(batch.items), False)
        answers: list[tuple[Item, FileResult]] = []
        reading: list[Item] = []
        quiet = low = 0
        scope, sweep, _ = self._scopes.mark(batch.target)
        contents = self._objects.find(batch)
        all_attention = self._attention(np.array(contents, np.int64))
        for place in self.rereading.choose(all_attention).tolist():
            item = batch.items[place]
            self.rereading.expect(shown_path(batch.target, b"", item.name), item.version, contents[place])
        for item, content, attention in zip(batch.items, contents, all_attention.tolist(), strict=True):
            result = None
            if not attention & ~QUIET:
                quiet += 1
                low += bool(attention & LOW)
            elif not attention & STALE and (result := self._derive_object(batch, content, item)) is not None:
                answers.append((item, result))
            else:
                reading.append(item)
                continue
            self._objects.see(batch, item, scope, sweep)
        return Recalled(quiet, low, answers, reading, False)

    def _recall(self, path: bytes, device: int, items: Sequence[Item], listed: Listing) -> Recalled:
        folder = self._open.get((path, device)) or self._enter(path, device)
        if folder is None:
            return Recalled(0, 0, [], list(items), False)
        taken = folder.kept.take_next(listed)
        if taken is not None:
            listed.contents[:] = folder.kept.listing.contents[taken]
        else:
            folder.changed = True
            listed.contents[:] = folder.kept.find(listed)
        if self._weak:
            # Whether content has changed with a ctime is for the next sweep to see that heeds ctimes.
            listed.flags[listed.contents != NONE] |= YOUNG_CTIME
        folder.blocks.append(listed)
        attention = self._attention(listed.contents)
        for place in self.rereading.choose(attention).tolist():
            whole = shown_path(path, b"", items[place].name)
            self.rereading.expect(whole, "", int(listed.contents[place]))
        if not attention.any():
            return Recalled(len(items), 0, [], [], False)
        loud = np.flatnonzero(attention & ~np.uint8(QUIET))
        low = int(np.count_nonzero(attention & LOW))
        if not loud.size:
            return Recalled(len(items), low, [], [], False)
        answers: list[tuple[Item, FileResult]] = []
        reading: list[Item] = []
        for place in loud.tolist():
            item = items[place]
            low -= bool(attention[place] & LOW)
            result = None
            if not attention[place] & STALE:
                subject = subject_of(shown_path(path, b"", item.name), item.stat)
                result = self._derive(int(listed.contents[place]), item, subject)
            if result is not None:
                answers.append((item, result))
                continue
            listed.contents[place] = NONE
            folder.changed = True
            reading.append(item)
            if not folder.later:
                folder.waiting[item.name] = listed, place
        return Recalled(len(items) - len(loud), low, answers, reading, folder.later)

    def _attention(self, contents: NDArray[np.int64]) -> NDArray[np.uint8]:
        """That of files with these contents; whatever has none must be read."""
        if not self._contents.rows:
            return np.full(len(contents), STALE, np.uint8)
        known = self._contents.attention_of(np.maximum(contents, 0))
        return np.where(contents == NONE, np.uint8(STALE), known)

    def _enter(self, path: bytes, device: int) -> _Folder | None:
        filesystem = self._rows.filesystem(path, device)
        if filesystem is None:
            return None
        row, listing, in_pieces = self._rows.find(path, filesystem)
        later = row is not None and self._scopes.checked(self._rows, row, path)
        folder = _Folder(path, filesystem, row, KeptListing(listing, weak=self._weak), later)
        folder.changed = in_pieces
        self._open[path, device] = folder
        self._entered.append((device, folder))
        return folder

    def _derive_object(self, batch: Batch, content: int, item: Item) -> FileResult | None:
        return self._derive(content, item, subject_of(shown_path(batch.target, b"", item.name), item.stat))

    def _derive(self, content: int, item: Item, subject: Subject) -> FileResult | None:
        near = bool(self._contents.attention[content] & HIT)
        if near and self._matcher is None:
            setup = self._setup
            self._matcher = Matcher(setup.lists, setup.review_threshold, setup.excepted)
        result = result_of(
            self._contents.load(content),
            item,
            self._matcher if near else None,
            self._setup,
            subject,
            with_digests=self._with_digests,
        )
        return None if result is None else replace(result, content=content)

    def keep(self, answer: BatchResult) -> list[FileResult]:
        """Keep what reading the files of a batch gave; their results, with the numbers of their contents."""
        if not answer.kept:
            return list(answer.results)
        now = int(time.time())
        results = []
        with explained(self._folder):
            for result, kept in zip(answer.results, answer.kept, strict=True):
                if kept is None:
                    results.append(result)
                    continue
                lacking = result.reason is Reason.UNSUPPORTED
                flags = LOW * result.low_quality | ODD * (result.reason is not None) | LACKING * lacking
                content = self._contents.add(kept, flags, now)
                if result.verdict in FINDINGS:
                    self._contents.hit(content)
                results.append(replace(result, content=content))
        return results

    def settle(self, batch: Batch, item: Item, content: int | None) -> str:
        """Say that a file which had to be read has its verdict.

        Args:
            batch: of its folder.
            item: the file.
            content: what was kept of it, if anything.

        Returns:
            Where only its content says that it has changed, the SHA-256 that it had, in hex; else nothing.
        """
        with explained(self._folder):
            self._settle(batch, item, content)
            if not self.rereading.waits:
                # As in nearly all sweeps: no need to make the path of every file.
                return ""
            path = shown_path(batch.target, batch.folder, item.name)
            return self.rereading.compare(path, item.version, content)

    def _settle(self, batch: Batch, item: Item, content: int | None) -> None:
        if batch.source != _FILES:
            if content is not None and self._scopes.knows(batch.target):
                scope, sweep, _ = self._scopes.mark(batch.target)
                self._objects.put(batch, item, content, scope, sweep)
            return
        path, device = shown_path(batch.target, batch.folder), item.stat.device
        folder = self._open.get((path, device))
        found = None if folder is None else folder.waiting.pop(item.name, None)
        if found is None:
            if content is not None:
                self._add_late(path, item, content)
            return
        assert folder is not None
        if content is not None:
            block, place = found
            block.contents[place] = content
            folder.fresh.setdefault(id(block), (block, []))[1].append(place)
        if folder.ended and not folder.waiting:
            self._finish(folder, device)

    def _add_late(self, path: bytes, item: Item, content: int) -> None:
        """Keep a file that was read after its folder had been left."""
        filesystem = self._rows.filesystem(path, item.stat.device)
        if filesystem is None:
            return
        # When it was read isn't known any more, but not before the sweep began.
        listing, _ = listing_of([item], self._began_ns)
        listing.contents[0] = content
        row = self._rows.find_or_make(path, filesystem)
        self._rows.add_piece(row, listing)

    def break_off(self, target: bytes, folder: bytes) -> None:
        """Say that a folder could not be listed to its end, so that what was not met in it may be there."""
        with explained(self._folder):
            if shown_path(target, folder) == self._current:
                self._leave(whole=False)

    def _leave(self, *, whole: bool) -> None:
        for device, folder in self._entered:
            folder.ended, folder.whole = True, whole and not self._scopes.only_some_of(folder.path)
            if not folder.waiting:
                self._finish(folder, device)
        self._entered.clear()
        self._current = None

    def _finish(self, folder: _Folder, device: int) -> None:
        """Bring the database up to date with a folder of which all files have their verdicts."""
        del self._open[folder.path, device]
        if folder.whole and (folder.changed or not folder.kept.taken):
            listing = joined(folder.blocks)
            if folder.row is None:
                folder.row = self._rows.find_or_make(folder.path, folder.filesystem)
            self._rows.write(folder.row, listing)
        else:
            self._add_pieces(folder)
        if folder.row is not None and folder.whole:
            self._seen.append((folder.row, *self._scopes.mark(folder.path), int(time.time())))

    def _add_pieces(self, folder: _Folder) -> None:
        """Put what was read of a folder, and is not in the database yet, there."""
        for block, places in folder.fresh.values():
            if folder.row is None:
                folder.row = self._rows.find_or_make(folder.path, folder.filesystem)
            self._rows.add_piece(folder.row, block.some(places))
        folder.fresh.clear()

    def answered(self, batch: Batch) -> None:
        """Say that all files of a batch are settled; what was kept of them survives our death from now on."""
        if batch.source != _FILES:
            with explained(self._folder):
                self._commit()
            return
        with explained(self._folder):
            path = shown_path(batch.target, batch.folder)
            for device in {item.stat.device for item in batch.items}:
                folder = self._open.get((path, device))
                if folder is not None:
                    self._add_pieces(folder)
            self._commit()

    def tick(self) -> None:
        """Called often; keeps what was settled without reading from piling up."""
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            with explained(self._folder):
                self._commit()

    def _commit(self) -> None:
        self._rows.see(self._seen)
        self._seen.clear()
        self._objects.commit()
        now = time.monotonic()
        if now - self._synced > _SYNC_SECONDS:
            self._rows.place()
            self._contents.sync()
            self._synced = now
        self._contents.commit()
        self._gains.commit()
        self._database.execute("COMMIT")
        self._database.execute("BEGIN IMMEDIATE")
        self._committed = now

    @property
    def findings_stand(self) -> bool:
        """Whether it has to be told of clean files, too."""
        return self._findings.any_stand

    def judged(self, path: bytes, version: str, result: FileResult) -> None:
        """Put down what was found of a file, or of a version of an object."""
        with explained(self._folder):
            self._findings.judge(path, version, result, self._scopes.sweep)

    def left(self, path: bytes, version: str = "") -> None:
        """Say that something is there which was not checked."""
        self._findings.leave(path, version)

    def finish(
        self,
        files: Mapping[bytes, int],
        *,
        listed: bool,
        whole: bool,
        closed: bool,
        accept_shrink: bool,
        left: Mapping[bytes, Sequence[bytes]] | None = None,
    ) -> Ending:
        """End the sweep.

        Args:
            files: how many were met of each target.
            listed: whether the last folder was listed to its end.
            whole: whether all that there is was checked, as far as folders could be listed.
            closed: whether some couldn't.
            accept_shrink: believe that what isn't there any more is gone.
            left: by target, the folders beneath it to begin with next time; None where targets aren't walked.
        """
        with explained(self._folder):
            self._leave(whole=listed)
            if left is not None:
                self._scopes.leave(left)
            for folder in self._open.values():
                self._add_pieces(folder)
            self._rows.see(self._seen)
            self._seen.clear()
            shrunken, standing = self._scopes.finish(
                self._rows,
                self._objects,
                self._findings,
                files,
                whole=whole,
                closed=closed,
                accept_shrink=accept_shrink,
            )
            self._rows.place()
            self._contents.sync()
            self._commit()
            return Ending(shrunken, [record for found in standing for record in self._standing(found)])

    def _standing(self, found: Standing) -> Iterator[Record]:
        """What is to be said of a finding that stands; nothing where today's lists don't say it any more."""
        result: FileResult | None = None
        if found.content is not None and self._contents.is_whole(found.content):
            result = self._derive(found.content, _NOWHERE, Subject(found.path))
            if result is not None and result.verdict not in FINDINGS:
                return
        yield standing_record_of(found, result)

    def close(self) -> None:
        """Let the state go; what was not committed is lost."""
        self._contents.close()
        if self._database.in_transaction:
            self._database.rollback()
        self._database.close()

    def __enter__(self) -> SweepMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
