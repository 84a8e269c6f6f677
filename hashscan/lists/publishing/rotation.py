"""Key rotation: replaces the keys of a list's root and roles so that every subscriber can follow.

Subscribers follow the roots one by one, and may pull at any moment. So the keys of a role change in three
steps: a root that trusts the old key and the new; metadata signed by both; a root that trusts only the new
one. All of this is signed before the first step and written to a journal in the working folder. A later
command that finds the journal only has to publish its content, without any key.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from hashscan.atomic_files import remove_leftovers, replace_file, sync_folder
from hashscan.errors import OutputError, UsageError
from hashscan.lists.publishing import metadata
from hashscan.lists.publishing.keys import (
    Passphrases,
    RootKey,
    check_threshold,
    load_root_keys,
    make_root_keys,
    new_key,
    online_path,
    online_paths,
    read_key,
    retire,
)
from hashscan.lists.publishing.metadata import Publication, publish
from hashscan.lists.publishing.publisher_state import PublisherState
from hashscan.lists.storage import trust
from hashscan.lists.storage.tuf_api import Root
from hashscan.schema import InvalidDocumentError, decode_file, encode_file

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

JOURNAL = "rotation.json"
ROOT_NAME = "root.json"
"""File name of the newest root in the working folder, for new subscribers."""

_FileName = Annotated[str, Meta(pattern=r"\A([1-9][0-9]*\.(root|targets|snapshot)|timestamp)\.json\Z")]


@dataclass(frozen=True, slots=True)
class _Journal:
    files: Annotated[dict[_FileName, str], Meta(min_length=1)]
    """The metadata of a rotation by file name, in the order in which it must be written."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """The result of a rotation."""

    root_version: int
    expires: datetime
    """Expiry of the new root."""
    made: tuple[Path, ...]
    retired: tuple[Path, ...]
    """New paths of the old keys, which no root trusts any more."""
    lost: tuple[str, ...]
    """Roles whose old key was not available for a last signature."""
    left_behind: int
    """Subscribers whose root has this version or an earlier one can't follow; 0 if all can."""


@dataclass(frozen=True, slots=True)
class RootPlan:
    """Folders, passphrases, number and threshold of the root's keys."""

    folders: Sequence[Path]
    """Folders to search for the present keys, and to create new ones in."""
    passphrases: Passphrases
    count: int | None = None
    """Number of new keys; None for as many as before."""
    threshold: int | None = None
    """Number of new keys that must sign; None for as many as before."""


def rotate(
    work: Path,
    state: PublisherState,
    publication: Publication,
    roles: Collection[str],
    plan: RootPlan,
    passphrase: bytes | None,
    now: datetime,
) -> Rotated:
    """Replace the keys of roles, or with no role sign the root again with a later expiry."""
    old = publication.root
    old_role = old.roles[Root.type]
    if Root.type not in roles and (plan.count or plan.threshold):
        raise UsageError(
            "the number of the root's keys changes only with the keys themselves",
            advice="Say `rotate root` with --root-count and --root-threshold.",
        )
    count, threshold = plan.count or len(old_role.keyids), plan.threshold or old_role.threshold
    check_threshold(count, threshold)
    online = [role for role in metadata.SIGNING_ROLES if role in roles]
    signers = _present_signers(state, publication, online, passphrase)
    old_keys = load_root_keys(plan.folders, old_role.keyids, old_role.threshold, plan.passphrases)

    for folder in (state.keys, *plan.folders):
        if folder.is_dir():
            remove_leftovers(folder)
    # From here on there may be keys that no root trusts yet; if the process ends early, no root ever will.
    new_keys = []
    if Root.type in roles:
        # Their files have the passphrases of the keys that they replace.
        passphrases = {key.path.parent: key.passphrase for key in reversed(old_keys)}
        new_keys = make_root_keys(plan.folders, count, passphrases, old_keys[0].passphrase)
    paths = {role: online_path(state.keys, role, old.version + 2) for role in online}
    new_signers = {role: new_key(path, passphrase) for role, path in paths.items()}

    root = _root_of_both(old, new_keys, threshold, new_signers, now + timedelta(days=state.expiry.root))
    files = {_file_name(root): metadata.signed(root, [key.signer for key in (*old_keys, *new_keys)])}
    if online:
        if publication.verified:
            both = signers | {role: [*signers[role], new_signers[role]] for role in online}
            files |= publication.renewed(online[0], both, state.expiry, now)
        root = _next(root, root.expires)
        for role in online:
            for key_id in old.roles[role].keyids:
                root.revoke_key(key_id, role)
        files[_file_name(root)] = metadata.signed(root, [key.signer for key in new_keys or old_keys])
    if publication.verified:
        publication.check(files)
    replace_file(work / JOURNAL, encode_file(_Journal({name: data.decode() for name, data in files.items()})))
    finish(work, state.repository)

    retired = _retire_online(state.keys, online, root, passphrase)
    retired += retire([key.path for key in old_keys]) if new_keys else ()
    return Rotated(
        root.version,
        root.expires,
        (*(key.path for key in new_keys), *paths.values()),
        retired,
        lost=tuple(role for role in online if not signers[role]),
        left_behind=max(root.version - 1 - trust.LIMITS.max_root_rotations, 0),
    )


