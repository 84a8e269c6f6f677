"""Where the parts of a stored list lie, and how one version takes the place of another.

NAME/root.json      the root the administrator trusts          (signed lists)
NAME/source.json    where to pull from                         (signed lists)
NAME/tuf/           metadata seen so far, against rollback     (signed lists)
NAME/validators.json what servers said of the timestamp they sent (signed lists)
NAME/attempts.json  how the last pulls went                    (signed lists)
NAME/identity       what a later list of this name has not     (local lists)
NAME/staging/       the next version while it is being made
NAME/versions/X/    finished versions, each with metadata/ and targets/
NAME/active         symbolic link to the version in use
NAME/staged         symbolic link to one that is ready to be put in use
.NAME.lock          held by the one writer
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hashscan.errors import OutputError, UsageError
from hashscan.lists.durable import (
    PRIVATE_FOLDER,
    TEMPORARY_PREFIX,
    remove_leftovers,
    replace_link,
    sync_folder,
)
from hashscan.lists.lock import Hold, claimed_for_removal
from hashscan.lists.manifest import LIST_NAME

DEMO = "demo"
"""A name no stored list may have: it is the list that comes with the program."""


@dataclass(frozen=True, slots=True)
class ListFolder:
    """The folder of one stored list."""

    path: Path

    @property
    def lock(self) -> Path:
        """Beside the folder, so that it outlives it."""
        return self.path.with_name(f".{self.path.name}.lock")

    @property
    def root(self) -> Path:
        """The trusted root."""
        return self.path / "root.json"

    @property
    def source(self) -> Path:
        """Present exactly when the list is a signed one."""
        return self.path / "source.json"

    @property
    def tuf(self) -> Path:
        """The folder of tuf's client."""
        return self.path / "tuf"

    @property
    def validators(self) -> Path:
        """What servers said of the timestamp they sent."""
        return self.path / "validators.json"

    @property
    def attempts(self) -> Path:
        """How the last pulls went."""
        return self.path / "attempts.json"

    @property
    def identity(self) -> Path:
        """What a local list is known by, whatever is imported into it."""
        return self.path / "identity"

    @property
    def staging(self) -> Path:
        """The next version; what a killed writer left there may be used again."""
        return self.path / "staging"

    @property
    def versions(self) -> Path:
        """The folder of finished versions."""
        return self.path / "versions"

    @property
    def active_link(self) -> Path:
        """Points to the version in use."""
        return self.path / "active"

    @property
    def staged_link(self) -> Path:
        """Points to the version that is ready to be put in use."""
        return self.path / "staged"

    def active(self) -> Path | None:
        """The version in use, or None when there is none."""
        return self._linked(self.active_link)

    def staged(self) -> Path | None:
        """The version that is ready to be put in use, or None when there is none."""
        staged = self._linked(self.staged_link)
        # A writer that was killed may have put it in use, and left the link.
        return None if staged == self.active() else staged

    def _linked(self, link: Path) -> Path | None:
        try:
            return self.versions / Path(os.readlink(link)).name
        except FileNotFoundError:
            return None

    def hold_active(self) -> tuple[Path, Hold] | None:
        """The version in use and a claim that keeps it; None when there is none."""
        return _held(self.active)

    def hold_staged(self) -> tuple[Path, Hold] | None:
        """The version that is ready to be put in use and a claim that keeps it; None when there is none."""
        return _held(self.staged)

    def make(self) -> None:
        """Make the folders for a writer, and clear away what killed ones left beside the staging folder."""
        for folder in (self.path, self.versions):
            private_folder(folder)
        remove_leftovers(self.path)

    def fresh_staging(self) -> Path:
        """An empty staging folder."""
        if self.staging.exists():
            shutil.rmtree(self.staging)
        return private_folder(self.staging)

    def activate_staging(self, version: int) -> Path:
        """Put the staging folder, whose files are synced, in the place of the version in use.

        Returns:
            The folder it has become.
        """
        finished = self.finish_staging(version)
        self.activate(finished)
        return finished

    def finish_staging(self, version: int) -> Path:
        """Make the staging folder, whose files are synced, a finished version, of which nobody knows yet.

        Returns:
            The folder it has become.
        """
        for folder, _, _ in os.walk(self.staging):
            sync_folder(Path(folder))
        finished = self.versions / f"{version}-{secrets.token_hex(4)}"
        self.staging.rename(finished)
        sync_folder(self.versions)
        return finished

    def activate(self, version: Path) -> None:
        """Put a finished version in use; nothing is staged any more."""
        if self.staged() != version:
            # Before and not after, so that no death leaves one staged that is older than the one in use.
            self.drop_staged()
        replace_link(self.active_link, f"{self.versions.name}/{version.name}")
        self.drop_staged()

    def stage(self, version: Path) -> None:
        """Have a finished version ready to be put in use, in the place of any other that was."""
        replace_link(self.staged_link, f"{self.versions.name}/{version.name}")

    def drop_staged(self) -> None:
        """Have no version ready to be put in use."""
        try:
            self.staged_link.unlink()
        except FileNotFoundError:
            return
        sync_folder(self.path)

    def finished_versions(self) -> Iterator[Path]:
        """All versions that are still there, the one in use among them."""
        with suppress(FileNotFoundError):
            yield from sorted(path for path in self.versions.iterdir() if path.is_dir())

    def remove_superseded(self) -> None:
        """Remove versions that are neither in use, staged nor held by a reader, and the staging folder."""
        if self.staging.exists():
            shutil.rmtree(self.staging)
        kept = (self.active(), self.staged())
        for version in self.finished_versions():
            if version not in kept:
                with claimed_for_removal(version) as unused:
                    if unused:
                        shutil.rmtree(version)

    def remove(self) -> None:
        """Remove everything but the lock; at once for readers, since it first gets a name no list has."""
        gone = self.path.with_name(f"{TEMPORARY_PREFIX}{self.path.name}-{secrets.token_hex(8)}")
        self.path.rename(gone)
        shutil.rmtree(gone)

    def remove_removed(self) -> None:
        """Finish what a killed `remove` began."""
        for gone in self.path.parent.glob(f"{TEMPORARY_PREFIX}{self.path.name}-{'?' * 16}"):
            shutil.rmtree(gone)


