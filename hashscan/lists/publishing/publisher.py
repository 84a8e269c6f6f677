"""The list owner's side of signed lists: collects entries and releases them into a folder to publish.

The published folder contains `metadata/` and `targets/` with consistent snapshots, after
https://theupdateframework.github.io/specification/latest/ . A release adds files under new names and replaces
`timestamp.json` at its very end, so that everyone who copies or serves the folder has the old version or the
new one. The working folder, outside of it, contains `publisher.json`, the root to hand out, and pending
entries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hashscan.errors import HashscanError, ListFormatError
from hashscan.lists.publishing.keys import Passphrases
from hashscan.lists.publishing.next_version import UnknownIdError
from hashscan.lists.publishing.publisher_state import Expiry, PublisherState
from hashscan.lists.storage.atomic_files import output_errors
from hashscan.lists.storage.columns import EntryBlock
from hashscan.lists.storage.entry_ids import IdSet, first_shared_id
from hashscan.model import ENTRY_ID_MAX, Entry, ListInfo

if TYPE_CHECKING:
    from hashscan.lists.publishing.releasing import Refreshed
    from hashscan.lists.publishing.rotation import Rotated
    from hashscan.lists.publishing.workspace import PublisherStatus, Workspace


class Publisher:
    """The working folder of one list.

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
            name: name of the list.
            expiry: validity of signatures.
            passphrase: encrypts the keys.
            root_keys: folders for the root's keys, which are distributed over them; a folder inside `keys` if
                empty.
            root_count: number of the root's keys.
            root_threshold: number of keys that must sign a new root.
            root_passphrase: encrypts the root's keys; None uses `passphrase`.
            now: the time of signing.

        Raises:
            UsageError: a folder is not empty or is inside the published one; the name or the threshold can't
                be used; the `publish` extra isn't installed.
            OutputError: a folder can't be written.
        """
        from hashscan.lists.publishing.releasing import create
        from hashscan.lists.publishing.workspace import seconds

        work, repository, keys = (folder.resolve() for folder in (work, repository, keys))
        state = PublisherState(name, repository, keys, expiry or Expiry())
        folders = [folder.resolve() for folder in root_keys] or [_root_keys(keys)]
        root = root_count, root_threshold, root_passphrase or passphrase
        create(work, state, passphrase, folders, *root, seconds(now))
        return cls(work)

    def root(self) -> bytes:
        """Return the newest root, which new subscribers receive as their trusted root.

        Raises:
            OutputError: the root can't be read.
        """
        from hashscan.lists.publishing.rotation import ROOT_NAME

        with output_errors("the root can't be read"):
            return (self._work / ROOT_NAME).read_bytes()

    def status(self, now: datetime | None = None) -> PublisherStatus:
        """Return the published version, the pending operations, and the expiries of signatures."""
        from hashscan.lists.publishing.workspace import read_folder, seconds

        with self._opened() as room:
            return read_folder(room, seconds(now))

    def add(self, entries: Iterable[Entry | EntryBlock], label: str) -> int:
        """Add entries for the next release.

        Args:
            entries: read to the end before anything changes.
            label: name of the entries' origin for errors.

        Returns:
            Number of added entries.

        Raises:
            ListFormatError: the entries are faulty, or an id is in the list already; nothing has changed.
        """
        from hashscan.lists.publishing.next_version import canary_ids
        from hashscan.lists.publishing.workspace import seconds

        with self._opened() as room:
            published, pending, state = room.published(seconds(None)), room.pending, room.state
            try:
                added = pending.add(state.name, entries, label, seconds(None))
                new = replace(room, state=replace(state, pending=(added,))).pending
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
                room.clear()
                raise
            room.remember(replace(state, pending=(*state.pending, added)))
            return added.entries

    def withdraw(self, ids: Iterable[str]) -> int:
        """Withdraw entries: published ones with the next release, pending ones at once.

        Args:
            ids: ids of the entries; order and repetitions don't matter.

        Returns:
            Number of withdrawn entries.

        Raises:
            ListFormatError: there is no id, or one that belongs to no entry; nothing has changed.
        """
        from hashscan.lists.publishing.next_version import canary_ids
        from hashscan.lists.publishing.workspace import seconds

        given = IdSet(map(_id, ids))
        if not len(given):
            raise ListFormatError("no ids of entries to withdraw", advice="Name at least one.")
        with self._opened() as room:
            published, state = room.published(seconds(None)), room.state
            own = given.ids[given.find(canary_ids().ids)[1]]
            if own.size:
                raise ListFormatError(
                    f"the entry {bytes(own[0]).decode()!r} is the test picture's, which every list contains",
                    advice="Leave it out; nothing was withdrawn.",
                )
            try:
                withdrawn = room.pending.withdraw(given, published.entries.ids() if published else ())
            except UnknownIdError as error:
                more = f" (and {error.count - 1} more of the ids belong to none)" if error.count > 1 else ""
                raise ListFormatError(
                    f"there is no entry {error.entry_id!r} in the list{more}",
                    advice="Check the id; nothing was withdrawn.",
                ) from error
            after = replace(state, pending=(*state.pending, withdrawn))
            # Operations that cancel each other out are dropped.
            room.remember(after if after.waiting or after.withdrawing else replace(after, pending=()))
            return withdrawn.ids

    def release(self, *, passphrase: bytes | None = None, now: datetime | None = None) -> ListInfo:
        """Publish a new version with all pending operations: first a base, later an increment.

        Args:
            passphrase: passphrase of the keys.
            now: the time of signing.

        Returns:
            Info of the version that is published now.

        Raises:
            UsageError: nothing is pending, the root has expired, or the keys are unusable or belong to
                another list.
            OutputError: see the class; the old version or the new one is published.
        """
        from hashscan.lists.publishing.releasing import release
        from hashscan.lists.publishing.workspace import seconds

        with self._opened() as room:
            return release(room, passphrase, seconds(now))

    def compact(self, *, passphrase: bytes | None = None, now: datetime | None = None) -> ListInfo:
        """Publish the same entries as one new base; pending operations stay pending.

        Subscribers download the whole list again, so use this when withdrawn rows or increments have become
        many.

        Args:
            passphrase: passphrase of the keys.
            now: the time of signing.

        Returns:
            Info of the version that is published now.

        Raises:
            UsageError: nothing is released, the list is only a base already, the root has expired, or the
                keys are unusable or belong to another list.
            OutputError: see the class; the old version or the new one is published.
        """
        from hashscan.lists.publishing.releasing import compact
        from hashscan.lists.publishing.workspace import seconds

        with self._opened() as room:
            return compact(room, passphrase, seconds(now))

    def refresh(
        self, *, everything: bool = False, passphrase: bytes | None = None, now: datetime | None = None
    ) -> Refreshed:
        """Sign the timestamp again, so that subscribers see that the version is still the newest one.

        The snapshot, whose key is available as often, is signed again too once less than a third of its
        validity is left. The targets are not: their signature confirms that the entries are still right.

        Args:
            everything: sign targets and snapshot again as well.
            passphrase: passphrase of the keys.
            now: the time of signing.

        Raises:
            UsageError: nothing is released, the root has expired, or the keys are unusable or belong to
                another list.
        """
        from hashscan.lists.publishing.releasing import refresh
        from hashscan.lists.publishing.workspace import seconds

        with self._opened() as room:
            return refresh(room, passphrase, seconds(now), everything=everything)

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
            now: the time of signing.

        Raises:
            UsageError: keys are missing, too few, unusable or belong to another list.
            OutputError: see the class; what is published is valid, and the next command finishes the
                rotation.
        """
        from hashscan.lists.publishing.rotation import RootPlan, rotate
        from hashscan.lists.publishing.workspace import seconds

        at = seconds(now)
        with self._opened() as room:
            folders = [folder.resolve() for folder in root_keys] or [_root_keys(room.state.keys)]
            plan = RootPlan(folders, root_passphrases or Passphrases(), root_count, root_threshold)
            rotated = rotate(self._work, room.state, room.publication, roles, plan, passphrase, at)
            room.renew(at)
            return rotated

    def _opened(self) -> AbstractContextManager[Workspace]:
        from hashscan.lists.publishing.workspace import opened

        return opened(self._work)


def _id(text: str) -> bytes:
    """Return an id in the form of the columns.

    Raises:
        ListFormatError: no entry can have this id.
    """
    if not (text.isascii() and text.isprintable()) or len(text) > ENTRY_ID_MAX:
        raise ListFormatError(
            f"{text[:ENTRY_ID_MAX]!a} can't be the id of an entry",
            advice=f"An id has 1 to {ENTRY_ID_MAX} printable ASCII characters; nothing was withdrawn.",
        )
    return text.encode("ascii")


def _root_keys(keys: Path) -> Path:
    """Return the default folder of the root's keys."""
    return keys / "root"
