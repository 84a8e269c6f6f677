"""The list owner's working folder under the lock of one process, after recovery from killed processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hashscan.errors import ListTrustError, OutputError
from hashscan.lists.columns import ColumnError
from hashscan.lists.durable import output_errors, remove_leftovers
from hashscan.lists.published import file_names, open_published
from hashscan.lists.publishing import rotation
from hashscan.lists.publishing.pending import PENDING, Pending
from hashscan.lists.publishing.publication import Publication
from hashscan.lists.publishing.publisher_state import PublisherState, read_state, write_state
from hashscan.lists.publishing.revision import PublishedEntries
from hashscan.lists.publishing.superseded import prune
from hashscan.lists.repository import METADATA, TARGETS, load_manifest
from hashscan.locking import LockFile
from hashscan.model import ListInfo

STAGING = ".staging"
"""Folder in the published folder for files that are not published yet, so that both are on one filesystem."""
_LOCK = ".lock"
_REMEDY = "restore the folder, or release anew"


@dataclass(frozen=True, slots=True)
class Published:
    """The published version."""

    info: ListInfo
    entries: PublishedEntries


@dataclass(slots=True)
class Workspace:
    """A list's working folder, opened by a command that holds its lock."""

    work: Path
    state: PublisherState
    publication: Publication

    @property
    def staging(self) -> Path:
        """A folder for files that are not published yet; empty at first."""
        return self.state.repository / STAGING

    @property
    def root(self) -> bytes:
        """The newest root."""
        return (self.work / rotation.ROOT_NAME).read_bytes()

    @property
    def pending(self) -> Pending:
        """The pending operations."""
        return Pending(self.work, self.state.pending)

    def published(self, now: datetime) -> Published | None:
        """Return the published version, or None, after comparing every file with its signed hash.

        Raises:
            ListTrustError: a file is not what was signed.
            OSError: a file can't be read.
        """
        verified = self.publication.verified
        if verified is None:
            return None
        repository = self.state.repository
        opened = open_published(self.state.name, repository, self.root, now, remedy=_REMEDY)
        if opened.manifest is None:
            raise ListTrustError(
                f"{repository} can't be relied on: {opened.info.problem}",
                advice="Restore the published folder from a backup or a mirror.",
            )
        entries = PublishedEntries(repository / TARGETS, opened.manifest, file_names(verified))
        return Published(opened.info, entries)

    def remember(self, state: PublisherState, *, clear: bool = True) -> None:
        """Write the state, and unless `clear` is False remove the files that it no longer names.

        Raises:
            OSError: the state can't be written.
        """
        write_state(self.work, state)
        self.state = state
        if clear:
            self.clear()

    def renew(self, now: datetime) -> Publication:
        """Read the signed metadata after a change, and remove files that have long ceased to be named.

        Raises:
            ListTrustError: the metadata is not valid.
            OSError: a folder can't be read or written.
        """
        self.publication = Publication.read(self.state.repository, self.root)
        verified = self.publication.verified
        if verified:
            targets = [target.file_name for target in verified.targets.values()]
            prune(self.work, self.state.repository, verified.metadata_names, targets, now)
        return self.publication

    def catch_up(self) -> None:
        """Update the state to what a killed release may have published.

        Raises:
            ListTrustError: the published folder is older than the state.
            OutputError: the working folder is older than what is published.
            OSError: a folder can't be read or written.
        """
        state, verified = self.state, self.publication.verified
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
        """Remove what killed commands left, and files that are no longer pending.

        Raises:
            OSError: a file can't be removed.
        """
        remove_leftovers(self.work)
        remove_leftovers(self.state.keys)
        remove_leftovers(self.state.repository / METADATA)
        kept = {operation.name for operation in self.state.pending}
        for folder in (self.staging, *(self.work / PENDING).glob("*")):
            if folder.name not in kept and folder.exists():
                shutil.rmtree(folder)


@contextmanager
def opened(work: Path) -> Iterator[Workspace]:
    """Lock the working folder, and finish or undo what killed processes began.

    Raises:
        UsageError: the folder is not a working folder.
        ListTrustError: the published folder is not what was signed.
        LockedError: another process is writing this list.
        OutputError: a folder can't be read or written, also by the body.
    """
    with output_errors("the list's working or published folder can't be used"):
        # Read before locking, since the lock file must not be created in a folder that is not a working
        # folder.
        state = read_state(work)
        with LockFile(work / _LOCK, f"another process is writing the list in {work}"):
            state = read_state(work)
            rotation.finish(work, state.repository)
            publication = Publication.read(state.repository, (work / rotation.ROOT_NAME).read_bytes())
            room = Workspace(work, state, publication)
            room.catch_up()
            room.clear()
            try:
                yield room
            except ColumnError as error:
                raise OutputError(f"a file of the list has changed while it was read: {error}") from error


def seconds(now: datetime | None) -> datetime:
    """Return a time for signing: UTC, in whole seconds as TUF writes them; the present if `now` is None."""
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
