"""Verifies a list's TUF metadata offline, from bytes that the caller reads.

The rules, after https://theupdateframework.github.io/specification/latest/#detailed-client-workflow :
 * The trusted root is trusted because the administrator named it. Each later root must be signed by the root
   before it and by itself.
 * Timestamp, snapshot and targets must be signed by keys of the last root. Each must have exactly the
   version, and the length and hashes if given, that the role before it names.
 * Expiry makes a list stale, not unusable. So signatures are checked as if no time passed, and the
   earliest expiry is compared with the clock afterwards.

All of it uses the documented part of tuf. tuf's own client checks the same in a class that is private, and
compares expiry with the clock; `tests/lists/storage/test_tuf_agreement.py` compares the two.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, TypeVar

from tuf.api.exceptions import BadVersionNumberError, LengthOrHashMismatchError, RepositoryError

from hashscan.errors import ListTrustError, UsageError
from hashscan.lists.storage.tuf_api import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
    UpdaterConfig,
)

Signed = TypeVar("Signed", Root, Timestamp, Snapshot, Targets)

ReadMetadata = Callable[[str], bytes | None]
"""Returns the bytes of a metadata file by its name, such as `3.snapshot.json`; None if it does not exist."""

TIMESTAMP_NAME = "timestamp.json"
LIMITS = UpdaterConfig()
"""Limits on the amount of metadata that is read, online and offline."""
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SignedTarget:
    """A file with the length and hashes that the list's owner signed."""

    file_name: str
    """File name in a repository with consistent snapshots: the hash, a dot, the target's name."""
    info: TargetFile
    """Length and hashes, as tuf's own functions take them."""

    @property
    def sha256(self) -> str:
        """Signed hash, in hexadecimal."""
        return self.file_name.partition(".")[0]

    def intact(self, content: BinaryIO | bytes) -> bool:
        """Return True if a file, or bytes, have the signed length and hashes."""
        try:
            self.info.verify_length_and_hashes(content)
        except LengthOrHashMismatchError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class VerifiedMetadata:
    """The content of a list's metadata after its signatures were verified."""

    targets: Mapping[str, SignedTarget]
    metadata_names: tuple[str, ...]
    """Names of the metadata files that were read, without the trusted root."""
    versions: Mapping[str, int]
    key_ids: tuple[str, ...]
    """Ids of the keys that may sign the list's targets."""
    past_key_ids: frozenset[str]
    """Ids of these keys and of all keys that an earlier root allowed, from the trusted root on."""
    expiries: Mapping[str, datetime]
    """Expiry of the metadata of each role."""

    @property
    def expires(self) -> datetime:
        """The earliest expiry of root, timestamp, snapshot and targets."""
        return min(self.expiries.values())


def check_root(trusted_root: bytes) -> None:
    """Check that a file is a root that is signed by its own keys: UsageError if it is no such root,
    ListTrustError if its signatures are not valid."""
    advice = "Get root.json from the list's owner, by a way that you trust."
    try:
        root = Metadata[Root].from_bytes(trusted_root).signed
    except RepositoryError as error:
        raise UsageError("the root file is no TUF metadata", advice=advice) from error
    if not isinstance(root, Root):
        raise UsageError("the root file is TUF metadata, but of another role than root", advice=advice)
    if not root.consistent_snapshot:
        raise UsageError(
            "the list is published without consistent snapshots, which hashscan needs", advice=advice
        )
    try:
        _self_signed(trusted_root)
    except RepositoryError as error:
        raise ListTrustError(f"the root file's own signatures don't hold: {error}", advice=advice) from error


