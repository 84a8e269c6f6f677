"""The folder of a stored list: its layout, its locks, and the atomic switch from one version to another.

NAME/root.json      the root that the administrator trusts     (signed lists)
NAME/source.json    where to pull from                         (signed lists)
NAME/tuf/           metadata seen so far, against rollback     (signed lists)
NAME/validators.json HTTP validators of the timestamp          (signed lists)
NAME/exchange.json  which exchange to pull from                (lists of exchanges)
NAME/records.sqlite what the exchange has sent so far          (lists of exchanges)
NAME/attempts.json  results of the last pulls                  (lists that are pulled)
NAME/recent_hits.json known files that versions of the last week matched (lists that are pulled)
NAME/identity       stays when the entries are replaced        (all but signed lists)
NAME/filter/        the filter that the service names, see `filters.fetching` (matching services)
NAME/service.json   address and settings of the service        (matching services)
NAME/accepted.json  what a person has accepted, see `lists.acceptance`
NAME/added.sqlite   entries that came since
NAME/staging/       the next version while it is being made
NAME/versions/X/    finished versions, each with metadata/ and targets/
NAME/active         symlink to the active version
NAME/staged         symlink to the staged version, which is ready for activation
.NAME.lock          lock of the writer
"""

from __future__ import annotations

import os
import secrets
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from hashscan.atomic_files import (
    PRIVATE_FOLDER,
    TEMPORARY_PREFIX,
    remove_leftovers,
    replace_file,
    replace_link,
    sync_folder,
)
from hashscan.errors import OutputError, UsageError
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.locking import ReadLock, claimed_for_removal

DEMO = "demo"
"""Name of the list that comes with the program; no stored list may have it."""


