"""Opens a published repository folder for reading, after verifying everything in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.errors import ListTrustError
from hashscan.lists import manifest as manifests
from hashscan.lists.columns import ColumnError, ListHandle, categories_used, open_columns
from hashscan.lists.manifest import MANIFEST_NAME, Manifest, ManifestError
from hashscan.lists.record import Record, Thoroughness, checksum, read_record, write_record
from hashscan.model import ListInfo, TrustState

if TYPE_CHECKING:
    from hashscan.lists.trust import SignedTarget, VerifiedMetadata

METADATA = "metadata"
TARGETS = "targets"
_METADATA_MAX = 5_000_000
"""Bytes of a metadata file; tuf's own limit for the largest role."""

PULL_AGAIN = "pull it again with `hashscan lists pull`"


@dataclass(frozen=True, slots=True)
class OpenedList:
    """A list as it was found: what to report, and the way to its entries when it can be used."""

    info: ListInfo
    handle: ListHandle | None = None


class DamagedError(Exception):
    """A stored file is not what the list's owner signed."""


def read_metadata(folder: Path, name: str) -> bytes | None:
    """A metadata file of a repository folder, or None when there is no such file.

    Raises:
        OSError: it is there, but can't be read.
        ListTrustError: it is longer than metadata can be.
    """
    try:
        with (folder / METADATA / name).open("rb") as file:
            data = file.read(_METADATA_MAX + 1)
    except FileNotFoundError:
        return None
    if len(data) > _METADATA_MAX:
        raise ListTrustError(f"the metadata file {name} is longer than {_METADATA_MAX} bytes")
    return data


def open_repository(
    name: str,
    folder: Path,
    trusted_root: bytes,
    now: datetime,
    *,
    remedy: str = PULL_AGAIN,
    thoroughness: Thoroughness = Thoroughness.SIGNED,
) -> OpenedList:
    """Verify a repository folder and open its list.

    Signatures, versions, lengths, hashes and the shape of the columns are checked; expiry only decides
    between fresh and stale. Nothing is written.

    Args:
        name: the name the list goes by here.
        folder: holds `metadata/` and `targets/`.
        trusted_root: root metadata that the administrator trusts.
        now: the time to compare expiries with.
        remedy: what helps when it is damaged or stale, for a person.

    Returns:
        Always an info; a handle only when the list can be used.
    """
    from hashscan.lists import trust

    try:
        verified = trust.verify(trusted_root, lambda file_name: read_metadata(folder, file_name))
    except (ListTrustError, OSError) as error:
        return _unusable(ListInfo(name, TrustState.UNVERIFIABLE), f"{error}; {remedy}, or ask its owner")
    info = ListInfo(
        name,
        TrustState.DAMAGED,
        key_ids=verified.key_ids,
        expires=verified.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    try:
        manifest = load_manifest(verified, folder)
        info = replace(
            info,
            version=manifest.version,
            entries=manifest.entries,
            by_algorithm=tuple((files.algorithm, files.entries) for files in manifest.columns),
        )
        record = _record(folder) if thoroughness is not Thoroughness.SIGNED else None
        handle = _handle(name, manifest, verified, folder, record, thoroughness)
        opened = [(open_columns(handle.folder, files), handle.categories) for files in handle.columns]
        used = (
            frozenset[str]().union(*(categories_used(*columns) for columns in opened))
            if record is None
            else record.categories
        )
    except (DamagedError, OSError) as error:
        return _unusable(info, f"a stored file is damaged: {error}; {remedy}")
    except ColumnError as error:
        return _unusable(info, f"the list's owner signed columns that can't be used: {error}; ask the owner")
    except ListTrustError as error:
        return _unusable(replace(info, state=TrustState.UNVERIFIABLE), str(error))
    info = replace(info, categories=tuple(category for category in handle.categories if category in used))
    if not manifest.entries:
        return _unusable(replace(info, state=TrustState.MISSING), "the list has no entries; ask its owner")
    if now >= verified.expires:
        problem = f"expired on {info.expires}: {remedy}; until then nothing is moved on its word"
        return OpenedList(replace(info, state=TrustState.STALE, problem=problem), handle)
    return OpenedList(replace(info, state=TrustState.FRESH), handle)


def load_manifest(verified: VerifiedMetadata, folder: Path) -> Manifest:
    """The verified manifest of a repository folder.

    Raises:
        ListTrustError: the list's owner signed none, or one that this program can't read.
        DamagedError: the stored one is not what was signed.
        OSError: it can't be read.
    """
    target = signed_target(verified, MANIFEST_NAME)
    path = _intact(target, folder)
    if target.info.length > manifests.MANIFEST_MAX:
        raise ListTrustError(f"the manifest is longer than {manifests.MANIFEST_MAX} bytes")
    try:
        return manifests.from_bytes(path.read_bytes())
    except ManifestError as error:
        raise ListTrustError(str(error)) from error


def signed_target(verified: VerifiedMetadata, name: str) -> SignedTarget:
    """What the list's owner signed under a target's name.

    Raises:
        ListTrustError: nothing.
    """
    target = verified.targets.get(name)
    if target is None:
        raise ListTrustError(f"the list's owner signed no usable target {name!r}; ask the owner")
    return target


def record_contents(handle: ListHandle, folder: Path, categories: Iterable[str]) -> None:
    """Record the checksums of a list whose signed hashes have just been compared.

    Raises:
        OSError: it can't be written.
    """
    write_record(
        folder, [handle.folder / name for files in handle.columns for name in files.names], categories
    )


def _record(folder: Path) -> Record | None:
    """What was recorded of a version; None when that can't be used, and the signed hashes are compared."""
    try:
        return read_record(folder)
    except (ColumnError, OSError):
        return None


def _handle(
    name: str,
    manifest: Manifest,
    verified: VerifiedMetadata,
    folder: Path,
    record: Record | None,
    thoroughness: Thoroughness,
) -> ListHandle:
    """The way to the columns, after each was compared with what was signed, or with what was recorded."""
    columns = []
    for files in manifest.columns:
        targets = [signed_target(verified, target) for target in files.names]
        for target in targets:
            path = folder / TARGETS / target.file_name
            if record is None:
                _intact(target, folder)
            elif path.stat().st_size != target.info.length or (
                thoroughness is Thoroughness.CHECKSUMS and record.sums.get(target.file_name) != checksum(path)
            ):
                raise DamagedError(f"{target.file_name} is not what was put in use")
        ids, category, value = (target.file_name for target in targets)
        columns.append(replace(files, ids=ids, category=category, value=value))
    return ListHandle(name, manifest.version, folder / TARGETS, manifest.categories, tuple(columns))


def _intact(target: SignedTarget, folder: Path) -> Path:
    """Where a target lies, when it is as it was signed."""
    path = folder / TARGETS / target.file_name
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not target.intact(file):
            raise DamagedError(f"{target.file_name} is not what the list's owner signed")
    return path


def _unusable(info: ListInfo, problem: str) -> OpenedList:
    return OpenedList(replace(info, problem=problem))