def _held(current: Callable[[], Path | None]) -> tuple[Path, Hold] | None:
    """A version that writers may exchange for another at any time, and a claim that keeps it."""
    while (version := current()) is not None:
        try:
            hold = Hold(version)
        except FileNotFoundError:
            if current() == version:
                raise
            continue
        # A writer may have removed it before the claim held; then another has its place by now.
        if current() == version:
            return version, hold
        hold.close()
    return None


def private_folder(folder: Path) -> Path:
    """Make a folder and those above it for this user alone, unless they are there."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    return folder


def belongs_to_another(folder: Path) -> bool:
    """Whether this is root, and a folder another user's, who could read nothing of what root writes there."""
    return os.geteuid() == 0 and folder.stat().st_uid != 0


def refuse_to_leave_files(folder: Path) -> None:
    """Refuse to write, as root, what the owner of a folder of lists could not read.

    Raises:
        OutputError: this is root, and the folder another user's.
    """
    if belongs_to_another(folder):
        raise OutputError(
            f"the lists in {folder} belong to another user (uid {folder.stat().st_uid}), who could not read "
            "what root writes there",
            advice="Name the --state folder that they lie in: the command then runs as its owner.",
        )


def checked_name(name: str) -> str:
    """A list's name, when it can be one.

    Raises:
        UsageError: it can't.
    """
    if not LIST_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a list's name",
            advice="Use 1 to 64 of a-z, 0-9, dot, hyphen and underscore, beginning with a letter or digit.",
        )
    return name


def own_name(name: str) -> str:
    """A name for a list to be stored.

    Raises:
        UsageError: it can't be a name, or is reserved.
    """
    if checked_name(name) == DEMO:
        raise UsageError(f"{DEMO!r} is the list that comes with hashscan", advice="Choose another name.")
    return name
