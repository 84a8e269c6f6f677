"""Pulls the newest version of a signed list from one location into the list's folder."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hashscan.errors import ListTrustError
from hashscan.lists.difference import ActivationCheck, difference_in
from hashscan.lists.index.preparation import INDEX, compile_new
from hashscan.lists.pulling.assembly import Download, assemble
from hashscan.lists.pulling.credentials import Credentials
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.pulling.pull_state import Validators
from hashscan.lists.storage.atomic_files import replace_file, sync_file, sync_folder
from hashscan.lists.storage.layout import ListFolder, private_folder
from hashscan.lists.storage.signed_list import (
    CLOCKS_MAY_DIFFER,
    METADATA,
    TARGETS,
    OpenedList,
    open_repository,
    read_metadata,
)
from hashscan.lists.storage.stored_version import COLUMNS, VerificationLevel
from hashscan.model import ListInfo

if TYPE_CHECKING:
    from hashscan.lists.pulling.fetching import StagingFetcher
    from hashscan.lists.storage.trust import SignedTarget, VerifiedMetadata
    from hashscan.lists.storage.tuf_api import Updater

_ROLES = ("timestamp", "snapshot", "targets")
_ROOT_HISTORY = "root_history"


class PullProgress(Protocol):
    """A receiver of a pull's progress."""

    def expect(self, count: int) -> None:
        """Receive the number of bytes that are still to come, once it is known."""

    def received(self, count: int) -> None:
        """Receive the number of bytes of each piece that arrived."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The result of a pull."""

    info: ListInfo
    """The newest version, which is active now, or staged."""
    previous: int | None
    """The version that was active before; None if there was none that could be trusted."""
    changed: bool
    """True if anything new was activated or staged: entries, or only newer signatures."""
    staged: bool
    """True if the newest version is staged, and the previous one is still active."""
    withheld: bool
    """True if it is staged because it was not admitted."""
    fetched: int
    """Number of bytes of targets that were downloaded; the rest was here already."""
    problems: tuple[str, ...] = ()
    """Errors of the locations that were skipped."""


