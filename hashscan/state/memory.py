"""What a sweep asks and tells of what is remembered: is this file known, and this is what reading it gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from hashscan.matching.evaluation import ENDED_BY_LIMITS
from hashscan.matching.setup import WorkerSetup
from hashscan.model import Batch, BatchResult, CtimeTrust, FileResult, Item, Reason
from hashscan.reports.record_lines import Record
from hashscan.reports.records import FINDINGS
from hashscan.sources.base import shown_path
from hashscan.state.cache_rules import Deriving
from hashscan.state.cached_batch import Recalled
from hashscan.state.findings.coverage import Coverage
from hashscan.state.findings.findings import Findings
from hashscan.state.inventory.folder_rows import FolderRows
from hashscan.state.inventory.object_rows import ObjectRows
from hashscan.state.inventory.rereading import Rereading
from hashscan.state.inventory.scanned_folders import SweptFolders
from hashscan.state.inventory.scanned_objects import SweptObjects
from hashscan.state.inventory.scopes import Scopes, Shrunken
from hashscan.state.queries.retro_match import Gains
from hashscan.state.store.contents import LACKING, LIMITED, LOW, ODD, Contents
from hashscan.state.store.database import closed_on_failure, explained, open_database
from hashscan.state.store.profile import profile_of
from hashscan.state.store.scan_accounts import begin_account, conclude_account

_FILES = "file"
_COMMIT_SECONDS = 1.0
_SYNC_SECONDS = 20.0


class Ending(NamedTuple):
    """What is to be said at the end of a sweep."""

    shrunken: list[Shrunken]
    """Targets with far fewer files than last time, of which nothing was forgotten."""
    standing: list[Record]
    """Earlier findings that the sweep did not come by."""


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
        accept_cleared: bool = False,
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
            accept_cleared: whether files that are clean now end findings by lists that are not asked.
            told: called with what a person should know.
        """
        self._scopes = scopes
        self._database, self._folder, remark = open_database(state)
        if remark:
            told(remark)
        self._committed = self._synced = time.monotonic()
        with closed_on_failure(self._database), explained(self._folder):
            self._database.execute("BEGIN IMMEDIATE")
            self._contents = Contents(self._database, self._folder, profile_of(setup))
            scopes.begin(self._database)
            if scopes.rebooted and (lost := self._contents.recover()):
                told(f"{lost} files are read again, since a power cut took what was remembered of them")
            self.rereading = Rereading(reread, self._contents, told, self._met_before())
            coverage = Coverage.of_setup(setup, accepted=accept_cleared)
            self._findings = Findings(self._database, coverage, self._contents.sha256)
            self._rows = FolderRows(self._database, scopes.shard, setup.trust_ctime)
            self._object_rows = ObjectRows(self._database, setup.access.endpoint)
            self._deriving = Deriving(self._contents, setup, with_digests=with_digests)
            known = scopes, self._deriving, self.rereading
            self._folders = SweptFolders(self._rows, *known, weak=weak)
            self._objects = SweptObjects(self._object_rows, *known)
            self._gains = Gains(self._database, self._contents, setup.lists, setup.review_threshold)
            self._gains.take()
            self._commit()

    def _met_before(self) -> tuple[int, int]:
        """How many files and objects the last sweep met, and how many of them were unchanged only
        probably."""
        found = self._database.execute("SELECT key, value FROM meta WHERE key IN ('met', 'doubtful')")
        numbers = {key: value for key, value in found if isinstance(value, int)}
        return numbers.get("met", 0), numbers.get("doubtful", 0)

    def decoded(self, name: str) -> int:
        """How many of the contents that are kept are pictures of a format, and were decoded in full."""
        with explained(self._folder):
            return self._contents.decoded(name)

    def left_over(self) -> Mapping[bytes, Sequence[bytes]]:
        """By target, the folders beneath it that the last sweep had not come to."""
        with explained(self._folder):
            return self._scopes.left()

    def recall(self, batch: Batch) -> Recalled:
        """What is known of the files of a batch; each that must be read has to be settled later.

        Batches of one folder come one after another, until it has been listed to its end.
        """
        with explained(self._folder):
            return (self._folders if batch.source == _FILES else self._objects).recall(batch)

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
                flags |= LIMITED * (result.reason in ENDED_BY_LIMITS)
                content = self._contents.add(kept, flags, now)
                if result.verdict in FINDINGS:
                    self._contents.hit(content)
                results.append(replace(result, content=content, ctime=kept.ctime))
        return results

    def settle(
        self, batch: Batch, item: Item, content: int | None, ctime: CtimeTrust = CtimeTrust.FILESYSTEM
    ) -> str:
        """Say that a file which had to be read has its verdict.

        Args:
            batch: of its folder.
            item: the file.
            content: what was kept of it, if anything.
            ctime: how far that of a file is to be trusted.

        Returns:
            Where only its content says that it has changed, the SHA-256 that it had, in hex; else nothing.
        """
        with explained(self._folder):
            if batch.source == _FILES:
                self._folders.settle(batch, item, content, ctime)
            else:
                self._objects.settle(batch, item, content)
            if not self.rereading.waits:
                # As in nearly all sweeps: no need to make the path of every file.
                return ""
            path = shown_path(batch.target, batch.folder, item.name)
            return self.rereading.compare(path, item.version, content)

    def postpone(self, batch: Batch, item: Item) -> None:
        """Say that a file which must be read is read only after its folder has been forgotten."""
        if batch.source == _FILES:
            with explained(self._folder):
                self._folders.postpone(batch, item)

    def break_off(self, target: bytes, folder: bytes) -> None:
        """Say that a folder could not be listed to its end, so that what was not met in it may be there."""
        with explained(self._folder):
            self._folders.break_off(target, folder)

    def answered(self, batch: Batch) -> None:
        """Say that all files of a batch are settled; what was kept of them survives our death from now on."""
        with explained(self._folder):
            if batch.source == _FILES:
                self._folders.answered(batch)
            self._commit()

    def tick(self) -> None:
        """Called often; keeps what was settled without reading from piling up."""
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            with explained(self._folder):
                self._commit()

    def _commit(self) -> None:
        self._folders.see()
        self._object_rows.commit()
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

    def judged(self, path: bytes, item: Item, result: FileResult, customer: str = "") -> None:
        """Put down what was found of a file, or of a version of an object.

        Args:
            path: of the file, or an object's URL.
            item: as it was listed.
            result: what was found.
            customer: who must act on it; empty where nobody says.
        """
        with explained(self._folder):
            self._findings.judge(
                path, item.version, result, self._scopes.sweep, etag=item.etag, customer=customer
            )

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
            self._folders.finish(listed=listed)
            if left is not None:
                self._scopes.leave(left)
            shrunken, standing = self._scopes.finish(
                self._rows,
                self._object_rows,
                self._findings,
                files,
                whole=whole,
                closed=closed,
                accept_shrink=accept_shrink,
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("met", self.rereading.met), ("doubtful", self.rereading.doubtful)],
            )
            self._rows.place()
            self._contents.sync()
            self._commit()
            return Ending(
                shrunken,
                [
                    record
                    for found in standing
                    for record in self._deriving.standing(found, answered=self._findings.is_answered(found))
                ],
            )

    def hold(self, held: Iterable[Record]) -> None:
        """Put down what was found and is held after all; by its records."""
        with explained(self._folder):
            self._findings.hold(held)
            self._commit()

    def begin(self, begun: Record) -> None:
        """Put down with what the sweep is begun, by the first record of its report."""
        with explained(self._folder):
            begin_account(self._database, self._scopes.sweep, begun)
            self._commit()

    def conclude(self, summary: Record, exit_code: int, incomplete: Sequence[str]) -> None:
        """Put down how the sweep has ended.

        Args:
            summary: its counts, as they stand in its report.
            exit_code: of its command.
            incomplete: why it is incomplete, in words.
        """
        with explained(self._folder):
            conclude_account(self._database, self._scopes.sweep, summary, exit_code, incomplete)
            self._commit()

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
