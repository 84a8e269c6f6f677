"""The signed metadata of a published list: create, verify and renew it.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hashscan.atomic_files import replace_file
from hashscan.errors import ListTrustError, UsageError
from hashscan.lists.publishing.keys import load_key
from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.lists.storage import trust
from hashscan.lists.storage.signed_list import METADATA, read_metadata
from hashscan.lists.storage.tuf_api import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

if TYPE_CHECKING:
    from securesystemslib.signer import Signer


_HASHES = ["sha256"]
SIGNING_ROLES = (Targets.type, Snapshot.type, Timestamp.type)
"""The roles that sign a release, in the order of signing."""

_Role = TypeVar("_Role", Root, Targets, Snapshot, Timestamp)


def new_target(path: Path) -> trust.SignedTarget:
    """Measure and hash a file that is to be signed."""
    info = TargetFile.from_file(path.name, str(path), _HASHES)
    return trust.SignedTarget(f"{info.hashes[_HASHES[0]]}.{path.name}", info)


def new_root(
    root_signers: Sequence[Signer], threshold: int, online: Mapping[str, Signer], expires: datetime
) -> Root:
    """Return the first root: several keys of its own, one for each of `SIGNING_ROLES`, consistent snapshots.
    Times are UTC."""
    root = Root(expires=expires, consistent_snapshot=True)
    for signer in root_signers:
        root.add_key(signer.public_key, Root.type)
    root.roles[Root.type].threshold = threshold
    for role, signer in online.items():
        root.add_key(signer.public_key, role)
    return root


def signed(content: _Role, signers: Iterable[Signer]) -> bytes:
    metadata = Metadata(content)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def signed_release(
    first: str,
    content: Mapping[str, TargetFile] | MetaFile,
    versions: Mapping[str, int],
    signers: Mapping[str, Sequence[Signer]],
    expiry: Expiry,
    now: datetime,
) -> dict[str, bytes]:
    """Return new metadata of a role (one of `SIGNING_ROLES`), and of those after it in a release, by file
    name in the order in which it must be written. `content` is all targets by name, if the targets are first;
    else the description of the metadata of the role before. `versions` are those before this release, 0
    before the first; `expiry` is each signature's validity from `now` (UTC) on."""
    files = {}
    for role in SIGNING_ROLES[SIGNING_ROLES.index(first) :]:
        version = versions.get(role, 0) + 1
        expires = now + timedelta(days=getattr(expiry, role))
        if isinstance(content, Mapping):
            data = signed(Targets(version, expires=expires, targets=dict(content)), signers[role])
        elif role == Snapshot.type:
            meta = {f"{Targets.type}.json": content}
            data = signed(Snapshot(version, expires=expires, meta=meta), signers[role])
        else:
            data = signed(Timestamp(version, expires=expires, snapshot_meta=content), signers[role])
        files[f"{role}.json" if role == Timestamp.type else f"{version}.{role}.json"] = data
        content = described(version, data)
    return files


def described(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, _HASHES)


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
        """Verify the metadata of a published folder, starting from the owner's own root."""
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
        return self.verified.versions if self.verified else {}

    @property
    def targets(self) -> dict[str, TargetFile]:
        """Signed length and hashes of each target, by its name."""
        return {name: target.info for name, target in self.verified.targets.items()} if self.verified else {}

    def check_root(self, now: datetime) -> None:
        """Check that subscribers still accept what is signed below the root."""
        if now >= self.root.expires:
            raise UsageError(
                f"the list's root expired on {self.root.expires:%Y-%m-%dT%H:%M:%SZ}, "
                "so subscribers accept nothing new",
                advice="Renew it with `hashscan publish rotate`, which needs the root's keys.",
            )

    def signers(
        self, roles: Iterable[str], keys: Path, passphrase: bytes | None
    ) -> dict[str, Sequence[Signer]]:
        return {role: [load_key(keys, role, passphrase, self.root.roles[role].keyids)] for role in roles}

    def renewed(
        self, first: str, signers: Mapping[str, Sequence[Signer]], expiry: Expiry, now: datetime
    ) -> dict[str, bytes]:
        """Return new signatures of the same content; for arguments and result see `signed_release`."""
        content: Mapping[str, TargetFile] | MetaFile = self.targets
        if first != Targets.type:
            above = SIGNING_ROLES[SIGNING_ROLES.index(first) - 1]
            version = self.versions[above]
            data = read_metadata(self.folder, f"{version}.{above}.json")
            if data is None:
                raise ListTrustError(f"the metadata file {version}.{above}.json is missing")
            content = described(version, data)
        return signed_release(first, content, self.versions, signers, expiry, now)

    def check(self, files: Mapping[str, bytes]) -> trust.VerifiedMetadata:
        """Verify the published folder as it will be with some new files."""
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


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write metadata into a published folder, in the given order; the files written before an error are a
    valid state."""
    for name, data in files.items():
        replace_file(folder / METADATA / name, data, PUBLIC_FILE)
