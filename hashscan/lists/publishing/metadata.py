"""The signed metadata of a published list: create, verify and renew it.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hashscan.errors import ListTrustError, UsageError
from hashscan.lists.publishing.keys import load_key
from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.lists.storage import trust
from hashscan.lists.storage.atomic_files import replace_file
from hashscan.lists.storage.signed_list import METADATA, read_metadata
from hashscan.lists.storage.tuf_api import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

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


PUBLIC_FILE = 0o644


@dataclass(frozen=True, slots=True)
class Publication:
    """The verified metadata of the published folder."""

    folder: Path
    trusted_root: bytes
    """The root in the working folder, which leads to `root`."""
    root: Root
    verified: trust.VerifiedMetadata | None
    """None before the first release."""

    @classmethod
    def read(cls, folder: Path, trusted_root: bytes) -> Publication:
        """Verify the metadata of a published folder, starting from the owner's own root.

        Raises:
            ListTrustError: the metadata is not valid.
            OSError: the metadata can't be read.
        """
        try:
            root = trust.last_root(trusted_root, lambda name: read_metadata(folder, name))
            released = (folder / METADATA / trust.TIMESTAMP_NAME).exists()
            verified = (
                trust.verify(trusted_root, lambda name: read_metadata(folder, name)) if released else None
            )
        except ListTrustError as error:
            raise ListTrustError(
                f"{folder} can't be relied on: {error}",
                advice="Restore the published folder from a backup or a mirror.",
            ) from error
        return cls(folder, trusted_root, root, verified)

    @property
    def expiries(self) -> dict[str, datetime]:
        """Expiry of the metadata of each role; of the root only before the first release."""
        return {Root.type: self.root.expires} | dict(self.verified.expiries if self.verified else {})

    @property
    def versions(self) -> Mapping[str, int]:
        """Version of the metadata of each role."""
        return self.verified.versions if self.verified else {}

    @property
    def targets(self) -> dict[str, TargetFile]:
        """Signed length and hashes of each target, by its name."""
        return {name: target.info for name, target in self.verified.targets.items()} if self.verified else {}

    def check_root(self, now: datetime) -> None:
        """Check that subscribers still accept what is signed below the root.

        Raises:
            UsageError: the root has expired.
        """
        if now >= self.root.expires:
            raise UsageError(
                f"the list's root expired on {self.root.expires:%Y-%m-%dT%H:%M:%SZ}, "
                "so subscribers accept nothing new",
                advice="Renew it with `hashscan publish rotate`, which needs the root's keys.",
            )

    def signers(
        self, roles: Iterable[str], keys: Path, passphrase: bytes | None
    ) -> dict[str, Sequence[Signer]]:
        """Return the keys of some roles in daily use.

        Raises:
            UsageError: a key is missing, unusable or belongs to another list.
            OSError: a key can't be read.
        """
        return {role: [load_key(keys, role, passphrase, self.root.roles[role].keyids)] for role in roles}

    def renewed(
        self, first: str, signers: Mapping[str, Sequence[Signer]], expiry: Expiry, now: datetime
    ) -> dict[str, bytes]:
        """Return new signatures of the same content, for a role and for those that follow it in a release.

        Args:
            first: one of `release.SIGNING_ROLES`.
            signers: keys of that role and of those after it.
            expiry: validity of each role's signature, from `now` on.
            now: UTC.

        Returns:
            The metadata by file name, in the order in which it must be written.
        """
        arguments = self.versions, signers, expiry, now
        if first == Targets.type:
            return signed_release(self.targets, *arguments)
        if first == Snapshot.type:
            return signed_snapshot(self._meta(Targets.type), *arguments)
        return signed_timestamp(self._meta(Snapshot.type), *arguments)

    def check(self, files: Mapping[str, bytes]) -> trust.VerifiedMetadata:
        """Verify the published folder as it will be with some new files.

        Raises:
            UsageError: a file is longer than subscribers accept.
            ListTrustError: the metadata would not be valid.
            OSError: the folder can't be read.
        """
        for name, data in files.items():
            role = name.removesuffix(".json").rpartition(".")[2]
            longest: int = getattr(trust.LIMITS, f"{role}_max_length")
            if len(data) > longest:
                raise UsageError(
                    f"{name} would have {len(data)} bytes, and subscribers take in {longest} at most",
                    advice="Run `hashscan publish compact`, or part the list in two.",
                )
        return trust.verify(
            self.trusted_root, lambda name: files.get(name) or read_metadata(self.folder, name)
        )

    def _meta(self, role: str) -> MetaFile:
        """Return the description of a role's present metadata, as the role above it contains."""
        version = self.versions[role]
        data = read_metadata(self.folder, f"{version}.{role}.json")
        if data is None:
            raise ListTrustError(f"the metadata file {version}.{role}.json is missing")
        return described(version, data)


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write metadata into a published folder, in the given order.

    Raises:
        OSError: a file can't be written; the files written so far are a valid state.
    """
    for name, data in files.items():
        replace_file(folder / METADATA / name, data, PUBLIC_FILE)
