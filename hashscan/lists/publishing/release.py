"""Creates the signed metadata of a list's root and of each release, as bytes.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.lists.tuf_api import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

_HASHES = ["sha256"]
SIGNING_ROLES = (Targets.type, Snapshot.type, Timestamp.type)
"""The roles that sign a release, in the order of signing."""

_Role = TypeVar("_Role", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class NewTarget:
    """A finished file that is to be moved into the published folder."""

    path: Path
    """Present path of the file, under its name as a target."""
    info: TargetFile

    @property
    def file_name(self) -> str:
        """File name in a repository with consistent snapshots."""
        return f"{self.info.hashes[_HASHES[0]]}.{self.info.path}"


def new_target(path: Path) -> NewTarget:
    """Measure and hash a file.

    Raises:
        OSError: the file can't be read.
    """
    return NewTarget(path, TargetFile.from_file(path.name, str(path), _HASHES))


def new_root(
    root_signers: Sequence[Signer], threshold: int, online: Mapping[str, Signer], expires: datetime
) -> Root:
    """Return the first root: several keys of its own, one for each other role, consistent snapshots.

    Args:
        root_signers: the keys that may sign roots.
        threshold: number of keys that must sign.
        online: one key for each of `SIGNING_ROLES`.
        expires: UTC.
    """
    root = Root(expires=expires, consistent_snapshot=True)
    for signer in root_signers:
        root.add_key(signer.public_key, Root.type)
    root.roles[Root.type].threshold = threshold
    for role, signer in online.items():
        root.add_key(signer.public_key, role)
    return root


def signed(content: _Role, signers: Iterable[Signer]) -> bytes:
    """Return metadata with the signatures of all signers."""
    metadata = Metadata(content)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def signed_release(
    targets: Mapping[str, TargetFile],
    versions: Mapping[str, int],
    signers: Mapping[str, Sequence[Signer]],
    expiry: Expiry,
    now: datetime,
) -> dict[str, bytes]:
    """Return the metadata of a release by file name, in the order in which it must be written.

    Args:
        targets: all targets of the release, by name.
        versions: version of each role before this release; 0 before the first.
        signers: keys of each of `SIGNING_ROLES`.
        expiry: validity of each role's signature, from `now` on.
        now: UTC.
    """
    version = versions.get(Targets.type, 0) + 1
    data = signed(
        Targets(version, expires=_expires(Targets.type, expiry, now), targets=dict(targets)),
        signers[Targets.type],
    )
    below = signed_snapshot(described(version, data), versions, signers, expiry, now)
    return {f"{version}.{Targets.type}.json": data} | below


def signed_snapshot(
    targets_meta: MetaFile,
    versions: Mapping[str, int],
    signers: Mapping[str, Sequence[Signer]],
    expiry: Expiry,
    now: datetime,
) -> dict[str, bytes]:
    """Return a new snapshot of the targets metadata that `targets_meta` describes, and its timestamp.

    The other arguments and the result are those of `signed_release`.
    """
    version = versions.get(Snapshot.type, 0) + 1
    content = Snapshot(
        version,
        expires=_expires(Snapshot.type, expiry, now),
        meta={f"{Targets.type}.json": targets_meta},
    )
    data = signed(content, signers[Snapshot.type])
    below = signed_timestamp(described(version, data), versions, signers, expiry, now)
    return {f"{version}.{Snapshot.type}.json": data} | below


def signed_timestamp(
    snapshot_meta: MetaFile,
    versions: Mapping[str, int],
    signers: Mapping[str, Sequence[Signer]],
    expiry: Expiry,
    now: datetime,
) -> dict[str, bytes]:
    """Return a new timestamp of the snapshot that `snapshot_meta` describes.

    The other arguments and the result are those of `signed_release`.
    """
    version = versions.get(Timestamp.type, 0) + 1
    content = Timestamp(version, expires=_expires(Timestamp.type, expiry, now), snapshot_meta=snapshot_meta)
    return {f"{Timestamp.type}.json": signed(content, signers[Timestamp.type])}


def described(version: int, data: bytes) -> MetaFile:
    """Return the description of metadata that the role above it contains."""
    return MetaFile.from_data(version, data, _HASHES)


def _expires(role: str, expiry: Expiry, now: datetime) -> datetime:
    days: int = getattr(expiry, role)
    return now + timedelta(days=days)
