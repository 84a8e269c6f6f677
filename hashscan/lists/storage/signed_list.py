"""Verify and open a version of a signed list, from the store or from a published folder.

metadata/         the owner's signatures
targets/          the manifest, and files of withdrawn rows, as they were published
columns/          all rows, joined; see `stored_version`
checksums.json    checksums and counts from when the version was assembled; see `stored_version`
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from hashscan.atomic_files import is_refusal
from hashscan.errors import ListTrustError
from hashscan.lists.storage import manifest as manifests
from hashscan.lists.storage.columns import (
    HEADER_SIZE,
    ROW_DTYPE,
    ColumnError,
    ListHandle,
    check_ids,
    count_categories,
    id_dtype,
    map_column,
    open_columns,
    read_blocks,
    withdrawn_rows,
    without,
)
from hashscan.lists.storage.degenerate import are_degenerate
from hashscan.lists.storage.manifest import MANIFEST_NAME, Manifest, ManifestError
from hashscan.lists.storage.published_columns import SHARD_MAX, PublishedRows, unsharded
from hashscan.lists.storage.stored_version import (
    COLUMNS,
    FILE_DTYPE,
    EntryCounts,
    JoinedColumn,
    VerificationLevel,
    VersionRecord,
    count_entries,
    joined_columns,
    read_record,
    with_counts,
    withdrawn_by_algorithm,
    withdrawn_of,
)
from hashscan.model import ListInfo, TrustState
from hashscan.timefmt import format_utc

if TYPE_CHECKING:
    from hashscan.lists.storage.trust import SignedTarget, VerifiedMetadata


METADATA = "metadata"
TARGETS = "targets"
_METADATA_MAX = 5_000_000
"""Largest size of a metadata file in bytes; tuf's own limit for the largest role."""

CLOCKS_MAY_DIFFER = timedelta(days=1)
"""Tolerated clock difference. If a list was made later than this after now, the clock is wrong, and a wrong
clock would hide every expiry.
"""
PULL_AGAIN = "pull it again with `hashscan lists pull`"


@dataclass(frozen=True, slots=True)
class OpenedList:
    """The result of opening a list: what to report, and the handle to its entries if it can be used."""

    info: ListInfo
    handle: ListHandle | None = None
    manifest: Manifest | None = None
    """The owner's manifest; None if the list can't be used."""
    verified: VerifiedMetadata | None = None
    """The verified metadata; None if the list can't be used, or is not signed."""


class DamagedFileError(Exception):
    """A stored file is not what the list's owner signed."""


CountsAndHandle = tuple[EntryCounts, ListHandle | None]
"""The counts of a list's entries, and the handle to its files if they can be opened directly."""


def open_repository(
    name: str,
    folder: Path,
    trusted_root: bytes,
    now: datetime,
    *,
    thoroughness: VerificationLevel = VerificationLevel.SIGNED,
) -> OpenedList:
    """Verify a stored version from the root that the administrator trusts, and open its list; the handle is
    missing if it can't be used. Signatures, versions, lengths, hashes and the meaning of the rows are
    checked. Expiry decides only between fresh and stale. Nothing is written."""

    def contents(verified: VerifiedMetadata, manifest: Manifest) -> CountsAndHandle:
        if thoroughness is not VerificationLevel.SIGNED:
            try:
                record = read_record(folder)
            except (ColumnError, OSError):
                pass  # Then the signed hashes are compared.
            else:
                return _recorded_contents(name, folder, verified, manifest, record, thoroughness)
        return _signed_contents(name, folder, verified, manifest)

    return open_signed(name, folder, trusted_root, now, PULL_AGAIN, contents)


