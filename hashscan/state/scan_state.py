"""Open the state for a scan: look up cached results before reading, and store what reading gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import structs

from hashscan.lists.services.settings import StoredService
from hashscan.matching.evaluation import LIMIT_REASONS
from hashscan.matching.policy import subject_of
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult, CtimeTrust, FileResult, Item, Reason
from hashscan.reports.records import FINDINGS, Record, path_bytes
from hashscan.settings.scan import ScanSettings
from hashscan.shortcomings import Shortcoming
from hashscan.sources.base import Source, full_path
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.objects.source import ObjectSource
from hashscan.state.change_detection import CachedBatch, RandomReread, ScannedFolders, ScannedObjects
from hashscan.state.findings.coverage import Coverage
from hashscan.state.findings.findings import Findings, Place
from hashscan.state.findings.history import begin_account, conclude_account
from hashscan.state.queries.answers import Answers
from hashscan.state.queries.cached_results import CachedResults
from hashscan.state.queries.retro_match import RetroMatcher
from hashscan.state.scopes import Container, QuarantinedFiles, Scopes, Shrunken
from hashscan.state.store.contents import LACKING, LIMITED, LOW, ODD, WritableState
from hashscan.state.store.database import closed_on_failure, errors_explained
from hashscan.state.store.folder_rows import FolderRows
from hashscan.state.store.object_rows import ObjectRows
from hashscan.state_dir import StateDir

_FILES = "file"
_COMMIT_SECONDS = 1.0
_SYNC_SECONDS = 20.0


class ScanOutcome(NamedTuple):
    """The outcome of a scan that only the state knows."""

    shrunken: list[Shrunken]
    """Targets with far fewer files than in the last scan, of which nothing was deleted."""
    standing: list[Record]
    """Earlier findings that the scan did not meet."""


class ScanState(WritableState):
    """The state, opened for writing by one scan."""

    def __init__(
        self,
        state: StateDir,
        setup: WorkerSetup,
        scopes: Scopes,
        *,
        with_digests: bool = False,
        weak: bool = False,
        reread: float = 0.0,
        accept_cleared: bool = False,
        notify: Callable[[str], None],
        services: Sequence[StoredService] = (),
        show: Callable[[str], None] | None = None,
    ) -> None:
        """Open the state, and compare kept contents with new entries of the lists.

        Args:
            services: matching services to be asked about contents; requests are shown by `show`.
            weak: True if a file whose ctime alone has changed counts as unchanged.
            reread: fraction of the unchanged files and objects that are to be read all the same.
            accept_cleared: True if clean files end findings of lists that are not asked.
        """
        self._scopes = scopes
        super().__init__(state, setup, notify)
        self._committed = self._synced = time.monotonic()
        self.answers: Answers | None = None
        """The matching services; None without any."""
        with closed_on_failure(self._database), errors_explained(self._folder):
            scopes.begin(self._database)
            if scopes.rebooted and (lost := self._contents.recover()):
                notify(f"{lost} files are read again, since a power failure destroyed stored results")
            self.rereading = RandomReread(reread, self._contents, notify, self._last_counts())
            coverage = Coverage.of_setup(setup, services, accepted=accept_cleared)
            self._endpoint = setup.access.endpoint or ""
            self._findings = Findings(self._database, coverage, self._contents.sha256)
            self._rows = FolderRows(self._database, scopes.shard, setup.trust_ctime)
            self._object_rows = ObjectRows(self._database, setup.access.endpoint)
            if services:
                self.answers = Answers(self._database, self._contents, services, show, setup.excepted)
            self._deriving = CachedResults(
                self._contents, setup, with_digests=with_digests, answers=self.answers
            )
            known = scopes, self._deriving, self.rereading
            self._folders = ScannedFolders(self._rows, *known, weak=weak)
            self._objects = ScannedObjects(self._object_rows, *known)
            self._gains = RetroMatcher(self._database, self._contents, setup, notify)
            self._gains.take()
            self._commit()

    def with_answers(self, path: bytes, result: FileResult) -> FileResult:
        """Return the result of a file with what matching services have answered about its content."""
        with errors_explained(self._folder):
            return self._deriving.with_answers(result, subject_of(path, result.stat))

    def ask_services(self, *, flush: bool = False, timeout: float = 0.0) -> list[int]:
        """Store answers that have arrived, and ask more; return the contents that are answered now."""
        assert self.answers is not None
        with errors_explained(self._folder):
            return self.answers.pump(flush=flush, timeout=timeout)

    def close(self) -> None:
        """Close the state; what was not committed is lost."""
        if self.answers is not None:
            self.answers.close()
        super().close()

    def _last_counts(self) -> tuple[int, int]:
        """Return the numbers of files that the last scan met and of those only probably unchanged.

        Both include objects.
        """
        found = self._database.execute("SELECT key, value FROM meta WHERE key IN ('met', 'doubtful')")
        numbers = {key: value for key, value in found if isinstance(value, int)}
        return numbers.get("met", 0), numbers.get("doubtful", 0)

    def decoded(self, name: str) -> int:
        """Return the number of kept contents that are pictures of a format and were decoded in full."""
        with errors_explained(self._folder):
            return self._contents.decoded(name)

    def files_before(self) -> int | None:
        """Return the number of files that the scan will probably meet; None if it is not known."""
        with errors_explained(self._folder):
            return self._scopes.files_before()

    def unreached_folders(self) -> Mapping[bytes, Sequence[bytes]]:
        """Return by target the folders beneath it that the last scan did not reach."""
        with errors_explained(self._folder):
            return self._scopes.left()

    def lookup(self, batch: Batch) -> CachedBatch:
        """Return the cached results of a batch; each file that must be read is recorded as checked later.

        Batches of one folder follow each other, until it has been listed to its end.
        """
        with errors_explained(self._folder):
            return (self._folders if batch.source == _FILES else self._objects).recall(batch)

    def store_results(self, answer: BatchResult) -> list[FileResult]:
        """Store the results of reading a batch; return them with the numbers of their contents."""
        if not answer.kept:
            return list(answer.results)
        now = int(time.time())
        results = []
        with errors_explained(self._folder):
            for result, kept in zip(answer.results, answer.kept, strict=True):
                if kept is None:
                    results.append(result)
                    continue
                lacking = result.reason is Reason.UNSUPPORTED
                flags = LOW * result.low_quality | ODD * (result.reason is not None) | LACKING * lacking
                limited = result.reason in LIMIT_REASONS or (result.reason and kept.members is not None)
                flags |= LIMITED * bool(limited)
                content = self._contents.add(kept, flags, now)
                if result.verdict in FINDINGS:
                    self._contents.hit(content)
                other = kept.other_than_listed
                results.append(
                    structs.replace(result, content=content, ctime=kept.ctime, other_than_listed=other)
                )
        return results

    def record_checked(
        self, batch: Batch, item: Item, content: int | None, ctime: CtimeTrust = CtimeTrust.FILESYSTEM
    ) -> str:
        """Record that a file which had to be read has its verdict.

        Returns:
            The earlier SHA-256 in hex where only the content shows that the file has changed; else an empty
            string.
        """
        with errors_explained(self._folder):
            if batch.source == _FILES:
                self._folders.record_checked(batch, item, content, ctime)
            else:
                self._objects.record_checked(batch, item, content)
            if not self.rereading.waits:
                # In nearly all scans nothing waits, so that no path need be built for each file.
                return ""
            path = full_path(batch.target, batch.folder, item.name)
            return self.rereading.compare(path, item.version, content)

    def postpone(self, batch: Batch, item: Item) -> None:
        """Let a file that must be read be read only after its folder is no longer in memory."""
        if batch.source == _FILES:
            with errors_explained(self._folder):
                self._folders.postpone(batch, item)

    def mark_incomplete(self, target: bytes, folder: bytes) -> None:
        """Mark a folder as not listed to its end, so that files that were not met may still exist."""
        with errors_explained(self._folder):
            self._folders.break_off(target, folder)

    def commit_batch(self, batch: Batch) -> None:
        """Commit after a batch's files are recorded as checked, so that their results survive a crash."""
        with errors_explained(self._folder):
            if batch.source == _FILES:
                self._folders.answered(batch)
            self._commit()

    def commit_if_due(self) -> None:
        """Commit if the last commit is more than a second old; to be called often.

        Without this, files that are checked without reading would accumulate in memory.
        """
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            with errors_explained(self._folder):
                self._commit()

    def _commit(self) -> None:
        self._folders.see()
        self._object_rows.commit()
        now = time.monotonic()
        if now - self._synced > _SYNC_SECONDS:
            self._rows.index_contents()
            self._contents.sync()
            self._synced = now
        self._contents.commit()
        self._gains.commit()
        self._database.execute("COMMIT")
        self._database.execute("BEGIN IMMEDIATE")
        self._committed = now

    @property
    def has_open_findings(self) -> bool:
        """True if there are open findings, so that clean files must be recorded, too."""
        return self._findings.any_open

    def store_finding(self, path: bytes, item: Item, result: FileResult, customer: str = "") -> None:
        """Store the result of a file, or of a version of an object.

        Args:
            customer: the customer who must act on it; empty where no rule names one.
        """
        with errors_explained(self._folder):
            place = self._place(path, item.version)
            self._findings.store(place, result, self._scopes.scan, etag=item.etag, customer=customer)

    def _place(self, path: bytes, version: str) -> Place:
        return Place(path, version, "" if path.startswith(b"/") else self._endpoint)

    def record_unchecked(self, path: bytes, version: str = "") -> None:
        """Record that a path exists but was not checked."""
        self._findings.leave(self._place(path, version))

    def finish(
        self,
        files: Mapping[bytes, int],
        *,
        listed: bool,
        whole: bool,
        closed: bool,
        accept_shrink: bool,
        left: Mapping[bytes, Sequence[bytes]] | None = None,
    ) -> ScanOutcome:
        """End the scan.

        Args:
            whole: True if everything was checked, as far as folders could be listed.
            closed: True if some folders could not be listed.
            accept_shrink: treat whatever is missing as gone.
            left: by target, the folders beneath it to begin with in the next scan; None where targets aren't
                walked.
        """
        with errors_explained(self._folder):
            self._folders.finish(listed=listed)
            if left is not None:
                self._scopes.store_unreached(left)
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
            self._rows.index_contents()
            self._contents.sync()
            self._commit()
            return ScanOutcome(
                shrunken,
                [
                    record
                    for found in standing
                    for record in self._deriving.open_finding_record(
                        found, answered=self._findings.is_covered(found)
                    )
                ],
            )

    def store_held(self, held: Iterable[Record]) -> None:
        """Store the verdict held for findings that were held after all, given by their records."""
        with errors_explained(self._folder):
            self._findings.hold((self._place(path_bytes(r), r.get("version", "")), r) for r in held)
            self._commit()

    def store_start(self, begun: Record) -> None:
        """Store the start of the scan, from the first record of its report."""
        with errors_explained(self._folder):
            begin_account(self._database, self._scopes.scan, begun)
            self._commit()

    def store_end(self, summary: Record, exit_code: int, incomplete: Sequence[Shortcoming]) -> None:
        """Store the end of the scan."""
        with errors_explained(self._folder):
            conclude_account(self._database, self._scopes.scan, summary, exit_code, incomplete)
            self._commit()


