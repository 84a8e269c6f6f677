"""Opens a stored version of a signed list, after verifying everything in it.

metadata/         the owner's signatures
targets/          the manifest, and files of withdrawn rows, as they were published
columns/          all rows, joined; see `joined`
checksums.json    what was found when the version was put together; see `record`
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hashscan.errors import ListTrustError
from hashscan.lists import manifest as manifests
from hashscan.lists.columns import (
    HEADER_SIZE,
    ROW_DTYPE,
    ColumnError,
    ListHandle,
    id_dtype,
    map_column,
    open_columns,
    read_blocks,
    withdrawn_rows,
)
from hashscan.lists.durable import is_refusal
from hashscan.lists.joined import COLUMNS, JoinedColumn, JoinedColumns, joined_columns
from hashscan.lists.manifest import MANIFEST_NAME, Manifest, ManifestError
from hashscan.lists.record import Counts, Record, Thoroughness, counts_of_info, read_record
from hashscan.lists.rows import check_ids
from hashscan.lists.shards import SHARD_MAX
from hashscan.lists.stored import count_entries, stored_handle, withdrawn_of
from hashscan.lists.withdrawals import FILE_DTYPE, withdrawn_by_algorithm
from hashscan.model import ListInfo, TrustState

if TYPE_CHECKING:
    from hashscan.lists.trust import SignedTarget, VerifiedMetadata

METADATA = "metadata"
TARGETS = "targets"
_METADATA_MAX = 5_000_000
"""Bytes of a metadata file; tuf's own limit for the largest role."""

CLOCKS_MAY_DIFFER = timedelta(days=1)
"""A list made later than this after now tells that the clock is wrong, so that nothing seems to expire."""
PULL_AGAIN = "pull it again with `hashscan lists pull`"


@dataclass(frozen=True, slots=True)
class OpenedList:
    """A list as it was found: what to report, and the way to its entries when it can be used."""

    info: ListInfo
    handle: ListHandle | None = None
    manifest: Manifest | None = None
    """What its owner says of it; None when that could not be read."""


class DamagedError(Exception):
    """A stored file is not what the list's owner signed."""


Contents = tuple[Counts, ListHandle | None]
"""What was found in a list's files, and the way to them where they can be opened as they are."""


def open_repository(
    name: str,
    folder: Path,
    trusted_root: bytes,
    now: datetime,
    *,
    thoroughness: Thoroughness = Thoroughness.SIGNED,
) -> OpenedList:
    """Verify a stored version and open its list.

    Signatures, versions, lengths, hashes and the meaning of the rows are checked; expiry only decides
    between fresh and stale. Nothing is written.

    Args:
        name: the name the list goes by here.
        folder: of the version.
        trusted_root: root metadata that the administrator trusts.
        now: the time to compare expiries with.
        thoroughness: how the contents are compared.

    Returns:
        Always an info; a handle only when the list can be used.
    """

    def contents(verified: VerifiedMetadata, manifest: Manifest) -> Contents:
        record = None if thoroughness is Thoroughness.SIGNED else _record(folder)
        if record is None:
            return _signed_contents(name, folder, verified, manifest)
        return _recorded_contents(name, folder, verified, manifest, record, thoroughness)

    return open_signed(name, folder, trusted_root, now, PULL_AGAIN, contents)


