"""The list owner's side of signed lists: entries are taken in, and released into a folder to publish.

The published folder holds `metadata/` and `targets/` with consistent snapshots, after
https://theupdateframework.github.io/specification/latest/ . A release adds files under new names and replaces
`timestamp.json` at its very end, so that whoever copies or serves the folder has the old version or the new.
The working folder, outside it, holds `publisher.json`, the root to hand out, and the entries that wait.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.errors import HashscanError, ListFormatError, ListTrustError, OutputError, UsageError
from hashscan.lists import manifest as manifests
from hashscan.lists.columns import ActiveRows, Block, ListHandle, first_shared_id
from hashscan.lists.durable import output_errors, remove_leftovers, replace_file, sync_folder
from hashscan.lists.keys import load_key, make_keys
from hashscan.lists.layout import checked_name, private_folder
from hashscan.lists.local import open_local, write_local
from hashscan.lists.lock import sole_writer
from hashscan.lists.manifest import MANIFEST_NAME, Manifest
from hashscan.lists.published import file_names, open_published
from hashscan.lists.publisher_state import Expiry, PublisherState, read_state, write_state
from hashscan.lists.repository import METADATA, TARGETS, read_metadata
from hashscan.lists.shards import Chained, PublishedRows, Renumbered, write_part
from hashscan.lists.withdrawals import withdrawn_by_algorithm
from hashscan.model import CATEGORIES, Entry, ListInfo

PUBLIC_FILE = 0o644
_PENDING = "pending"
_ROOT = "root.json"
_STAGING = ".staging"
_LOCK = ".lock"
_RELEASE_ANEW = "restore the folder, or release anew"


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """Where a list stands for its owner."""

    published: ListInfo | None
    """What is published; None before the first release."""
    pending: int
    """Entries that wait for the next release."""
    state: PublisherState


class Publisher:
    """One list's working folder."""

    def __init__(self, work: Path) -> None:
        """Use a working folder that `init` made."""
        self._work = work

    @classmethod
    def init(
        cls,
        work: Path,
        repository: Path,
        keys: Path,
        name: str,
        *,
        expiry: Expiry | None = None,
        passphrase: bytes | None = None,
        now: datetime | None = None,
    ) -> Publisher:
        """Begin a list: make its keys and its root; nothing can be pulled before the first release.

        Args:
            work: new or empty folder for the working state.
            repository: new or empty folder that will be published.
            keys: new or empty folder for the keys; it may lie within `work`.
            name: of the list.
            expiry: how long signatures hold.
            passphrase: encrypts the keys.
            now: the time of signing.

        Raises:
            UsageError: a folder is not empty or lies within the published one; the name can't be used; the
                `publish` extra isn't installed.
            OutputError: a folder can't be written.
        """
        from hashscan.lists import release

        checked_name(name)
        work, repository, keys = (folder.resolve() for folder in (work, repository, keys))
        for secret in (work, keys):
            if secret.is_relative_to(repository):
                raise UsageError(
                    f"{secret} lies within the folder to be published",
                    advice="Keep the working folder and the keys outside of it.",
                )
        with output_errors("the list can't be begun"):
            for folder in (repository, keys, work):
                if folder.exists() and any(folder.iterdir()):
                    raise UsageError(f"{folder} is not empty", advice="Name new or empty folders.")
            private_folder(work)
            private_folder(keys)
            for folder in (repository / METADATA, repository / TARGETS):
                folder.mkdir(parents=True)
            state = PublisherState(name, repository, keys, expiry or Expiry())
            expires = _seconds(now) + timedelta(days=state.expiry.root)
            root = release.signed_root(make_keys(keys, passphrase), expires)
            replace_file(work / _ROOT, root)
            replace_file(repository / METADATA / f"1.{_ROOT}", root, PUBLIC_FILE)
            # Last, because it makes the folder a working folder.
            write_state(work, state)
        return cls(work)

    def root(self) -> bytes:
        """The root that subscribers are given to trust.

        Raises:
            OutputError: it can't be read.
        """
        with output_errors("the root can't be read"):
            return (self._work / _ROOT).read_bytes()

    def status(self, now: datetime | None = None) -> PublisherStatus:
        """What is published and what waits.

        Raises:
            UsageError: it is no working folder.
            ListTrustError: the published folder doesn't hold what was signed.
            LockedError: another process writes this list.
            OutputError: a folder can't be read or written.
        """
        with self._writing(_seconds(now)) as (state, published):
            pending = sum(self._batch(batch).entries for batch in state.pending)
            return PublisherStatus(published.info if published else None, pending, state)

    def add(self, entries: Iterable[Entry], label: str) -> int:
        """Take in entries for the next release.

        Args:
            entries: taken in to the end before anything changes.
            label: what to call their origin in an error.

        Returns:
            How many were taken in.

        Raises:
            UsageError: it is no working folder.
            ListFormatError: the entries are faulty, or an id is in the list already; nothing has changed.
            ListTrustError: the published folder doesn't hold what was signed.
            LockedError: another process writes this list.
            OutputError: a folder can't be read or written.
        """
        with self._writing(_seconds(None)) as (state, published):
            batch = secrets.token_hex(8)
            folder = self._batch_folder(batch)
            private_folder(folder)
            try:
                manifest = write_local(state.name, folder, entries, label, 1, _seconds(None))
                self._refuse_known(self._batch(batch), state, published, label)
                sync_folder(folder.parent)
                write_state(self._work, replace(state, pending=(*state.pending, batch)))
            except (HashscanError, OSError):
                shutil.rmtree(folder)
                raise
            return manifest.entries

    def release(self, *, passphrase: bytes | None = None, now: datetime | None = None) -> ListInfo:
        """Publish a new version: all entries so far and those that wait.

        Args:
            passphrase: the one the keys were made with.
            now: the time of signing.

        Returns:
            What is published now.

        Raises:
            UsageError: it is no working folder, nothing waits, or the keys are unusable or another list's.
            ListTrustError: the published folder doesn't hold what was signed.
            LockedError: another process writes this list.
            OutputError: a folder can't be read or written; the old version or the new one is published.
        """
        from hashscan.lists import release, trust

        signed_at = _seconds(now)
        with self._writing(signed_at) as (state, published):
            if not state.pending:
                raise UsageError(
                    "nothing waits to be released", advice="Add entries with `hashscan publish add`."
                )
            signers = {role: load_key(state.keys, role, passphrase) for role in release.SIGNING_ROLES}
            version = published.info.version + 1 if published else 1
            targets = [release.new_target(path) for path in self._stage(state, published, version, signed_at)]
            metadata = release.signed_release(
                targets, published.versions if published else {}, signers, state.expiry, signed_at
            )
            try:
                trust.verify(
                    self.root(), lambda name: metadata.get(name) or read_metadata(state.repository, name)
                )
            except ListTrustError as error:
                raise UsageError(
                    f"the keys in {state.keys} are not those of this list: {error}",
                    advice="Name the folder of the keys that `hashscan publish init` made.",
                ) from error
            for target in targets:
                target.path.rename(state.repository / TARGETS / target.file_name)
            sync_folder(state.repository / TARGETS)
            for name, data in metadata.items():
                replace_file(state.repository / METADATA / name, data, PUBLIC_FILE)
            after = replace(state, released=version, pending=())
            write_state(self._work, after)
            self._clear_leftovers(after)
            return open_published(
                state.name, state.repository, self.root(), signed_at, remedy=_RELEASE_ANEW
            ).info

    @contextmanager
    def _writing(self, now: datetime) -> Iterator[tuple[PublisherState, _Published | None]]:
        """The state and what is published; other writers are kept out, what killed ones left is put right."""
        with output_errors("the list's working or published folder can't be used"):
            state = read_state(self._work)
            with sole_writer(self._work / _LOCK, f"the list in {self._work}"):
                state = read_state(self._work)
                published = self._published(state, now)
                version = published.info.version if published else 0
                if version < state.released:
                    raise ListTrustError(
                        f"{state.repository} holds version {version}, but {state.released} was released",
                        advice="Restore the published folder; subscribers refuse to go back.",
                    )
                if published and version > state.released:
                    waiting = tuple(
                        batch
                        for batch in state.pending
                        if first_shared_id(self._batch(batch), published.id_columns) is None
                    )
                    state = replace(state, released=version, pending=waiting)
                    write_state(self._work, state)
                self._clear_leftovers(state)
                yield state, published

    def _published(self, state: PublisherState, now: datetime) -> _Published | None:
        """The version that is published, verified as a subscriber would; None before the first release."""
        from hashscan.lists import trust

        if not (state.repository / METADATA / trust.TIMESTAMP_NAME).exists():
            return None
        root = self.root()
        opened = open_published(state.name, state.repository, root, now, remedy=_RELEASE_ANEW)
        if opened.manifest is None:
            raise ListTrustError(
                f"{state.repository} can't be relied on: {opened.info.problem}",
                advice="Restore the published folder from a backup or a mirror.",
            )
        verified = trust.verify(root, lambda name: read_metadata(state.repository, name))
        return _Published(
            opened.info, opened.manifest, state.repository / TARGETS, file_names(verified), verified.versions
        )

    def _clear_leftovers(self, state: PublisherState) -> None:
        """Remove what killed commands left, and what has been released."""
        remove_leftovers(self._work)
        remove_leftovers(state.repository / METADATA)
        for folder in (state.repository / _STAGING, *(self._work / _PENDING).glob("*")):
            if folder.name not in state.pending and folder.exists():
                shutil.rmtree(folder)

    def _batch_folder(self, batch: str) -> Path:
        return self._work / _PENDING / batch

    def _batch(self, batch: str) -> ListHandle:
        """Entries that wait."""
        opened = open_local(batch, self._batch_folder(batch))
        if opened.handle is None:
            raise OutputError(
                f"entries waiting in {self._batch_folder(batch)} are lost: {opened.info.problem}"
            )
        return opened.handle

    def _refuse_known(
        self, new: ListHandle, state: PublisherState, published: _Published | None, label: str
    ) -> None:
        """Make sure that no new entry has the id of an old one."""
        others: list[Iterable[NDArray[np.bytes_]]] = [
            (ids for files in batch.columns for ids, _, _ in ActiveRows(batch.folder, files))
            for batch in map(self._batch, state.pending)
        ]
        for other in [*others, published.id_columns] if published else others:
            known = first_shared_id(new, other)
            if known is not None:
                raise ListFormatError(
                    f"{label}: the id {known!r} is in the list already",
                    advice="Leave out what the list has, then add the file again; nothing was added.",
                )

    def _stage(
        self, state: PublisherState, published: _Published | None, version: int, now: datetime
    ) -> list[Path]:
        """Write the release's targets aside, on the published folder's own file system."""
        staging = state.repository / _STAGING
        staging.mkdir()
        batches = [self._batch(batch) for batch in state.pending]
        columns = {}
        for algorithm in sorted(
            {files.algorithm for batch in batches for files in batch.columns}
            | (set(published.manifest.rows()) if published else set())
        ):
            sources: list[Iterable[Block]] = [published.active_rows(algorithm)] if published else []
            for batch in batches:
                sources += [
                    Renumbered(ActiveRows(batch.folder, files), batch.categories, CATEGORIES)
                    for files in batch.columns
                    if files.algorithm == algorithm
                ]
            columns[algorithm] = Chained(tuple(sources))
        part = write_part(staging, version, columns, PUBLIC_FILE)
        manifest = Manifest(state.name, version, now, CATEGORIES, (part,))
        replace_file(staging / MANIFEST_NAME, manifests.to_bytes(manifest), PUBLIC_FILE)
        return [staging / name for name in (MANIFEST_NAME, *manifest.names)]


@dataclass(frozen=True, slots=True)
class _Published:
    """The version that is published."""

    info: ListInfo
    manifest: Manifest
    targets: Path
    names: Mapping[str, str]
    """File names of targets."""
    versions: Mapping[str, int]
    """Of each role's metadata."""

    def active_rows(self, algorithm: str) -> Iterable[Block]:
        """All entries of one algorithm, their categories numbered as in this program."""
        gone = withdrawn_by_algorithm(self.manifest, lambda target: self.targets / self.names[target])
        rows = PublishedRows(self.targets, self.manifest, self.names, algorithm, gone.get(algorithm))
        return Renumbered(rows, self.manifest.categories, CATEGORIES)

    @property
    def id_columns(self) -> Iterator[NDArray[np.bytes_]]:
        """All ids, block by block, those of withdrawn entries left out."""
        for algorithm in self.manifest.rows():
            yield from (ids for ids, _, _ in self.active_rows(algorithm))


def _seconds(now: datetime | None) -> datetime:
    """A time for signing: UTC, in whole seconds as TUF writes them."""
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