def verify(trusted_root: bytes, read: ReadMetadata) -> VerifiedMetadata:
    """Verify a list's metadata, from the root that the administrator trusts to its targets; `read` returns
    the other files. A signature, version, length or hash that is not valid, and a missing file, raise
    ListTrustError."""
    names: list[str] = []

    def needed(name: str) -> bytes:
        data = read(name)
        if data is None:
            raise ListTrustError(f"the metadata file {name} is missing")
        names.append(name)
        return data

    try:
        past: set[str] = set()
        root = _last_root(trusted_root, read, names, past)
        timestamp = _signed_by(root, Timestamp, needed(TIMESTAMP_NAME))
        expected = timestamp.snapshot_meta
        snapshot = _as_named(root, Snapshot, expected, needed(f"{expected.version}.{Snapshot.type}.json"))
        named = snapshot.meta.get(f"{Targets.type}.json")
        if named is None:
            raise ListTrustError("the snapshot doesn't name the targets")
        targets = _as_named(root, Targets, named, needed(f"{named.version}.{Targets.type}.json"))
    except RepositoryError as error:
        raise ListTrustError(f"the list's signatures don't hold: {error}") from error
    roles = (root, timestamp, snapshot, targets)
    return VerifiedMetadata(
        targets=_signed_targets(targets),
        metadata_names=tuple(names),
        versions={role.type: role.version for role in roles},
        key_ids=tuple(sorted(root.roles[Targets.type].keyids)),
        past_key_ids=frozenset(past),
        expiries={role.type: role.expires for role in roles},
    )


def last_root(trusted_root: bytes, read: ReadMetadata) -> Root:
    """Return the last root that can be reached from the trusted one; each must be signed by enough keys of
    the root before it, and of its own."""
    try:
        return _last_root(trusted_root, read, [], set())
    except RepositoryError as error:
        raise ListTrustError(f"the list's roots don't hold: {error}") from error


def _last_root(trusted_root: bytes, read: ReadMetadata, names: list[str], key_ids: set[str]) -> Root:
    """Verify the roots up to the last one; add the names and key ids of all to the arguments."""
    root = _self_signed(trusted_root)
    key_ids.update(root.roles[Targets.type].keyids)
    for _ in range(LIMITS.max_root_rotations):
        name = f"{root.version + 1}.{Root.type}.json"
        content = read(name)
        if content is None:
            break
        later = _signed_by(root, Root, content)
        _check_version(Root.type, root.version + 1, later.version)
        root = _self_signed(content)
        key_ids.update(root.roles[Targets.type].keyids)
        names.append(name)
    return root


def _self_signed(content: bytes) -> Root:
    """Return a root that is signed by enough of its own keys, whatever signed it besides; else raise
    RepositoryError."""
    root = _read(Root, content).signed
    return _signed_by(root, Root, content)


def _signed_by(root: Root, role: type[Signed], content: bytes) -> Signed:
    """Return metadata of a role that enough of a root's keys for the role have signed; else raise
    RepositoryError."""
    metadata = _read(role, content)
    root.verify_delegate(role.type, metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def _as_named(root: Root, role: type[Signed], named: MetaFile, content: bytes) -> Signed:
    """Return signed metadata of a role that is also the one, by length, hash and version, that the role
    before it names; else raise RepositoryError."""
    named.verify_length_and_hashes(content)
    signed = _signed_by(root, role, content)
    _check_version(role.type, named.version, signed.version)
    return signed


def _read(role: type[Signed], content: bytes) -> Metadata[Signed]:
    metadata = Metadata[Signed].from_bytes(content)
    if metadata.signed.type != role.type:
        raise RepositoryError(f"expected metadata of {role.type}, got {metadata.signed.type}")
    return metadata


def _check_version(name: str, expected: int, found: int) -> None:
    if found != expected:
        raise BadVersionNumberError(f"expected version {expected} of {name}, got {found}")


def _signed_targets(targets: Targets) -> dict[str, SignedTarget]:
    """Return the targets that a flat folder can hold under a safe name; a list has no others."""
    signed = {}
    for name, info in targets.targets.items():
        # tuf's client uses the first hash in the file's name.
        algorithm, digest = next(iter(info.hashes.items()))
        if algorithm == "sha256" and _SHA256.fullmatch(digest) and _SAFE_NAME.fullmatch(name):
            signed[name] = SignedTarget(f"{digest}.{name}", info)
    return signed