class LocationPull:
    """One pull of one list from one location; the caller holds the list's lock."""

    def __init__(
        self,
        name: str,
        folder: ListFolder,
        origin: Origin,
        location: str,
        credentials: Credentials,
        watch: PullProgress | None,
    ) -> None:
        """Prepare to pull.

        Args:
            name: name of the list.
            folder: folder of the list.
            origin: origin of the list.
            location: its source or one of its mirrors.
            credentials: credentials for its web servers.
            watch: receives the progress.

        Raises:
            OSError: the trusted root can't be read.
        """
        self._name = name
        self._folder = folder
        self._staging = folder.staging
        self._origin = origin
        self._location = location
        self._credentials = credentials
        self._watch = watch
        self._root = folder.root.read_bytes()

    def run(self, *, stage: bool, admits: ActivationCheck | None) -> Pulled:
        """Pull, and activate or stage the new version.

        Args:
            stage: True to stage it.
            admits: if given, decides before the activation; a version that it refuses is staged.

        Raises:
            UnreachableError: the location can't be reached, or its answers are not a list.
            ListTrustError: signatures, versions, expiry or hashes are not valid.
            OSError: the list's folder can't be written.
        """
        from hashscan.lists.pulling.http_fetcher import fetcher_for

        self._prepare_staging()
        validators = Validators(self._folder.validators, self._folder.tuf / "timestamp.json")
        address, fetcher = fetcher_for(
            self._location,
            self._origin,
            self._credentials,
            self._staging,
            validators=validators,
            received=self._watch.received if self._watch else None,
        )
        with closing(fetcher):
            updater = self._updater(address, fetcher)
            with self._source_errors():
                updater.refresh()
            validators.save()
            return self._take_over(updater, fetcher, stage, admits)

    def _take_over(
        self, updater: Updater, fetcher: StagingFetcher, stage: bool, admits: ActivationCheck | None
    ) -> Pulled:
        """Activate or stage the version that the refreshed metadata names."""
        from hashscan.lists.storage import trust

        now = datetime.now(UTC)
        active, staged = self._folder.active(), self._folder.staged()
        before = self._opened(active, now) if active else None
        previous = before.info.version if before and before.handle else None
        self._stage_metadata()
        verified = trust.verify(self._root, lambda file: read_metadata(self._staging, file))
        if active and before and before.handle and self._same_metadata(active, verified):
            # A staged version can only be older.
            self._folder.drop_staged()
            self._folder.remove_superseded()
            return Pulled(before.info, previous, changed=False, staged=False, withheld=False, fetched=0)

        ready = self._opened(staged, now) if staged and self._same_metadata(staged, verified) else None
        if staged and ready and ready.handle:
            finished, info, fetched = staged, ready.info, 0
        else:
            info, fetched = self._assembled(updater, fetcher, verified, now)
            finished = self._folder.finish_staging(info.version)
        if stage or admits:
            self._folder.stage(finished)
        withheld = not stage and admits is not None and not self._admitted(admits, previous)
        if not stage and not withheld:
            self._folder.activate(finished)
        self._folder.remove_superseded()
        kept_aside = stage or withheld
        changed = not kept_aside or finished != staged
        return Pulled(info, previous, changed, staged=kept_aside, withheld=withheld, fetched=fetched)

    def _admitted(self, admits: ActivationCheck, previous: int | None) -> bool:
        """Return True if the staged version may be activated; both versions have just been fully compared."""
        with difference_in(
            self._folder, self._name, from_nothing=previous is None, thoroughness=VerificationLevel.SIZES
        ) as compared:
            return admits(compared)

    def _assembled(
        self, updater: Updater, fetcher: StagingFetcher, verified: VerifiedMetadata, now: datetime
    ) -> tuple[ListInfo, int]:
        """Assemble the new version in the staging folder; return its info and the number of bytes fetched."""
        earlier = list(self._folder.finished_versions())
        expect = self._watch.expect if self._watch else None
        fetched = assemble(self._staging, verified, earlier, self._download(updater), fetcher.give_up, expect)
        # All of it has just been compared with what was signed.
        opened = open_repository(
            self._name, self._staging, self._root, now, thoroughness=VerificationLevel.SIZES
        )
        if opened.handle is None:
            raise ListTrustError(f"the new version of {self._name!r} can't be used: {opened.info.problem}")
        _check_clock(opened, now)
        compile_new(opened.handle, self._staging, earlier)
        return opened.info, fetched

    def _opened(self, version: Path, now: datetime) -> OpenedList:
        return open_repository(self._name, version, self._root, now, thoroughness=VerificationLevel.CHECKSUMS)

    def _source_errors(self) -> AbstractContextManager[None]:
        from hashscan.lists.pulling.fetching import source_errors

        return source_errors(self._location, self._credentials.hidden)

    def _prepare_staging(self) -> None:
        """Prepare the staging folder; keep what `assemble` and `compile_new` can resume, remove the rest."""
        private_folder(self._staging)
        for leftover in self._staging.iterdir():
            if leftover.name in {TARGETS, COLUMNS, INDEX}:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        private_folder(self._staging / METADATA)

    def _updater(self, address: str, fetcher: StagingFetcher) -> Updater:
        """Return tuf's client, which stores the metadata it has seen, to prevent a rollback."""
        from tuf.api.exceptions import RepositoryError

        from hashscan.lists.storage import trust
        from hashscan.lists.storage.tuf_api import Updater

        tuf = self._folder.tuf
        private_folder(tuf / _ROOT_HISTORY)
        for leftover in tuf.iterdir():
            if leftover.name not in {_ROOT_HISTORY, "root.json", *(f"{role}.json" for role in _ROLES)}:
                leftover.unlink()
        try:
            return Updater(
                str(tuf),
                f"{address}{METADATA}/",
                target_base_url=f"{address}{TARGETS}/",
                fetcher=fetcher,
                config=trust.LIMITS,
                bootstrap=self._root,
            )
        except RepositoryError as error:
            raise ListTrustError(f"the trusted root of {self._name!r} doesn't hold: {error}") from error

    def _stage_metadata(self) -> None:
        """Copy the metadata that tuf's client verified into the new version, under its published names."""
        from hashscan.lists.storage.tuf_api import Metadata, Root

        tuf, staged = self._folder.tuf, self._staging / METADATA
        trusted_version = Metadata[Root].from_bytes(self._root).signed.version
        last_version = Metadata[Root].from_bytes((tuf / "root.json").read_bytes()).signed.version
        for version in range(trusted_version + 1, last_version + 1):
            name = f"{version}.root.json"
            replace_file(staged / name, (tuf / _ROOT_HISTORY / name).read_bytes())
        for role in _ROLES:
            path = tuf / f"{role}.json"
            # tuf's client renames without syncing; after a power cut an empty file would let a rollback pass.
            sync_file(path)
            data = path.read_bytes()
            version = Metadata.from_bytes(data).signed.version
            replace_file(staged / (path.name if role == "timestamp" else f"{version}.{path.name}"), data)
        sync_folder(tuf / _ROOT_HISTORY)
        sync_folder(tuf)

    def _same_metadata(self, version: Path, verified: VerifiedMetadata) -> bool:
        """Return True if a finished version has exactly the metadata just downloaded."""
        return all(
            read_metadata(version, name) == read_metadata(self._staging, name)
            for name in verified.metadata_names
        )

    def _download(self, updater: Updater) -> Download:
        """Return a function that downloads targets from the source."""

        def download(target: SignedTarget, path: Path) -> None:
            with self._source_errors():
                updater.download_target(target.info, filepath=str(path))

        return download


def _check_clock(opened: OpenedList, now: datetime) -> None:
    """Refuse a version made in the future by this machine's clock: such a clock can't tell what has expired.

    Raises:
        ListTrustError: the version is from the future.
    """
    created = opened.manifest.created if opened.manifest else now
    if created > now + CLOCKS_MAY_DIFFER:
        raise ListTrustError(
            f"version {opened.info.version} was made at {created:%Y-%m-%dT%H:%M:%SZ}, which by this "
            f"machine's clock, {now:%Y-%m-%dT%H:%M:%SZ}, has yet to come",
            advice="Check this machine's clock. If it is right, tell the list's owner to check theirs; "
            "the last good version stays in use.",
        )