def open_signed(
    name: str,
    folder: Path,
    trusted_root: bytes,
    now: datetime,
    remedy: str,
    contents: Callable[[VerifiedMetadata, Manifest], CountsAndHandle],
) -> OpenedList:
    """Verify a folder's metadata and manifest from the root that the administrator trusts, then its contents,
    and return the state of the list. `contents` checks everything but the manifest, and may raise
    ColumnError, DamagedFileError or OSError; `remedy` is advice for when the list is damaged or stale."""
    from hashscan.lists.storage import trust

    try:
        verified = trust.verify(trusted_root, lambda file_name: read_metadata(folder, file_name))
    except (ListTrustError, OSError) as error:
        if is_refusal(error):
            return unreadable(ListInfo(name, TrustState.UNREADABLE), error)
        return unusable(ListInfo(name, TrustState.UNVERIFIABLE), f"{error}; {remedy}, or ask its owner")
    info = ListInfo(
        name,
        TrustState.DAMAGED,
        key_ids=verified.key_ids,
        expires=format_utc(verified.expires),
    )
    try:
        manifest = load_manifest(verified, folder)
        info = structs.replace(
            info,
            version=manifest.version,
            entries=manifest.entries,
            by_algorithm=manifest.by_algorithm,
            made=format_utc(manifest.created),
        )
        counts, handle = contents(verified, manifest)
    except (DamagedFileError, OSError) as error:
        if is_refusal(error):
            return unreadable(info, error)
        return unusable(info, f"a stored file is damaged: {error}; {remedy}")
    except ColumnError as error:
        return unusable(info, f"the list's owner signed columns that can't be used: {error}; ask the owner")
    except ListTrustError as error:
        return unusable(structs.replace(info, state=TrustState.UNVERIFIABLE), str(error))
    # By the keys, since a root is renewed; by the owner's name for it, since an owner may have several lists.
    handle = handle and replace(
        handle, identity=frozenset(f"{manifest.name}:{key}" for key in verified.past_key_ids)
    )
    info = with_counts(info, manifest, counts)
    if not manifest.entries:
        return unusable(
            structs.replace(info, state=TrustState.MISSING), "the list has no entries; ask its owner"
        )
    state, problem = TrustState.FRESH, None
    if manifest.created > now + CLOCKS_MAY_DIFFER:
        state = TrustState.STALE
        problem = (
            f"made at {manifest.created:%Y-%m-%dT%H:%M:%SZ}, which by this machine's clock has yet to come: "
            "check the clock; until then nothing is moved on its word"
        )
    elif now >= verified.expires:
        state = TrustState.STALE
        problem = f"expired on {info.expires}: {remedy}; until then nothing is moved on its word"
    return OpenedList(structs.replace(info, state=state, problem=problem), handle, manifest, verified)


def read_metadata(folder: Path, name: str) -> bytes | None:
    """Return the content of a metadata file, or None if it does not exist."""
    try:
        with (folder / METADATA / name).open("rb") as file:
            data = file.read(_METADATA_MAX + 1)
    except FileNotFoundError:
        return None
    if len(data) > _METADATA_MAX:
        raise ListTrustError(f"the metadata file {name} is longer than {_METADATA_MAX} bytes")
    return data


def load_manifest(verified: VerifiedMetadata, folder: Path) -> Manifest:
    """Return the verified manifest of a folder, after checking the signed length of every target it names."""
    target = signed_target(verified, MANIFEST_NAME)
    path = intact_target(target, folder)
    if target.info.length > manifests.MANIFEST_MAX:
        raise ListTrustError(f"the manifest is longer than {manifests.MANIFEST_MAX} bytes")
    try:
        manifest = manifests.from_bytes(path.read_bytes())
    except ManifestError as error:
        raise ListTrustError(str(error)) from error
    for columns in joined_columns(manifest):
        for column in columns:
            for piece in column.pieces:
                _check_length(signed_target(verified, piece.target), column.shard_size(piece), SHARD_MAX)
    for withdrawal in manifest.withdrawals:
        size = HEADER_SIZE + withdrawal.rows * FILE_DTYPE.itemsize
        _check_length(signed_target(verified, withdrawal.file), size, size)
    return manifest