def open_signed(
    name: str,
    folder: Path,
    trusted_root: bytes,
    now: datetime,
    remedy: str,
    contents: Callable[[VerifiedMetadata, Manifest], Contents],
) -> OpenedList:
    """Verify a folder's metadata and manifest, then its contents, and say in what state the list is.

    Args:
        name: the name the list goes by here.
        folder: holds `metadata/` and `targets/`.
        trusted_root: root metadata that the administrator trusts.
        now: the time to compare expiries with.
        remedy: what helps when it is damaged or stale, for a person.
        contents: looks at everything but the manifest; may raise ColumnError, DamagedError or OSError.
    """
    from hashscan.lists import trust

    try:
        verified = trust.verify(trusted_root, lambda file_name: read_metadata(folder, file_name))
    except (ListTrustError, OSError) as error:
        if is_refusal(error):
            return unreadable(ListInfo(name, TrustState.UNREADABLE), error)
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
            info, version=manifest.version, entries=manifest.entries, by_algorithm=manifest.by_algorithm
        )
        counts, handle = contents(verified, manifest)
    except (DamagedError, OSError) as error:
        if is_refusal(error):
            return unreadable(info, error)
        return _unusable(info, f"a stored file is damaged: {error}; {remedy}")
    except ColumnError as error:
        return _unusable(info, f"the list's owner signed columns that can't be used: {error}; ask the owner")
    except ListTrustError as error:
        return _unusable(replace(info, state=TrustState.UNVERIFIABLE), str(error))
    # By the keys, since a root is renewed; by the owner's name for it, since an owner may have several lists.
    handle = handle and replace(
        handle, identity=frozenset(f"{manifest.name}:{key}" for key in verified.past_key_ids)
    )
    used = frozenset[str]().union(*counts.values())
    info = replace(
        info,
        categories=tuple(category for category in manifest.categories if category in used),
        counts=counts_of_info(counts),
    )
    if not manifest.entries:
        return _unusable(replace(info, state=TrustState.MISSING), "the list has no entries; ask its owner")
    if manifest.created > now + CLOCKS_MAY_DIFFER:
        problem = (
            f"made at {manifest.created:%Y-%m-%dT%H:%M:%SZ}, which by this machine's clock has yet to come: "
            "check the clock; until then nothing is moved on its word"
        )
        return OpenedList(replace(info, state=TrustState.STALE, problem=problem), handle, manifest)
    if now >= verified.expires:
        problem = f"expired on {info.expires}: {remedy}; until then nothing is moved on its word"
        return OpenedList(replace(info, state=TrustState.STALE, problem=problem), handle, manifest)
    return OpenedList(replace(info, state=TrustState.FRESH), handle, manifest)


def read_metadata(folder: Path, name: str) -> bytes | None:
    """A metadata file of a folder, or None when there is no such file.

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


def load_manifest(verified: VerifiedMetadata, folder: Path) -> Manifest:
    """The verified manifest of a folder; every target it names was signed with the length it must have.

    Raises:
        ListTrustError: the list's owner signed none, or one that this program can't read or use.
        DamagedError: the stored one is not what was signed.
        OSError: it can't be read.
    """
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
    for part in manifest.parts:
        for withdrawal in part.withdrawn:
            size = HEADER_SIZE + withdrawal.rows * FILE_DTYPE.itemsize
            _check_length(signed_target(verified, withdrawal.file), size, size)
    return manifest


def signed_target(verified: VerifiedMetadata, name: str) -> SignedTarget:
    """What the list's owner signed under a target's name.

    Raises:
        ListTrustError: nothing.
    """
    target = verified.targets.get(name)
    if target is None:
        raise ListTrustError(f"the list's owner signed no usable target {name!r}; ask the owner")
    return target


def intact_target(target: SignedTarget, folder: Path) -> Path:
    """Where a target lies in a folder, when it is as it was signed.

    Raises:
        DamagedError: it isn't.
        OSError: it can't be read.
    """
    path = folder / TARGETS / target.file_name
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not target.intact(file):
            raise DamagedError(f"{target.file_name} is not what the list's owner signed")
    return path


def content_of(column: JoinedColumn, verified: VerifiedMetadata) -> str:
    """Tells a joined column's rows from all others, by what was signed.

    Raises:
        ListTrustError: a shard of it wasn't.
    """
    return column.content(lambda name: signed_target(verified, name).sha256)


def _check_length(target: SignedTarget, size: int, most: int) -> None:
    if target.info.length != size or size > most:
        raise ListTrustError(
            f"the list's owner signed columns that can't be used: {target.info.path} is no column of the"
            " shape that the manifest says; ask the owner"
        )


def _record(folder: Path) -> Record | None:
    """What was recorded of a version; None when that can't be used, and the signed hashes are compared."""
    try:
        return read_record(folder)
    except (ColumnError, OSError):
        return None


