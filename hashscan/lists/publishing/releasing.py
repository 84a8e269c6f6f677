"""Create a published list, release or compact its next version, and sign the present one again.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.lists.publishing import metadata as signing
from hashscan.lists.publishing.keys import check_threshold, make_online_keys, make_root_keys
from hashscan.lists.publishing.metadata import publish
from hashscan.lists.publishing.next_version import write_base, write_increment
from hashscan.lists.publishing.publisher_state import PublisherState, ReleaseInProgress, write_state
from hashscan.lists.publishing.rotation import ROOT_NAME
from hashscan.lists.publishing.workspace import Published, Workspace
from hashscan.lists.storage.atomic_files import output_errors, replace_file, sync_folder
from hashscan.lists.storage.layout import checked_name, private_folder
from hashscan.lists.storage.manifest import PARTS_MAX, Manifest
from hashscan.lists.storage.signed_list import METADATA, TARGETS
from hashscan.model import ListInfo


def create(
    work: Path,
    state: PublisherState,
    passphrase: bytes | None,
    root_folders: Sequence[Path],
    root_count: int,
    root_threshold: int,
    root_passphrase: bytes | None,
    now: datetime,
) -> None:
    """Create a list's keys, root and folders.

    The arguments and errors are those of `Publisher.init`; all folders are resolved.
    """
    checked_name(state.name)
    check_threshold(root_count, root_threshold)
    repository, keys = state.repository, state.keys
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
        root_keys = make_root_keys(root_folders, root_count, {}, root_passphrase)
        signers = [key.signer for key in root_keys]
        expires = now + timedelta(days=state.expiry.root)
        root = signing.new_root(signers, root_threshold, make_online_keys(keys, passphrase), expires)
        data = signing.signed(root, signers)
        replace_file(work / ROOT_NAME, data)
        publish(repository, {f"{root.version}.{ROOT_NAME}": data})
        # Last, because this file makes the folder a working folder.
        write_state(work, state)


def release(room: Workspace, passphrase: bytes | None, now: datetime) -> ListInfo:
    """Publish all pending operations: first as a base, later as an increment.

    The arguments, result and errors are those of `Publisher.release`.
    """
    if not room.state.pending:
        raise UsageError("nothing waits to be released", advice="Add entries with `hashscan publish add`.")

    def write(published: Published | None, version: int) -> Manifest:
        if published is None:
            waiting = room.pending.by_algorithm()
            return write_base(room.staging, room.state.name, version, now, waiting)
        if len(published.entries.manifest.parts) >= PARTS_MAX:
            raise UsageError(
                f"the list has {PARTS_MAX - 1} increments, and subscribers read no more",
                advice="Run `hashscan publish compact` first.",
            )
        return write_increment(room.staging, published.entries, version, now, room.pending)

    return _publish(room, write, len(room.state.pending), passphrase, now)


def compact(room: Workspace, passphrase: bytes | None, now: datetime) -> ListInfo:
    """Publish the present entries as one new base.

    The arguments, result and errors are those of `Publisher.compact`.
    """

    def write(published: Published | None, version: int) -> Manifest:
        if published is None or len(published.entries.manifest.parts) == 1:
            raise UsageError("there are no increments to compact", advice="Nothing needs to be done.")
        entries = published.entries.by_algorithm()
        return write_base(room.staging, room.state.name, version, now, entries)

    return _publish(room, write, 0, passphrase, now)


def _publish(
    room: Workspace,
    write: Callable[[Published | None, int], Manifest],
    done: int,
    passphrase: bytes | None,
    now: datetime,
) -> ListInfo:
    """Sign and publish a version.

    Args:
        room: the opened working folder, with its lock.
        write: writes the targets that the version adds into the staging folder.
        done: number of pending operations that the version contains.
        passphrase: passphrase of the keys.
        now: the time of signing.
    """
    publication, state = room.publication, room.state
    publication.check_root(now)
    signers = publication.signers(signing.SIGNING_ROLES, state.keys, passphrase)
    version = state.released + 1
    published = room.published(now)
    room.staging.mkdir()
    manifest = write(published, version)
    staged = [signing.new_target(path) for path in sorted(room.staging.iterdir())]
    kept = publication.targets
    targets = {name: kept[name] for name in manifest.names if name in kept}
    targets |= {target.info.path: target.info for target in staged}
    metadata = signing.signed_release(targets, publication.versions, signers, state.expiry, now)
    publication.check(metadata)
    # Otherwise a release killed after this would look like a working folder restored from an old backup.
    room.remember(replace(state, upcoming=ReleaseInProgress(version, done)), clear=False)
    for target in staged:
        target.path.rename(state.repository / TARGETS / target.file_name)
    sync_folder(state.repository / TARGETS)
    publish(state.repository, metadata)
    room.remember(replace(state, released=version, pending=state.pending[done:], upcoming=None))
    room.renew(now)
    published = room.published(now)
    assert published is not None
    return published.info


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The result of a refresh."""

    roles: tuple[str, ...]
    """The roles that were signed again."""
    expiries: Mapping[str, datetime]
    """New expiry of the metadata of each role."""
    running_out: Mapping[str, datetime]
    """The expiries of roles that have less than a third of their validity left."""


def refresh(room: Workspace, passphrase: bytes | None, now: datetime, *, everything: bool) -> Refreshed:
    """Sign the timestamp again, the snapshot if it expires soon, the targets only if `everything` is set.

    The arguments and errors are those of `Publisher.refresh`.
    """
    publication, expiry = room.publication, room.state.expiry
    if not publication.verified:
        raise UsageError(
            "there is nothing to refresh yet", advice="Release first, with `hashscan publish release`."
        )
    publication.check_root(now)
    due = expiry.running_out(publication.expiries, now)
    first = "targets" if everything else "snapshot" if "snapshot" in due else "timestamp"
    roles = signing.SIGNING_ROLES[signing.SIGNING_ROLES.index(first) :]
    signers = publication.signers(roles, room.state.keys, passphrase)
    metadata = publication.renewed(first, signers, expiry, now)
    publication.check(metadata)
    publish(room.state.repository, metadata)
    expiries = room.renew(now).expiries
    return Refreshed(tuple(roles), expiries, expiry.running_out(expiries, now))
