"""The list owner's side of signed lists: collects entries and releases them into a folder to publish.

The published folder contains `metadata/` and `targets/` with consistent snapshots, after
https://theupdateframework.github.io/specification/latest/ . A release adds files under new names and replaces
`timestamp.json` at its very end, so that everyone who copies or serves the folder has the old version or the
new one. The working folder, outside of it, contains `publisher.json`, the root to hand out, and pending
entries.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import output_errors, replace_file
from hashscan.errors import HashscanError, ListFormatError, UsageError
from hashscan.lists.publishing import metadata as signing
from hashscan.lists.publishing.keys import Passphrases, check_threshold, make_online_keys, make_root_keys
from hashscan.lists.publishing.next_version import UnknownIdError, canary_ids, write_base, write_increment
from hashscan.lists.publishing.publisher_state import (
    Expiry,
    PublisherState,
    write_state,
)
from hashscan.lists.publishing.rotation import ROOT_NAME, RootPlan, Rotated, rotate
from hashscan.lists.publishing.workspace import Published, PublisherStatus, Workspace, opened, seconds
from hashscan.lists.storage.columns import EntryBlock
from hashscan.lists.storage.entry_ids import IdSet, first_shared_id
from hashscan.lists.storage.layout import checked_name, private_folder
from hashscan.lists.storage.manifest import PARTS_MAX, Manifest
from hashscan.lists.storage.signed_list import METADATA, TARGETS
from hashscan.model import ENTRY_ID_MAX, Entry, ListInfo


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The result of a refresh."""

    roles: tuple[str, ...]
    """The roles that were signed again."""
    expiries: Mapping[str, datetime]
    """New expiry of the metadata of each role."""
    running_out: Mapping[str, datetime]
    """The expiries of roles that have less than a third of their validity left."""


