"""The signed metadata of the published folder: verifies it for its owner and signs it again.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.errors import ListTrustError, UsageError
from hashscan.lists import trust
from hashscan.lists.durable import replace_file
from hashscan.lists.publishing import release
from hashscan.lists.publishing.keys import load_key
from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.lists.repository import METADATA, read_metadata
from hashscan.lists.tuf_api import MetaFile, Root, Snapshot, TargetFile, Targets

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

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
            return release.signed_release(self.targets, *arguments)
        if first == Snapshot.type:
            return release.signed_snapshot(self._meta(Targets.type), *arguments)
        return release.signed_timestamp(self._meta(Snapshot.type), *arguments)

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
        return release.described(version, data)


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write metadata into a published folder, in the given order.

    Raises:
        OSError: a file can't be written; the files written so far are a valid state.
    """
    for name, data in files.items():
        replace_file(folder / METADATA / name, data, PUBLIC_FILE)
