"""The list owner's working folder in the hands of one process, after what killed ones left was put right."""

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
from hashscan.lists.lock import sole_writer
from hashscan.lists.published import file_names, open_published
from hashscan.lists.publishing import rotation
from hashscan.lists.publishing.pending import PENDING, Pending
from hashscan.lists.publishing.publication import Publication
from hashscan.lists.publishing.publisher_state import PublisherState, read_state, write_state
from hashscan.lists.publishing.revision import PublishedEntries
from hashscan.lists.publishing.superseded import prune
from hashscan.lists.repository import METADATA, TARGETS, load_manifest
from hashscan.model import ListInfo

STAGING = ".staging"
"""Folder in the published one, for what is not published yet; on the same file system."""
_LOCK = ".lock"
_REMEDY = "restore the folder, or release anew"


@dataclass(frozen=True, slots=True)
class Published:
    """The version that is published."""

    info: ListInfo
    entries: PublishedEntries


@dataclass(slots=True)
class Workroom:
    """What a command needs of a list's working folder while it holds the lock."""

    work: Path
    state: PublisherState
    publication: Publication

    @property
    def staging(self) -> Path:
        """A folder for what is not published yet; empty at first."""
        return self.state.repository / STAGING

    @property
    def root(self) -> bytes:
        """The newest root."""
        return (self.work / rotation.ROOT_NAME).read_bytes()

    @property
    def pending(self) -> Pending:
        """What waits."""
        return Pending(self.work, self.state.pending)

    def published(self, now: datetime) -> Published | None:
        """The published version, after every file was compared with its signed hash; None before the first.

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
        """Write the state down, and remove what it names no more unless told not to.

        Raises:
            OSError: it can't be written.
        """
        write_state(self.work, state)
        self.state = state
        if clear:
            self.clear()

    def renew(self, now: datetime) -> Publication:
        """Look at what is signed after a change; files that are named no more go when their time has come.

        Raises:
            ListTrustError: it doesn't hold.
            OSError: a folder can't be read or written.
        """
        self.publication = Publication.read(self.state.repository, self.root)
        verified = self.publication.verified
        if verified:
            targets = [target.file_name for target in verified.targets.values()]
            prune(self.work, self.state.repository, verified.metadata_names, targets, now)
        return self.publication

    def catch_up(self) -> None:
        """Bring the state up to what a killed release may have published.

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
        """Remove what killed commands left, and what waits no more.

        Raises:
            OSError: it can't be removed.
        """
        remove_leftovers(self.work)
        remove_leftovers(self.state.keys)
        remove_leftovers(self.state.repository / METADATA)
        kept = {operation.name for operation in self.state.pending}
        for folder in (self.staging, *(self.work / PENDING).glob("*")):
            if folder.name not in kept and folder.exists():
                shutil.rmtree(folder)


@contextmanager
def opened(work: Path) -> Iterator[Workroom]:
    """Keep other processes out, and finish or undo what killed ones began.

    Raises:
        UsageError: it is no working folder.
        ListTrustError: the published folder doesn't hold what was signed.
        LockedError: another process writes this list.
        OutputError: a folder can't be read or written, also by the body.
    """
    with output_errors("the list's working or published folder can't be used"):
        # Before the lock, which would be made in a folder that is none of ours.
        state = read_state(work)
        with sole_writer(work / _LOCK, f"the list in {work}"):
            state = read_state(work)
            rotation.finish(work, state.repository)
            publication = Publication.read(state.repository, (work / rotation.ROOT_NAME).read_bytes())
            room = Workroom(work, state, publication)
            room.catch_up()
            room.clear()
            try:
                yield room
            except ColumnError as error:
                raise OutputError(f"a file of the list has changed while it was read: {error}") from error


def seconds(now: datetime | None) -> datetime:
    """A time for signing: UTC, in whole seconds as TUF writes them; the present one if none is given."""
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