class ListFolder:
    """The folder of one stored list, with the paths of its files and folders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path.with_name(f".{path.name}.lock")
        """It is beside the folder, so that it remains when the folder is removed."""
        self.root = path / "root.json"
        self.source = path / "source.json"
        """Exists if and only if the list is signed."""
        self.exchange = path / "exchange.json"
        """Exists if and only if the list is pulled from an exchange."""
        self.records = path / "records.sqlite"
        self.tuf = path / "tuf"
        self.validators = path / "validators.json"
        self.attempts = path / "attempts.json"
        self.recent_hits = path / "recent_hits.json"
        self.identity = path / "identity"
        self.service = path / "service.json"
        """Exists if and only if the list is a matching service."""
        self.accepted = path / "accepted.json"
        self.added = path / "added.sqlite"
        self.staging = path / "staging"
        """A writer may reuse the files that a killed writer left in it."""
        self.versions = path / "versions"
        self.active_link = path / "active"
        self.staged_link = path / "staged"

    @property
    def is_pulled(self) -> bool:
        """True if the list is pulled from a repository or an exchange, False for a local one."""
        return self.source.exists() or self.exchange.exists()

    def active(self) -> Path | None:
        """Return the folder of the active version, or None if there is none."""
        return self._linked(self.active_link)

    def active_version(self) -> int:
        """Return the number of the active version; 0 if there is none."""
        active = self.active()
        return 0 if active is None else int(active.name.partition("-")[0])

    def staged(self) -> Path | None:
        """Return the folder of the staged version, or None if there is none."""
        staged = self._linked(self.staged_link)
        # A writer that was killed may have activated it and left the link.
        return None if staged == self.active() else staged

    def _linked(self, link: Path) -> Path | None:
        try:
            return self.versions / Path(os.readlink(link)).name
        except FileNotFoundError:
            return None

    def hold_active(self) -> tuple[Path, ReadLock] | None:
        """Return the active version with a lock that keeps it from removal; None if there is none."""
        return _held(self.active)

    def hold_staged(self) -> tuple[Path, ReadLock] | None:
        """Return the staged version with a lock that keeps it from removal; None if there is none."""
        return _held(self.staged)

    def make(self) -> None:
        """Create the folders for a writer, and remove the temporary files that killed writers left."""
        for folder in (self.path, self.versions):
            private_folder(folder)
        remove_leftovers(self.path)

    def renew_identity(self) -> None:
        """Give the list a new identity, which distinguishes it from an earlier list of this name."""
        replace_file(self.identity, str(uuid.uuid4()).encode())

    def fresh_staging(self) -> Path:
        """Return an empty staging folder."""
        if self.staging.exists():
            shutil.rmtree(self.staging)
        return private_folder(self.staging)

    def finish_staging(self, version: int) -> Path:
        """Turn the staging folder, whose files are synced, into a finished version, and return its folder.

        No link names it yet.
        """
        for folder, _, _ in os.walk(self.staging):
            sync_folder(Path(folder))
        finished = self.versions / f"{version}-{secrets.token_hex(4)}"
        self.staging.rename(finished)
        sync_folder(self.versions)
        return finished

    def activate(self, version: Path) -> None:
        """Activate a finished version; afterwards no version is staged."""
        if self.staged() != version:
            # Before and not after: if the process dies in between, no staged version may be older than the
            # active one.
            self.drop_staged()
        replace_link(self.active_link, f"{self.versions.name}/{version.name}")
        self.drop_staged()

    def stage(self, version: Path) -> None:
        """Stage a finished version, in place of any other."""
        replace_link(self.staged_link, f"{self.versions.name}/{version.name}")

    def drop_staged(self) -> None:
        """Unstage the staged version, if there is one."""
        try:
            self.staged_link.unlink()
        except FileNotFoundError:
            return
        sync_folder(self.path)

    def finished_versions(self) -> Iterator[Path]:
        """Yield the folders of all remaining versions, including the active one."""
        with suppress(FileNotFoundError):
            yield from sorted(path for path in self.versions.iterdir() if path.is_dir())

    def remove_superseded(self) -> None:
        """Remove versions that are neither active, staged nor locked by a reader, and the staging folder."""
        if self.staging.exists():
            shutil.rmtree(self.staging)
        kept = (self.active(), self.staged())
        for version in self.finished_versions():
            if version not in kept:
                with claimed_for_removal(version) as unused:
                    if unused:
                        shutil.rmtree(version)

    def remove(self) -> None:
        """Remove everything but the lock file.

        For readers this is atomic: the folder is first renamed to a name that no list has.
        """
        gone = self.path.with_name(f"{TEMPORARY_PREFIX}{self.path.name}-{secrets.token_hex(8)}")
        self.path.rename(gone)
        shutil.rmtree(gone)

    def remove_removed(self) -> None:
        """Finish the removals that killed processes began."""
        for gone in self.path.parent.glob(f"{TEMPORARY_PREFIX}{self.path.name}-{'?' * 16}"):
            shutil.rmtree(gone)


def _held(current: Callable[[], Path | None]) -> tuple[Path, ReadLock] | None:
    """Lock the version that `current` names, which writers may replace at any time; None without one."""
    while (version := current()) is not None:
        try:
            hold = ReadLock(version)
        except FileNotFoundError:
            if current() == version:
                raise
            continue
        # A writer may have removed it before it was locked; then `current` names another version by now.
        if current() == version:
            return version, hold
        hold.close()
    return None


def private_folder(folder: Path) -> Path:
    """Create a folder and its missing parents, accessible to this user alone."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    return folder


def belongs_to_another(folder: Path) -> bool:
    """Return True if this process is root and the folder belongs to another user.

    That user could not read files that root writes there.
    """
    return os.geteuid() == 0 and folder.stat().st_uid != 0


def refuse_to_leave_files(folder: Path) -> None:
    """Refuse to write files as root that the owner of a folder of lists could not read."""
    if belongs_to_another(folder):
        raise OutputError(
            f"the lists in {folder} belong to another user (uid {folder.stat().st_uid}), who could not read "
            "what root writes there",
            advice="Name the --state folder that contains them: the command then runs as its owner.",
        )


def checked_name(name: str) -> str:
    """Return `name` after checking that it is a valid list name."""
    if not LIST_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a list's name",
            advice="Use 1 to 64 of a-z, 0-9, dot, hyphen and underscore, beginning with a letter or digit.",
        )
    return name


def own_name(name: str) -> str:
    """Return `name` after checking that a list may be stored under it."""
    if checked_name(name) == DEMO:
        raise UsageError(
            f"{DEMO!r} is the list that comes with hashscan, and stays as it is", advice="Name another list."
        )
    return name
