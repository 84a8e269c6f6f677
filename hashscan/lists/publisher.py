"""The list owner's side of signed lists: entries are taken in, and released into a folder to publish.

The published folder holds `metadata/` and `targets/` with consistent snapshots, after
https://theupdateframework.github.io/specification/latest/ . A release adds files under new names and replaces
`timestamp.json` at its very end, so that whoever copies or serves the folder has the old version or the new.
The working folder, outside it, holds `publisher.json`, the root to hand out, and the entries that wait.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.errors import HashscanError, ListFormatError, ListTrustError, OutputError, UsageError
from hashscan.lists import manifest as manifests
from hashscan.lists.blocks import EntryBlock
from hashscan.lists.column_writer import ColumnWriter
from hashscan.lists.columns import ListHandle, open_columns
from hashscan.lists.durable import output_errors, remove_leftovers, replace_file, sync_folder
from hashscan.lists.ids import first_shared_id, ids_of
from hashscan.lists.keys import Passphrases, make_online_keys
from hashscan.lists.layout import checked_name, private_folder
from hashscan.lists.local import open_local, write_local
from hashscan.lists.lock import sole_writer
from hashscan.lists.manifest import MANIFEST_NAME, Manifest
from hashscan.lists.publisher_state import Expiry, PublisherState, read_state, write_state
from hashscan.lists.repository import METADATA, TARGETS, load_manifest, open_repository
from hashscan.lists.root_keys import check_threshold, make_root_keys
from hashscan.lists.superseded import prune
from hashscan.model import CATEGORIES, Entry, ListInfo

if TYPE_CHECKING:
    from hashscan.lists.publication import Publication
    from hashscan.lists.rotation import Rotated

PUBLIC_FILE = 0o644
ROOT_KEYS = "root"
"""Folder of the root's keys among the others, unless they are put elsewhere."""
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
    expiries: Mapping[str, datetime]
    """When the metadata of each role runs out; the root's alone before the first release."""
    running_out: Mapping[str, datetime]
    """Those among them of whose time less than a third is left."""
    keys: Mapping[str, tuple[tuple[str, ...], int]]
    """Of each role the ids of its keys, and how many of them must sign."""


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
        root_keys: Sequence[Path] = (),
        root_count: int = 1,
        root_threshold: int = 1,
        root_passphrase: bytes | None = None,
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
            root_keys: folders for the root's keys, which are spread over them; one within `keys` if none.
            root_count: how many keys the root has.
            root_threshold: how many of them must sign a new root.
            root_passphrase: encrypts the root's keys; None takes that of the others.
            now: the time of signing.

        Raises:
            UsageError: a folder is not empty or lies within the published one; the name or the threshold
                can't be used; the `publish` extra isn't installed.
            OutputError: a folder can't be written.
        """
        from hashscan.lists import release

        checked_name(name)
        check_threshold(root_count, root_threshold)
        work, repository, keys = (folder.resolve() for folder in (work, repository, keys))
        root_folders = [folder.resolve() for folder in root_keys] or [keys / ROOT_KEYS]
        for secret in (work, keys, *root_folders):
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
            own = make_root_keys(root_folders, root_count, {}, root_passphrase or passphrase)
            signers = [key.signer for key in own]
            online = make_online_keys(keys, passphrase)
            root = release.signed(release.new_root(signers, root_threshold, online, expires), signers)
            replace_file(work / _ROOT, root)
            replace_file(repository / METADATA / f"1.{_ROOT}", root, PUBLIC_FILE)
            # Last, because it makes the folder a working folder.
            write_state(work, state)
        return cls(work)

    def root(self) -> bytes:
        """The newest root, which new subscribers are given to trust.

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
        signed_at = _seconds(now)
        with self._writing() as (state, publication):
            published = self._published(state, publication, signed_at)
            pending = sum(self._batch(batch).entries for batch in state.pending)
            return PublisherStatus(
                published.info if published else None,
                pending,
                state,
                publication.expiries,
                state.expiry.running_out(publication.expiries, signed_at),
                {
                    role: (tuple(sorted(trusted.keyids)), trusted.threshold)
                    for role, trusted in publication.root.roles.items()
                },
            )

    def add(self, entries: Iterable[Entry | EntryBlock], label: str) -> int:
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
        with self._writing() as (state, publication):
            published = self._published(state, publication, _seconds(None))
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
        from hashscan.lists import release
        from hashscan.lists.publication import publish

        signed_at = _seconds(now)
        with self._writing() as (state, publication):
            if not state.pending:
                raise UsageError(
                    "nothing waits to be released", advice="Add entries with `hashscan publish add`."
                )
            publication.check_root(signed_at)
            signers = publication.signers(release.SIGNING_ROLES, state.keys, passphrase)
            published = self._published(state, publication, signed_at)
            version = published.info.version + 1 if published else 1
            targets = [release.new_target(path) for path in self._stage(state, published, version, signed_at)]
            metadata = release.signed_release(
                {target.info.path: target.info for target in targets},
                publication.versions,
                signers,
                state.expiry,
                signed_at,
            )
            publication.check(metadata)
            for target in targets:
                target.path.rename(state.repository / TARGETS / target.file_name)
            sync_folder(state.repository / TARGETS)
            publish(state.repository, metadata)
            after = replace(state, released=version, pending=())
            write_state(self._work, after)
            self._clear_leftovers(after)
            self._published_now(after, signed_at)
            return open_repository(
                state.name, state.repository, self.root(), signed_at, remedy=_RELEASE_ANEW
            ).info

    def refresh(
        self, *, everything: bool = False, passphrase: bytes | None = None, now: datetime | None = None
    ) -> Refreshed:
        """Sign the timestamp anew, so that subscribers see that the version is still the newest one.

        The snapshot, whose key is at hand as often, is signed anew too once less than a third of its time is
        left. The targets are not: their signature says that the entries are still right.

        Args:
            everything: sign targets and snapshot anew as well.
            passphrase: the one the keys were made with.
            now: the time of signing.

        Raises:
            UsageError: it is no working folder, nothing is released, the root has expired, or the keys are
                unusable or another list's.
            ListTrustError: the published folder doesn't hold what was signed.
            LockedError: another process writes this list.
            OutputError: a folder can't be read or written.
        """
        from hashscan.lists import release
        from hashscan.lists.publication import publish

        signed_at = _seconds(now)
        with self._writing() as (state, publication):
            if not publication.verified:
                raise UsageError(
                    "there is nothing to refresh yet",
                    advice="Release first, with `hashscan publish release`.",
                )
            publication.check_root(signed_at)
            due = state.expiry.running_out(publication.expiries, signed_at)
            first = "targets" if everything else "snapshot" if "snapshot" in due else "timestamp"
            roles = release.SIGNING_ROLES[release.SIGNING_ROLES.index(first) :]
            signers = publication.signers(roles, state.keys, passphrase)
            metadata = publication.renewed(first, signers, state.expiry, signed_at)
            publication.check(metadata)
            publish(state.repository, metadata)
            renewed = self._published_now(state, signed_at)
            expiries = renewed.expiries
            return Refreshed(tuple(roles), expiries, state.expiry.running_out(expiries, signed_at))

    def rotate(
        self,
        roles: Collection[str] = (),
        *,
        root_keys: Sequence[Path] = (),
        root_count: int | None = None,
        root_threshold: int | None = None,
        passphrase: bytes | None = None,
        root_passphrases: Passphrases | None = None,
        now: datetime | None = None,
    ) -> Rotated:
        """Give roles new keys, or with no role renew the root, whose time runs out; old subscribers follow.

        Args:
            roles: any of root, targets, snapshot and timestamp.
            root_keys: folders with enough of the root's keys, which new ones are put into; the folder within
                the others' if none.
            root_count: how many keys the root shall have; as many as before when not given.
            root_threshold: how many of them must sign a new root; as many as before when not given.
            passphrase: of the other keys, old and new.
            root_passphrases: of the root's keys; a new one gets that of one whose place it takes.
            now: the time of signing.

        Raises:
            UsageError: it is no working folder, or keys are missing, too few, unusable or another list's.
            ListTrustError: the published folder doesn't hold what was signed.
            LockedError: another process writes this list.
            OutputError: a folder can't be read or written; what is published can be relied on, and the next
                command finishes the rotation.
        """
        from hashscan.lists.rotation import RootPlan, rotate

        with self._writing() as (state, publication):
            plan = RootPlan(
                [folder.resolve() for folder in root_keys] or [state.keys / ROOT_KEYS],
                root_passphrases or Passphrases(),
                root_count,
                root_threshold,
            )
            signed_at = _seconds(now)
            rotated = rotate(self._work, state, publication, roles, plan, passphrase, signed_at)
            self._published_now(state, signed_at)
            return rotated

    @contextmanager
    def _writing(self) -> Iterator[tuple[PublisherState, Publication]]:
        """The state and what is signed; other writers are kept out, what killed ones left is put right."""
        from hashscan.lists import rotation
        from hashscan.lists.publication import Publication

        with output_errors("the list's working or published folder can't be used"):
            state = read_state(self._work)
            with sole_writer(self._work / _LOCK, f"the list in {self._work}"):
                state = read_state(self._work)
                rotation.finish(self._work, state.repository)
                publication = Publication.read(state.repository, self.root())
                state = self._caught_up(state, publication)
                self._clear_leftovers(state)
                yield state, publication

    def _caught_up(self, state: PublisherState, publication: Publication) -> PublisherState:
        """The state after what a killed release may have published."""
        version = load_manifest(publication.verified, state.repository).version if publication.verified else 0
        if version < state.released:
            raise ListTrustError(
                f"{state.repository} holds version {version}, but {state.released} was released",
                advice="Restore the published folder; subscribers refuse to go back.",
            )
        if version > state.released:
            published = self._published(state, publication, _seconds(None))
            assert published is not None
            waiting = tuple(
                batch
                for batch in state.pending
                if self._shared_id(self._batch(batch), published.handle) is None
            )
            state = replace(state, released=version, pending=waiting)
            write_state(self._work, state)
        return state

    def _published(self, state: PublisherState, publication: Publication, now: datetime) -> _Published | None:
        """The version that is published, every file compared with its signed hash; None before the first."""
        if not publication.verified:
            return None
        opened = open_repository(state.name, state.repository, self.root(), now, remedy=_RELEASE_ANEW)
        if opened.handle is None:
            raise ListTrustError(
                f"{state.repository} can't be relied on: {opened.info.problem}",
                advice="Restore the published folder from a backup or a mirror.",
            )
        return _Published(opened.info, opened.handle)

    def _published_now(self, state: PublisherState, now: datetime) -> Publication:
        """What is signed after a change; files that are named no more go when their time has come."""
        from hashscan.lists.publication import Publication

        publication = Publication.read(state.repository, self.root())
        if publication.verified:
            prune(
                self._work,
                state.repository,
                publication.verified.metadata_names,
                [target.file_name for target in publication.verified.targets.values()],
                now,
            )
        return publication

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
        others = [self._batch(batch) for batch in state.pending]
        for other in [*others, published.handle] if published else others:
            known = self._shared_id(new, other)
            if known is not None:
                raise ListFormatError(
                    f"{label}: the id {known!r} is in the list already",
                    advice="Leave out what the list has, then add the file again; nothing was added.",
                )

    def _shared_id(self, new: ListHandle, old: ListHandle) -> str | None:
        return first_shared_id(lambda: ids_of(new), ids_of(old), self._work)

    def _stage(
        self, state: PublisherState, published: _Published | None, version: int, now: datetime
    ) -> list[Path]:
        """Write the release's targets aside, on the published folder's own file system."""
        staging = state.repository / _STAGING
        staging.mkdir()
        sources = [published.handle] if published else []
        sources += [self._batch(batch) for batch in state.pending]
        with ColumnWriter(staging, PUBLIC_FILE) as writer:
            for handle in sources:
                for files in handle.columns:
                    writer.add_columns(files.algorithm, open_columns(handle.folder, files), handle.categories)
            columns = writer.finish()
        manifest = Manifest(state.name, version, now, CATEGORIES, columns)
        replace_file(staging / MANIFEST_NAME, manifests.to_bytes(manifest), PUBLIC_FILE)
        return [
            staging / name for name in (MANIFEST_NAME, *(name for files in columns for name in files.names))
        ]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did."""

    roles: tuple[str, ...]
    """The roles that were signed anew."""
    expiries: Mapping[str, datetime]
    """When the metadata of each role runs out now."""
    running_out: Mapping[str, datetime]
    """Those among them of whose time less than a third is left."""


@dataclass(frozen=True, slots=True)
class _Published:
    """The version that is published."""

    info: ListInfo
    handle: ListHandle


def _seconds(now: datetime | None) -> datetime:
    """A time for signing: UTC, in whole seconds as TUF writes them."""
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