def finish(work: Path, repository: Path) -> None:
    """Publish the journal of a rotation, if there is one; the caller holds the lock."""
    path = work / JOURNAL
    try:
        texts = decode_file(path.read_bytes(), _Journal).files
    except FileNotFoundError:
        return
    except InvalidDocumentError as error:
        raise OutputError(
            f"{path} is damaged ({error})",
            advice="Restore it from a backup; a rotation has yet to be published.",
        ) from error
    files = {name: text.encode() for name, text in texts.items()}
    publish(repository, files)
    roots = [data for name, data in files.items() if name.endswith(f".{ROOT_NAME}")]
    replace_file(work / ROOT_NAME, roots[-1])
    path.unlink()
    sync_folder(work)


def _present_signers(
    state: PublisherState, publication: Publication, online: Sequence[str], passphrase: bytes | None
) -> dict[str, Sequence[Signer]]:
    """Return the present keys of the roles that sign again; none for a rotated role whose key is missing."""
    if not online:
        return {}
    signing = metadata.SIGNING_ROLES[metadata.SIGNING_ROLES.index(online[0]) :]
    present = [role for role in signing if role not in online or online_paths(state.keys, role)]
    return dict.fromkeys(online, ()) | publication.signers(present, state.keys, passphrase)


def _root_of_both(
    old: Root,
    new_keys: Sequence[RootKey],
    threshold: int,
    new_signers: Mapping[str, Signer],
    expires: datetime,
) -> Root:
    """Return the draft of a root with its new keys, if there are any, and with old and new keys of roles."""
    root = _next(old, expires)
    if new_keys:
        for key_id in old.roles[Root.type].keyids:
            root.revoke_key(key_id, Root.type)
        for key in new_keys:
            root.add_key(key.signer.public_key, Root.type)
        root.roles[Root.type].threshold = threshold
    for role, signer in new_signers.items():
        root.add_key(signer.public_key, role)
    return root


def _file_name(root: Root) -> str:
    return f"{root.version}.{ROOT_NAME}"


def _next(root: Root, expires: datetime) -> Root:
    following = deepcopy(root)
    following.version += 1
    following.expires = expires
    return following


def _retire_online(
    keys: Path, roles: Sequence[str], root: Root, passphrase: bytes | None
) -> tuple[Path, ...]:
    """Retire the keys of roles that the root doesn't trust, including those left by earlier rotations."""
    old = [
        path
        for role in roles
        for path in online_paths(keys, role)
        if read_key(path, passphrase).public_key.keyid not in root.roles[role].keyids
    ]
    return retire(old)