def _signed_contents(name: str, folder: Path, verified: VerifiedMetadata, manifest: Manifest) -> Contents:
    """Compare everything with what was signed."""
    for part in manifest.parts:
        for withdrawal in part.withdrawn:
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
        if rows.size and not np.array_equal(rows, _stored_rows(folder, columns, len(rows))):
            raise DamagedError(f"{columns.withdrawn} is not what follows from the list's withdrawals")
        ids = folder / COLUMNS / columns.ids.file
        check_ids(read_blocks(ids, id_dtype(columns.id_size), (columns.rows,)), columns.place)
    handle = _handle(name, folder, verified, manifest, numbers)
    return count_entries(handle.folder, handle.columns, handle.categories), handle


def _recorded_contents(
    name: str,
    folder: Path,
    verified: VerifiedMetadata,
    manifest: Manifest,
    record: Record,
    thoroughness: Thoroughness,
) -> Contents:
    """Compare everything with what was recorded when the version was put together."""
    numbers = {}
    totals: dict[str, int] = {}
    for columns in joined_columns(manifest):
        try:
            withdrawn = (folder / COLUMNS / columns.withdrawn).stat().st_size - HEADER_SIZE
        except FileNotFoundError:
            withdrawn = 0
        rows = numbers[columns.place] = withdrawn // ROW_DTYPE.itemsize
        totals[columns.algorithm] = totals.get(columns.algorithm, 0) + columns.rows - rows
        checked = [column.file for column in columns] + ([columns.withdrawn] if rows else [])
        for column in columns:
            recorded = record.files.get(column.file)
            if recorded is None or recorded.content != content_of(column, verified):
                raise DamagedError(f"{column.file} was recorded for something else")
        if thoroughness is Thoroughness.CHECKSUMS:
            for file in checked:
                try:
                    record.check(file, folder / COLUMNS / file)
                except ColumnError as error:
                    raise DamagedError(str(error)) from error
    if totals != dict(manifest.by_algorithm):
        raise DamagedError("the rows that are withdrawn are not as many as the manifest says")
    handle = _handle(name, folder, verified, manifest, numbers)
    for files in handle.columns:
        try:
            open_columns(handle.folder, files)
            withdrawn_rows(handle.folder, files)
        except ColumnError as error:
            raise DamagedError(str(error)) from error
    return record.counts, handle


def _handle(
    name: str, folder: Path, verified: VerifiedMetadata, manifest: Manifest, withdrawn: dict[str, int]
) -> ListHandle:
    return stored_handle(
        name,
        folder,
        manifest,
        lambda column: content_of(column, verified),
        lambda columns: withdrawn[columns.place],
    )


def _compare_shards(path: Path, column: JoinedColumn, verified: VerifiedMetadata) -> None:
    """Compare a joined column's ranges with the signed hashes of its shards."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        whole = os.fstat(descriptor).st_size == column.size
        if not whole or os.pread(descriptor, HEADER_SIZE, 0) != column.header:
            raise DamagedError(f"{column.file} has another length or shape")
        for piece in column.pieces:
            if not signed_target(verified, piece.target).intact(column.shard(descriptor, piece)):
                raise DamagedError(f"{column.file} is not what the list's owner signed in {piece.target}")
    finally:
        os.close(descriptor)


def _stored_rows(folder: Path, columns: JoinedColumns, rows: int) -> NDArray[np.int64]:
    try:
        return map_column(folder / COLUMNS / columns.withdrawn, ROW_DTYPE, (rows,))
    except ColumnError as error:
        raise DamagedError(str(error)) from error


def unreadable(info: ListInfo, error: BaseException) -> OpenedList:
    """A list whose files this process may not or can't open, which says nothing of what is in them."""
    problem = (
        f"can't be read: {error}; if another user has written it, give it to the owner of the state folder, "
        "as root, with `chown -R --reference=STATE STATE`"
    )
    return _unusable(replace(info, state=TrustState.UNREADABLE), problem)


def _unusable(info: ListInfo, problem: str) -> OpenedList:
    return OpenedList(replace(info, problem=problem))
