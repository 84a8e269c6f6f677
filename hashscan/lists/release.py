"""Makes the signed metadata of a list's root and of each release, as bytes.

Importing this module imports tuf, so others do so on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from hashscan.lists.publisher_state import Expiry

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

_HASHES = ["sha256"]
SIGNING_ROLES = (Targets.type, Snapshot.type, Timestamp.type)
"""The roles that sign a release, in the order in which they do."""


@dataclass(frozen=True, slots=True)
class NewTarget:
    """A finished file on its way into the published folder."""

    path: Path
    """Where it lies now, under the name it has as a target."""
    info: TargetFile

    @property
    def file_name(self) -> str:
        """Its name in a repository with consistent snapshots."""
        return f"{self.info.hashes[_HASHES[0]]}.{self.info.path}"


def new_target(path: Path) -> NewTarget:
    """Measure and hash a file.

    Raises:
        OSError: it can't be read.
    """
    return NewTarget(path, TargetFile.from_file(path.name, str(path), _HASHES))


def signed_root(signers: Mapping[str, Signer], expires: datetime) -> bytes:
    """The first root: one key a role, consistent snapshots.

    Args:
        signers: one for each top-level role.
        expires: UTC.
    """
    root = Root(expires=expires, consistent_snapshot=True)
    for role, signer in signers.items():
        root.add_key(signer.public_key, role)
    metadata = Metadata(root)
    metadata.sign(signers[Root.type])
    return metadata.to_bytes()


def signed_release(
    targets: list[NewTarget],
    versions: Mapping[str, int],
    signers: Mapping[str, Signer],
    expiry: Expiry,
    now: datetime,
) -> dict[str, bytes]:
    """The metadata of a release by file name, in the order in which it must be written.

    Args:
        targets: everything the release consists of.
        versions: of each role before this release; 0 before the first.
        signers: one for each of `SIGNING_ROLES`.
        expiry: how long each role's signature holds from `now` on.
        now: UTC.
    """
    version = {role: versions.get(role, 0) + 1 for role in SIGNING_ROLES}
    expires = {role: now + timedelta(days=getattr(expiry, role)) for role in SIGNING_ROLES}

    signed_targets = Metadata(
        Targets(
            version[Targets.type],
            expires=expires[Targets.type],
            targets={t.info.path: t.info for t in targets},
        )
    )
    signed_targets.sign(signers[Targets.type])
    targets_data = signed_targets.to_bytes()

    targets_meta = MetaFile.from_data(version[Targets.type], targets_data, _HASHES)
    snapshot = Metadata(
        Snapshot(
            version[Snapshot.type],
            expires=expires[Snapshot.type],
            meta={f"{Targets.type}.json": targets_meta},
        )
    )
    snapshot.sign(signers[Snapshot.type])
    snapshot_data = snapshot.to_bytes()

    snapshot_meta = MetaFile.from_data(version[Snapshot.type], snapshot_data, _HASHES)
    timestamp = Metadata(
        Timestamp(version[Timestamp.type], expires=expires[Timestamp.type], snapshot_meta=snapshot_meta)
    )
    timestamp.sign(signers[Timestamp.type])
    return {
        f"{version[Targets.type]}.{Targets.type}.json": targets_data,
        f"{version[Snapshot.type]}.{Snapshot.type}.json": snapshot_data,
        f"{Timestamp.type}.json": timestamp.to_bytes(),
    }
