"""The list owner's working folder under the lock of one process: recovery, pruning and status.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from hashscan.atomic_files import output_errors, remove_leftovers, replace_file, sync_folder
from hashscan.errors import ListTrustError, OutputError, UsageError
from hashscan.lists.filters.format import INDEX_NAME, FilterError, FilterIndex
from hashscan.lists.publishing import rotation
from hashscan.lists.publishing.metadata import (
    SIGNING_ROLES,
    Publication,
    new_target,
    publish,
    signed_release,
)
from hashscan.lists.publishing.next_version import PENDING, Pending, PublishedEntries
from hashscan.lists.publishing.publisher_state import (
    PublisherState,
    ReleaseInProgress,
    read_state,
    write_state,
)
from hashscan.lists.storage.columns import ColumnError
from hashscan.lists.storage.signed_list import (
    METADATA,
    TARGETS,
    DamagedFileError,
    file_names,
    intact_target,
    load_manifest,
    open_published,
)
from hashscan.locking import LockFile
from hashscan.model import ListInfo
from hashscan.schema import InvalidDocumentError, decode_file, encode_file

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

SUPERSEDED_NAME = "superseded.json"
KEPT_FOR = timedelta(days=2)
"""Time for which a file stays after the newest version ceased to name it; a longer pull must start again."""
_ROOT = re.compile(r"\d+\.root\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Superseded:
    since: dict[str, Annotated[datetime, Meta(tz=True)]]
    """The time since when the newest version has not named a file of the published folder."""


def prune(
    work: Path, repository: Path, metadata: Collection[str], targets: Collection[str], now: datetime
) -> None:
    """Remove files that have not been named for `KEPT_FOR` by the newest version; roots stay in any case. The
    caller holds the lock. The time (UTC) at which each file ceased to be named is stored in the working
    folder. For a file of unknown age the time starts now."""
    unnamed = {
        f"{folder}/{path.name}"
        for folder in (METADATA, TARGETS)
        for path in (repository / folder).iterdir()
        if path.is_file() and not (folder == METADATA and _ROOT.fullmatch(path.name))
    }
    unnamed -= {f"{METADATA}/{name}" for name in metadata} | {f"{TARGETS}/{name}" for name in targets}
    try:
        known = decode_file((work / SUPERSEDED_NAME).read_bytes(), _Superseded).since
    except (FileNotFoundError, InvalidDocumentError):
        known = {}  # Files only stay longer.
    since = {name: known.get(name, now) for name in sorted(unnamed)}
    expired = [name for name, ceased in since.items() if now - ceased >= KEPT_FOR]
    for name in expired:
        (repository / name).unlink()
        del since[name]
    if expired:
        sync_folder(repository / METADATA)
        sync_folder(repository / TARGETS)
    if since != known:
        replace_file(work / SUPERSEDED_NAME, encode_file(_Superseded(since)))


STAGING = ".staging"
"""Folder in the published folder for files that are not published yet, so that both are on one filesystem."""
_LOCK = ".lock"
_REMEDY = "restore the folder, or release anew"


@dataclass(frozen=True, slots=True)
class Published:
    """The published version."""

    info: ListInfo
    entries: PublishedEntries


_MANY_INCREMENTS = 100
"""Number of increments from which compacting pays; a subscriber downloads some files for each."""
_WITHDRAWN_SHARE = 10
"""Compacting pays if more than one row in this many is withdrawn, since those rows are downloaded in vain."""


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """The status of a list for its owner."""

    published: ListInfo | None
    """The published version; None before the first release."""
    state: PublisherState
    increments: int
    """Number of parts on top of the base; compacting merges them into it."""
    rows: int
    """Number of published rows, including withdrawn ones: the size of a first pull."""
    expiries: Mapping[str, datetime]
    """Expiry of the metadata of each role; of the root only before the first release."""
    running_out: Mapping[str, datetime]
    """The expiries of roles that have less than a third of their validity left."""
    keys: Mapping[str, tuple[tuple[str, ...], int]]
    """For each role the ids of its keys, and the number of keys that must sign."""
    filters: FilterIndex | None = None
    """The published filters; None where a list is published."""

    @property
    def compaction_pays(self) -> bool:
        """True if there are many increments, or many withdrawn rows compared with the entries."""
        withdrawn = self.rows - self.published.entries if self.published else 0
        return self.increments >= _MANY_INCREMENTS or withdrawn > self.rows // _WITHDRAWN_SHARE


@dataclass(slots=True)
class Workspace:
    """A list's working folder, opened by a command that holds its lock."""

    work: Path
    state: PublisherState
    publication: Publication

    @property
    def staging(self) -> Path:
        return self.state.repository / STAGING

    @property
    def root(self) -> bytes:
        return (self.work / rotation.ROOT_NAME).read_bytes()

    @property
    def pending(self) -> Pending:
        return Pending(self.work, self.state.pending)

    def published(self, now: datetime) -> Published | None:
        """Return the published version, or None, after comparing every file with its signed hash; filters are
        published elsewhere."""
        verified = self.publication.verified
        if verified is None:
            return None
        if INDEX_NAME in verified.targets:
            raise UsageError(
                f"{self.work} publishes filters, and no list",
                advice="Name the working folder of a list, or begin one with `hashscan publish init`.",
            )
        repository = self.state.repository
        opened = open_published(self.state.name, repository, self.root, now, remedy=_REMEDY)
        if opened.manifest is None:
            raise ListTrustError(
                f"{repository} can't be relied on: {opened.info.problem}",
                advice="Restore the published folder from a backup or a mirror.",
            )
        entries = PublishedEntries(repository / TARGETS, opened.manifest, file_names(verified))
        return Published(opened.info, entries)

    def filters(self) -> FilterIndex | None:
        """Return the index of the published filters; None if no filter is published here."""
        if self.publication.verified is None or INDEX_NAME not in self.publication.verified.targets:
            return None
        try:
            return FilterIndex.decode(self.target(INDEX_NAME).read_bytes())
        except FilterError as error:
            raise ListTrustError(f"{self.state.repository} can't be relied on: {error}") from error

    def target(self, name: str) -> Path:
        """Return the file of a published target, after comparing it with its signed hash."""
        verified = self.publication.verified
        signed = None if verified is None else verified.targets.get(name)
        try:
            if signed is None:
                raise DamagedFileError(f"there is no target {name}")
            return intact_target(signed, self.state.repository)
        except DamagedFileError as error:
            raise ListTrustError(
                f"{self.state.repository} can't be relied on: {error}",
                advice="Restore the published folder from a backup or a mirror.",
            ) from error

    def status(self, now: datetime) -> PublisherStatus:
        """Return the published version, the pending operations, and the expiries of signatures."""
        filters, expiries = self.filters(), self.publication.expiries
        published = None if filters else self.published(now)
        manifest = published.entries.manifest if published else None
        return PublisherStatus(
            published.info if published else None,
            self.state,
            len(manifest.parts) - 1 if manifest else 0,
            manifest.rows().total() if manifest else 0,
            expiries,
            self.state.expiry.running_out(expiries, now),
            {
                role: (tuple(sorted(trusted.keyids)), trusted.threshold)
                for role, trusted in self.publication.root.roles.items()
            },
            filters,
        )

    def signers(self, passphrase: bytes | None, now: datetime) -> dict[str, Sequence[Signer]]:
        self.publication.check_root(now)
        return self.publication.signers(SIGNING_ROLES, self.state.keys, passphrase)

    def release(
        self,
        names: Collection[str],
        done: int,
        signers: Mapping[str, Sequence[Signer]],
        now: datetime,
    ) -> None:
        """Sign and publish the next version: the targets in the staging folder, and published ones; it
        contains the first `done` pending operations. After an error, the old version or the new one is
        published."""
        publication, state, version = self.publication, self.state, self.state.released + 1
        staged = [new_target(path) for path in sorted(self.staging.iterdir())]
        targets = {name: info for name, info in publication.targets.items() if name in names}
        targets |= {target.info.path: target.info for target in staged}
        first = SIGNING_ROLES[0]
        files = signed_release(first, targets, publication.versions, signers, state.expiry, now)
        publication.check(files)
        # Otherwise a release killed after this would look like a working folder restored from an old backup.
        self.remember(replace(state, upcoming=ReleaseInProgress(version, done)), clear=False)
        for target in staged:
            (self.staging / target.info.path).rename(state.repository / TARGETS / target.file_name)
        sync_folder(state.repository / TARGETS)
        publish(state.repository, files)
        self.remember(replace(state, released=version, pending=state.pending[done:], upcoming=None))
        self.renew(now)

    def remember(self, state: PublisherState, *, clear: bool = True) -> None:
        """Write the state, and unless `clear` is False remove the files that it no longer names."""
        write_state(self.work, state)
        self.state = state
        if clear:
            self.clear()

    def renew(self, now: datetime) -> Publication:
        """Read the signed metadata after a change, and remove files that have long ceased to be named."""
        self.publication = Publication.read(self.state.repository, self.root)
        verified = self.publication.verified
        if verified:
            targets = [target.file_name for target in verified.targets.values()]
            prune(self.work, self.state.repository, verified.metadata_names, targets, now)
        return self.publication

    def catch_up(self) -> None:
        """Update the state to what a killed release may have published."""
        state, verified = self.state, self.publication.verified
        if filters := self.filters():
            version = filters.release
        else:
            version = load_manifest(verified, state.repository).version if verified else 0
        if version < state.released:
            raise ListTrustError(
                f"{state.repository} holds version {version}, but {state.released} was released",
                advice="Restore the published folder; subscribers refuse to go back.",
            )
        if version == state.released:
            return
        if state.upcoming and state.upcoming.version == version:
            left = state.pending[state.upcoming.done :]
        elif any((self.work / PENDING / operation.name).exists() for operation in state.pending):
            raise OutputError(
                f"{self.work} was left behind at version {state.released}, but {version} is published",
                advice="Restore its newest copy. If that is lost, remove the folder "
                f"{self.work / PENDING}: then what waits there is forgotten, and you can add it again.",
            )
        else:
            left = ()
        self.remember(replace(state, released=version, pending=left, upcoming=None))

    def clear(self) -> None:
        """Remove what killed commands left, and files that are no longer pending."""
        remove_leftovers(self.work)
        remove_leftovers(self.state.keys)
        remove_leftovers(self.state.repository / METADATA)
        kept = {operation.name for operation in self.state.pending}
        for folder in (self.staging, *(self.work / PENDING).glob("*")):
            if folder.name not in kept and folder.exists():
                shutil.rmtree(folder)


@contextmanager
def opened(work: Path) -> Iterator[Workspace]:
    """Lock the working folder, and finish or undo what killed processes began."""
    with output_errors("the list's working or published folder can't be used"):
        # Read before locking, since the lock file must not be created in a folder that is not a working
        # folder.
        state = read_state(work)
        with LockFile(work / _LOCK, f"another process is writing the list in {work}"):
            state = read_state(work)
            rotation.finish(work, state.repository)
            publication = Publication.read(state.repository, (work / rotation.ROOT_NAME).read_bytes())
            workspace = Workspace(work, state, publication)
            workspace.catch_up()
            workspace.clear()
            try:
                yield workspace
            except ColumnError as error:
                raise OutputError(f"a file of the list has changed while it was read: {error}") from error


def seconds(now: datetime | None) -> datetime:
    """Return a time for signing: UTC, in whole seconds as TUF writes them; the present if `now` is None."""
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