def signed_target(verified: VerifiedMetadata, name: str) -> SignedTarget:
    """Return the signed target of that name; ListTrustError if the list's owner signed no usable one."""
    target = verified.targets.get(name)
    if target is None:
        raise ListTrustError(f"the list's owner signed no usable target {name!r}; ask the owner")
    return target


def intact_target(target: SignedTarget, folder: Path) -> Path:
    """Return the path of a target in a folder, after comparing it with its signed length and hashes."""
    path = folder / TARGETS / target.file_name
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not target.intact(file):
            raise DamagedFileError(f"{target.file_name} is not what the list's owner signed")
    return path


def content_of(column: JoinedColumn, verified: VerifiedMetadata) -> str:
    """Return a fingerprint of a joined column's rows, computed from the signed hashes."""
    pieces = "".join(f"{p.rows} {signed_target(verified, p.target).sha256}\n" for p in column.pieces)
    return hashlib.sha256(f"{column.dtype.str} {pieces}".encode()).hexdigest()[:32]


def stored_handle(
    name: str, folder: Path, verified: VerifiedMetadata, manifest: Manifest, withdrawn: Mapping[str, int]
) -> ListHandle:
    """Return the handle of a stored version whose columns have just been verified, with the number of
    withdrawn rows of each set of columns, by its place."""
    files = tuple(
        columns.files(withdrawn[columns.place], content_of(columns.value, verified))
        for columns in joined_columns(manifest)
    )
    return ListHandle(name, manifest.version, folder / COLUMNS, manifest.categories, files)


def _check_length(target: SignedTarget, size: int, most: int) -> None:
    if target.info.length != size or size > most:
        raise ListTrustError(
            f"the list's owner signed columns that can't be used: {target.info.path} is no column of the"
            " shape that the manifest says; ask the owner"
        )


def _signed_contents(
    name: str, folder: Path, verified: VerifiedMetadata, manifest: Manifest
) -> CountsAndHandle:
    """Compare all files with the signed hashes."""
    for withdrawal in manifest.withdrawals:
        intact_target(signed_target(verified, withdrawal.file), folder)
    gone = withdrawn_by_algorithm(
        manifest, lambda target: folder / TARGETS / signed_target(verified, target).file_name
    )
    numbers = {}
    for columns in joined_columns(manifest):
        for column in columns:
            _compare_shards(folder / COLUMNS / column.file, column, verified)
        rows = withdrawn_of(columns, manifest, gone)
        numbers[columns.place] = len(rows)
        if rows.size:
            with _column_errors():
                stored = map_column(folder / COLUMNS / columns.withdrawn, ROW_DTYPE, (len(rows),))
            if not np.array_equal(rows, stored):
                raise DamagedFileError(f"{columns.withdrawn} is not what follows from the list's withdrawals")
        ids = folder / COLUMNS / columns.ids.file
        check_ids(read_blocks(ids, id_dtype(columns.id_size), (columns.rows,)), columns.place)
    handle = stored_handle(name, folder, verified, manifest, numbers)
    return count_entries(handle.folder, handle.columns, handle.categories), handle


def _recorded_contents(
    name: str,
    folder: Path,
    verified: VerifiedMetadata,
    manifest: Manifest,
    record: VersionRecord,
    thoroughness: VerificationLevel,
) -> CountsAndHandle:
    """Compare all files with the record from when the version was assembled."""
    numbers = {}
    totals: dict[str, int] = {}
    for columns in joined_columns(manifest):
        try:
            withdrawn = (folder / COLUMNS / columns.withdrawn).stat().st_size - HEADER_SIZE
        except FileNotFoundError:
            withdrawn = 0
        rows = numbers[columns.place] = withdrawn // ROW_DTYPE.itemsize
        totals[columns.algorithm] = totals.get(columns.algorithm, 0) + columns.rows - rows
        for column in columns:
            recorded = record.files.get(column.file)
            if recorded is None or recorded.content != content_of(column, verified):
                raise DamagedFileError(f"{column.file} was recorded for something else")
        if thoroughness is VerificationLevel.CHECKSUMS:
            checked = [column.file for column in columns] + ([columns.withdrawn] if rows else [])
            with _column_errors():
                for file in checked:
                    record.check(file, folder / COLUMNS / file)
    if totals != dict(manifest.by_algorithm):
        raise DamagedFileError("the rows that are withdrawn are not as many as the manifest says")
    handle = stored_handle(name, folder, verified, manifest, numbers)
    with _column_errors():
        for files in handle.columns:
            open_columns(handle.folder, files)
            withdrawn_rows(handle.folder, files)
    return record.entry_counts, handle


