"""Publishes a list's next version: a release, or a compaction into one base.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from hashscan.errors import UsageError
from hashscan.lists.durable import sync_folder
from hashscan.lists.manifest import PARTS_MAX, Manifest
from hashscan.lists.publishing import release as signing
from hashscan.lists.publishing.publication import publish
from hashscan.lists.publishing.publisher_state import ReleaseInProgress
from hashscan.lists.publishing.revision import write_base, write_increment
from hashscan.lists.publishing.workspace import Published, Workspace
from hashscan.lists.repository import TARGETS
from hashscan.model import ListInfo


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
