"""Key rotation: replaces the keys of a list's root and roles so that every subscriber can follow.

Subscribers follow the roots one by one, and may pull at any moment. So the keys of a role change in three
steps: a root that trusts the old key and the new; metadata signed by both; a root that trusts only the new
one. All of this is signed before the first step and written to a journal in the working folder. A later
command that finds the journal only has to publish its content, without any key.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.errors import OutputError, UsageError
from hashscan.lists.publishing import metadata
from hashscan.lists.publishing.keys import (
    Passphrases,
    RootKey,
    check_threshold,
    load_key,
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
from hashscan.lists.storage.atomic_files import remove_leftovers, replace_file, sync_folder
from hashscan.lists.storage.tuf_api import Root

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

JOURNAL = "rotation.json"
ROOT_NAME = "root.json"
"""File name of the newest root in the working folder, for new subscribers."""
_SCHEMA = 1
_FILE = re.compile(r"[1-9]\d*\.(root|targets|snapshot)\.json|timestamp\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rotated:
    """The result of a rotation."""

    root_version: int
    expires: datetime
    """Expiry of the new root."""
    made: tuple[Path, ...]
    """Files of new keys."""
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
    """Replace the keys of roles, or with no role sign the root again with a later expiry.

    Raises:
        UsageError: keys are missing or unusable, or the thresholds are not valid.
        ListTrustError: the published folder is not what was signed.
        OSError: a folder can't be written; what is published is valid.
    """
    old = publication.root
    old_role = old.roles[Root.type]
    if Root.type not in roles and (plan.count or plan.threshold):
        raise UsageError(
            "the number of the root's keys changes only with the keys themselves",
            advice="Say `rotate root` with --root-count and --root-threshold.",
        )
    count = plan.count or len(old_role.keyids)
    threshold = plan.threshold or old_role.threshold
    check_threshold(count, threshold)
    online = [role for role in metadata.SIGNING_ROLES if role in roles]
    last_version = old.version + (2 if online else 1)
    old_signers, lost = _old_signers(state, publication, online, passphrase)
    later = metadata.SIGNING_ROLES[metadata.SIGNING_ROLES.index(online[0]) :] if online else ()
    signers = publication.signers([role for role in later if role not in online], state.keys, passphrase)
    old_keys = load_root_keys(plan.folders, old_role.keyids, old_role.threshold, plan.passphrases)

    for folder in (state.keys, *plan.folders):
        if folder.is_dir():
            remove_leftovers(folder)
    # From here on there may be keys that no root trusts yet; if the process ends early, no root ever will.
    new_keys = _new_root_keys(plan.folders, count, old_keys) if Root.type in roles else []
    made = [key.path for key in new_keys]
    new_signers = {}
    for role in online:
        made.append(online_path(state.keys, role, last_version))
        new_signers[role] = new_key(made[-1], passphrase)

    root = _next(old, now + timedelta(days=state.expiry.root))
    if new_keys:
        for key_id in list(old_role.keyids):
            root.revoke_key(key_id, Root.type)
        for key in new_keys:
            root.add_key(key.signer.public_key, Root.type)
        root.roles[Root.type].threshold = threshold
    for role, signer in new_signers.items():
        root.add_key(signer.public_key, role)
    root_signers = [key.signer for key in new_keys or old_keys]
    all_signers = {id(key.signer): key.signer for key in [*old_keys, *new_keys]}
    files = {f"{root.version}.{Root.type}.json": metadata.signed(root, all_signers.values())}
    if online:
        if publication.verified:
            both = {role: [*old_signers[role], new_signers[role]] for role in online}
            files |= publication.renewed(online[0], {**signers, **both}, state.expiry, now)
        root = _next(root, root.expires)
        for role in online:
            for key_id in old.roles[role].keyids:
                root.revoke_key(key_id, role)
        files[f"{root.version}.{Root.type}.json"] = metadata.signed(root, root_signers)
    if publication.verified:
        publication.check(files)
    _write_journal(work, files)
    finish(work, state.repository)

    retired = _retire_online(state.keys, online, root, passphrase)
    retired += retire([key.path for key in old_keys]) if new_keys else ()
    behind = max(root.version - 1 - trust.LIMITS.max_root_rotations, 0)
    return Rotated(root.version, root.expires, tuple(made), retired, lost, behind)


def finish(work: Path, repository: Path) -> None:
    """Publish the journal of a rotation, if there is one; the caller holds the lock.

    Raises:
        OutputError: the journal is damaged.
        OSError: the journal can't be read or published; the next call continues.
    """
    path = work / JOURNAL
    try:
        files = _journal(path.read_bytes())
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{path} is damaged ({error})",
            advice="Restore it from a backup; a rotation has yet to be published.",
        ) from error
    publish(repository, files)
    roots = [data for name, data in files.items() if name.endswith(f".{ROOT_NAME}")]
    replace_file(work / ROOT_NAME, roots[-1])
    path.unlink()
    sync_folder(work)


def _old_signers(
    state: PublisherState, publication: Publication, roles: Sequence[str], passphrase: bytes | None
) -> tuple[dict[str, list[Signer]], tuple[str, ...]]:
    """Return the present keys of roles, and the roles whose key is missing."""
    signers: dict[str, list[Signer]] = {}
    lost = []
    for role in roles:
        signers[role] = []
        if online_paths(state.keys, role):
            key_ids = publication.root.roles[role].keyids
            signers[role].append(load_key(state.keys, role, passphrase, key_ids))
        else:
            lost.append(role)
    return signers, tuple(lost)


def _new_root_keys(folders: Sequence[Path], count: int, old: Sequence[RootKey]) -> list[RootKey]:
    """Create keys whose files have the passphrases of the keys that they replace."""
    passphrases = {key.path.parent: key.passphrase for key in reversed(old)}
    return make_root_keys(folders, count, passphrases, old[0].passphrase)


def _next(root: Root, expires: datetime) -> Root:
    """Return the draft of the root after this one."""
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


def _write_journal(work: Path, files: Mapping[str, bytes]) -> None:
    document = {"schema": _SCHEMA, "files": {name: data.decode("utf-8") for name, data in files.items()}}
    replace_file(work / JOURNAL, json.dumps(document).encode("ascii"))


def _journal(data: bytes) -> dict[str, bytes]:
    document = json.loads(data)
    if document["schema"] != _SCHEMA:
        raise ValueError(f"schema {document['schema']!r}")
    files: dict[str, bytes] = {name: text.encode() for name, text in document["files"].items()}
    if not files or not all(_FILE.fullmatch(name) for name in files):
        raise ValueError("names of files")
    return files