class Publisher:
    """The working folder of one list.

    `passphrase` decrypts the keys in daily use, and `now` is the time of signing: the present if it is None.

    All methods except `init` and `root` raise:
        UsageError: the folder is not a working folder.
        ListTrustError: the published folder is not what was signed.
        LockedError: another process is writing this list.
        OutputError: a folder can't be read or written, or the working folder is older than what is published.
    """

    def __init__(self, work: Path) -> None:
        """Use a working folder that `init` created."""
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
        """Create a list with its keys and its root; it can be pulled only after the first release.

        Args:
            work: new or empty folder for the working state.
            repository: new or empty folder that will be published.
            keys: new or empty folder for the keys; it may be inside `work`.
            passphrase: encrypts the keys in daily use.
            root_keys: folders for the root's keys, which are distributed over them; a folder inside `keys` if
                empty.
            root_threshold: number of keys that must sign a new root.
            root_passphrase: encrypts the root's keys; None uses `passphrase`.

        Raises:
            UsageError: a folder is not empty or is inside the published one; the name or the threshold can't
                be used; the `publish` extra isn't installed.
            OutputError: a folder can't be written.
        """
        work, repository, keys = (folder.resolve() for folder in (work, repository, keys))
        state = PublisherState(checked_name(name), repository, keys, expiry or Expiry())
        root_folders = [folder.resolve() for folder in root_keys] or [_root_keys(keys)]
        check_threshold(root_count, root_threshold)
        for secret in (work, keys, *root_folders):
            if secret.is_relative_to(repository):
                raise UsageError(
                    f"{secret} is within the folder to be published",
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
            made = make_root_keys(root_folders, root_count, {}, root_passphrase or passphrase)
            signers = [key.signer for key in made]
            expires = seconds(now) + timedelta(days=state.expiry.root)
            root = signing.new_root(signers, root_threshold, make_online_keys(keys, passphrase), expires)
            data = signing.signed(root, signers)
            replace_file(work / ROOT_NAME, data)
            signing.publish(repository, {f"{root.version}.{ROOT_NAME}": data})
            # Last, because this file makes the folder a working folder.
            write_state(work, state)
        return cls(work)

    def root(self) -> bytes:
        """Return the newest root, which new subscribers receive as their trusted root.

        Raises:
            OutputError: the root can't be read.
        """
        with output_errors("the root can't be read"):
            return (self._work / ROOT_NAME).read_bytes()

    def status(self, now: datetime | None = None) -> PublisherStatus:
        """Return the published version, the pending operations, and the expiries of signatures."""
        with opened(self._work) as workspace:
            return workspace.status(seconds(now))

    def add(self, entries: Iterable[Entry | EntryBlock], label: str) -> int:
        """Add entries for the next release, and return their number.

        Args:
            entries: read to the end before anything changes.
            label: name of the entries' origin for errors.

        Raises:
            ListFormatError: the entries are faulty, or an id is in the list already; nothing has changed.
        """
        with opened(self._work) as workspace:
            published, pending, state = workspace.published(seconds(None)), workspace.pending, workspace.state
            try:
                added = pending.add(state.name, entries, label, seconds(None))
                new = replace(workspace, state=replace(state, pending=(added,))).pending
                others: list[Iterable[NDArray[np.bytes_]]] = [[canary_ids().ids], pending.ids()]
                if published:
                    gone = pending.withdrawn()
                    others.append(ids[gone.absent(ids)] for ids in published.entries.ids())
                known = first_shared_id(new.ids, (ids for other in others for ids in other), self._work)
                if known is not None:
                    raise ListFormatError(
                        f"{label}: the id {known!r} is in the list already",
                        advice="Leave out what the list has, or withdraw it before; nothing was added.",
                    )
            except (HashscanError, OSError):
                workspace.clear()
                raise
            workspace.remember(replace(state, pending=(*state.pending, added)))
            return added.entries

    def withdraw(self, ids: Iterable[str]) -> int:
        """Withdraw entries, published ones in the next release, pending ones now; return their number.

        Args:
            ids: ids of the entries; order and repetitions don't matter.

        Raises:
            ListFormatError: there is no id, or one that belongs to no entry; nothing has changed.
        """
        given = IdSet(map(_id, ids))
        if not len(given):
            raise ListFormatError("no ids of entries to withdraw", advice="Name at least one.")
        with opened(self._work) as workspace:
            published, state = workspace.published(seconds(None)), workspace.state
            own = given.ids[given.find(canary_ids().ids)[1]]
            if own.size:
                raise ListFormatError(
                    f"the entry {bytes(own[0]).decode()!r} is the test picture's, which every list contains",
                    advice="Leave it out; nothing was withdrawn.",
                )
            try:
                withdrawn = workspace.pending.withdraw(given, published.entries.ids() if published else ())
            except UnknownIdError as error:
                more = f" (and {error.count - 1} more of the ids belong to none)" if error.count > 1 else ""
                raise ListFormatError(
                    f"there is no entry {error.entry_id!r} in the list{more}",
                    advice="Check the id; nothing was withdrawn.",
                ) from error
            after = replace(state, pending=(*state.pending, withdrawn))
            # Operations that cancel each other out are dropped.
            workspace.remember(after if after.waiting or after.withdrawing else replace(after, pending=()))
            return withdrawn.ids

    def active_ids(self, ids: Iterable[str]) -> frozenset[str]:
        """Return those of some ids that entries of the published version have.

        Raises:
            ListFormatError: one is too long for an id, or is not in ASCII.
        """
        given = IdSet(map(_id, ids))
        found: set[str] = set()
        with opened(self._work) as workspace:
            published = workspace.published(seconds(None))
            for block in published.entries.ids() if published else ():
                found |= {bytes(given.ids[place]).decode("ascii") for place in given.find(block)[1]}
        return frozenset(found)

    def release(self, *, passphrase: bytes | None = None, now: datetime | None = None) -> ListInfo:
        """Publish the pending operations, at first as a base, later as increments; return the info.

        Raises:
            UsageError: nothing is pending, the root has expired, or the keys are unusable or belong to
                another list.
            OutputError: see the class; the old version or the new one is published.
        """
        with opened(self._work) as workspace:
            if not workspace.state.pending:
                raise UsageError(
                    "nothing waits to be released", advice="Add entries with `hashscan publish add`."
                )

            def write(published: Published | None, version: int, now: datetime) -> Manifest:
                folder, pending = workspace.staging, workspace.pending
                if published is None:
                    return write_base(folder, workspace.state.name, version, now, pending.by_algorithm())
                if len(published.entries.manifest.parts) >= PARTS_MAX:
                    raise UsageError(
                        f"the list has {PARTS_MAX - 1} increments, and subscribers read no more",
                        advice="Run `hashscan publish compact` first.",
                    )
                return write_increment(folder, published.entries, version, now, pending)

            return _publish(workspace, write, len(workspace.state.pending), passphrase, seconds(now))

    def compact(self, *, passphrase: bytes | None = None, now: datetime | None = None) -> ListInfo:
        """Publish the same entries as one new base, and return its info; pending operations stay pending.

        Subscribers download the whole list again, so use this when withdrawn rows or increments have become
        many.

        Raises:
            UsageError: nothing is released, the list is only a base already, the root has expired, or the
                keys are unusable or belong to another list.
            OutputError: see the class; the old version or the new one is published.
        """
        with opened(self._work) as workspace:

            def write(published: Published | None, version: int, now: datetime) -> Manifest:
                if published is None or len(published.entries.manifest.parts) == 1:
                    raise UsageError("there are no increments to compact", advice="Nothing needs to be done.")
                entries = published.entries.by_algorithm()
                return write_base(workspace.staging, workspace.state.name, version, now, entries)

            return _publish(workspace, write, 0, passphrase, seconds(now))

    def refresh(
        self, *, everything: bool = False, passphrase: bytes | None = None, now: datetime | None = None
    ) -> Refreshed:
        """Sign the timestamp again, so that subscribers see that the version is still the newest one.

        The snapshot, whose key is available as often, is signed again too once less than a third of its
        validity is left. The targets are not: their signature confirms that the entries are still right.

        Args:
            everything: sign targets and snapshot again as well.

        Raises:
            UsageError: nothing is released, the root has expired, or the keys are unusable or belong to
                another list.
        """
        with opened(self._work) as workspace:
            at, expiry = seconds(now), workspace.state.expiry
            publication = workspace.publication
            if not publication.verified:
                raise UsageError(
                    "there is nothing to refresh yet",
                    advice="Release first, with `hashscan publish release`.",
                )
            publication.check_root(at)
            due = expiry.running_out(publication.expiries, at)
            first = "targets" if everything else "snapshot" if "snapshot" in due else "timestamp"
            roles = signing.SIGNING_ROLES[signing.SIGNING_ROLES.index(first) :]
            signers = publication.signers(roles, workspace.state.keys, passphrase)
            files = publication.renewed(first, signers, expiry, at)
            publication.check(files)
            signing.publish(workspace.state.repository, files)
            expiries = workspace.renew(at).expiries
            return Refreshed(tuple(roles), expiries, expiry.running_out(expiries, at))

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
        """Replace the keys of roles, or with no role renew the expiring root; existing subscribers follow.

        Args:
            roles: any of root, targets, snapshot and timestamp.
            root_keys: folders with enough of the root's keys, in which new ones are created; the folder
                inside the other keys' folder if empty.
            root_count: new number of the root's keys; unchanged if None.
            root_threshold: new number of keys that must sign a new root; unchanged if None.
            passphrase: passphrase of the other keys, old and new.
            root_passphrases: passphrases of the root's keys; a new key gets that of a key it replaces.

        Raises:
            UsageError: keys are missing, too few, unusable or belong to another list.
            OutputError: see the class; what is published is valid, and the next command finishes the
                rotation.
        """
        at = seconds(now)
        with opened(self._work) as workspace:
            folders = [folder.resolve() for folder in root_keys] or [_root_keys(workspace.state.keys)]
            plan = RootPlan(folders, root_passphrases or Passphrases(), root_count, root_threshold)
            rotated = rotate(self._work, workspace.state, workspace.publication, roles, plan, passphrase, at)
            workspace.renew(at)
            return rotated


def _publish(
    workspace: Workspace,
    write: Callable[[Published | None, int, datetime], Manifest],
    done: int,
    passphrase: bytes | None,
    now: datetime,
) -> ListInfo:
    """Sign and publish a version, which contains the first `done` pending operations.

    `write` writes the targets that the version adds into the staging folder.
    """
    signers = workspace.signers(passphrase, now)
    published = workspace.published(now)
    workspace.staging.mkdir()
    manifest = write(published, workspace.state.released + 1, now)
    workspace.release(frozenset(manifest.names), done, signers, now)
    published = workspace.published(now)
    assert published is not None
    return published.info


def _id(text: str) -> bytes:
    """Return an id in the form of the columns; `ListFormatError` if no entry can have it."""
    if not (text.isascii() and text.isprintable()) or len(text) > ENTRY_ID_MAX:
        raise ListFormatError(
            f"{text[:ENTRY_ID_MAX]!a} can't be the id of an entry",
            advice=f"An id has 1 to {ENTRY_ID_MAX} printable ASCII characters; nothing was withdrawn.",
        )
    return text.encode("ascii")


def _root_keys(keys: Path) -> Path:
    return keys / "root"