@contextmanager
def _column_errors() -> Iterator[None]:
    """Raise `DamagedFileError` where a column is found damaged."""
    try:
        yield
    except ColumnError as error:
        raise DamagedFileError(str(error)) from error


def _compare_shards(path: Path, column: JoinedColumn, verified: VerifiedMetadata) -> None:
    """Compare the ranges of a joined column with the signed hashes of its shards."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        whole = os.fstat(descriptor).st_size == column.size
        if not whole or os.pread(descriptor, HEADER_SIZE, 0) != column.header:
            raise DamagedFileError(f"{column.file} has another length or shape")
        for piece in column.pieces:
            if not signed_target(verified, piece.target).intact(column.shard(descriptor, piece)):
                raise DamagedFileError(f"{column.file} is not what the list's owner signed in {piece.target}")
    finally:
        os.close(descriptor)


def unreadable(info: ListInfo, error: BaseException) -> OpenedList:
    """Return a list that this process can't open for lack of permissions or resources.

    This says nothing about its content.
    """
    problem = (
        f"can't be read: {error}; if another user has written it, give it to the owner of the state folder, "
        "as root, with `chown -R --reference=STATE STATE`"
    )
    return unusable(structs.replace(info, state=TrustState.UNREADABLE), problem)


def unusable(info: ListInfo, problem: str) -> OpenedList:
    """Return a list that can't be used, with the reason for people."""
    return OpenedList(structs.replace(info, problem=problem))


def open_published(name: str, folder: Path, trusted_root: bytes, now: datetime, *, remedy: str) -> OpenedList:
    """Verify a published folder and open its list, if its shards can be opened directly; for the arguments
    see `open_signed`. The handle is missing unless the list has only a base, with one shard for each
    algorithm; the manifest is missing if the list can't be used."""
    contents = partial(_published_contents, name, folder)
    return open_signed(name, folder, trusted_root, now, remedy, contents)


def file_names(verified: VerifiedMetadata) -> dict[str, str]:
    """Return the file name of each target by target name, as in a repository with consistent snapshots."""
    return {name: target.file_name for name, target in verified.targets.items()}


def _published_contents(
    name: str, folder: Path, verified: VerifiedMetadata, manifest: Manifest
) -> CountsAndHandle:
    for target in manifest.names:
        intact_target(signed_target(verified, target), folder)
    targets, names = folder / TARGETS, file_names(verified)
    gone = withdrawn_by_algorithm(manifest, lambda target: targets / names[target])
    counts: dict[str, dict[str, int]] = {}
    degenerate = Counter[str]()
    for algorithm, _ in manifest.by_algorithm:
        rows = PublishedRows(targets, manifest, names, algorithm)
        check_ids((ids for ids, _, _ in rows), algorithm)
        withdrawn = gone.get(algorithm, np.zeros(0, dtype=np.int64))
        counts[algorithm] = count_categories(
            (category for _, category, _ in rows), manifest.categories, withdrawn
        )
        for _, _, values in without(rows, withdrawn):
            degenerate[algorithm] += int(are_degenerate(algorithm, values).sum())
    found = EntryCounts(counts, dict(+degenerate))
    base = manifest.parts[0].algorithms
    every = [unsharded(algorithm, base[algorithm], names.__getitem__) for algorithm in sorted(base)]
    files = tuple(columns for columns in every if columns is not None)
    if len(manifest.parts) > 1 or len(files) < len(every):
        return found, None
    return found, ListHandle(name, manifest.version, targets, manifest.categories, files)