def open_scan_state(
    settings: ScanSettings,
    setup: WorkerSetup,
    sources: Sequence[Source],
    notify: Callable[[str], None],
    services: Sequence[StoredService] = (),
    show: Callable[[str], None] | None = None,
) -> ScanState:
    """Open the state of files and objects from earlier scans.

    Raises:
        UsageError: the key of a matching service can't be read.
        OutputError: it can't be used.
    """
    assert settings.state is not None
    files = [source for source in sources if isinstance(source, FilesystemSource)]
    lone = [t for source in files for t, p in zip(source.targets, source.paths, strict=True) if t != p]
    shard = settings.shard
    left_out = {
        "exclude": settings.exclude,
        "ignore_file": None if settings.ignore_file is None else str(settings.ignore_file),
        "one_file_system": settings.one_file_system,
        "max_file_size": settings.max_file_size,
    }
    containers: dict[bytes, list[bytes]] = {}
    if settings.inventory is None:
        # An inventory is days old, and does not show what has changed since.
        for source in sources:
            if isinstance(source, ObjectSource):
                for target, path in zip(source.containers, source.paths, strict=True):
                    containers.setdefault(target, []).append(path)
    scopes = Scopes(
        [target for source in files for target in source.targets],
        "" if shard is None else f"{shard.index}/{shard.count}",
        left_out,
        lone=lone,
        named=settings.files_from is not None,
        containers={
            target: Container(
                tuple(sorted(paths)), all_versions=settings.all_versions, endpoint=settings.access.endpoint
            )
            for target, paths in containers.items()
        },
        taken=QuarantinedFiles(settings.state, notify),
    )
    return ScanState(
        settings.state,
        setup,
        scopes,
        with_digests=settings.with_digests,
        weak=settings.weak_change_check,
        reread=settings.reread,
        accept_cleared=settings.accept_cleared,
        notify=notify,
        services=services,
        show=show,
    )
