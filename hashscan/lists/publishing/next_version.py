"""The next version of a list: the queue of entries and withdrawals, and the targets written from it.

An operation is pending once the state names it; all other files here are removed as leftovers. The order of
arrival is kept. A withdrawal applies to everything before it, published or pending, so an id can be used
again after it was withdrawn.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import replace_file, sync_folder
from hashscan.errors import OutputError
from hashscan.lists.entries import canary_entries
from hashscan.lists.publishing.publisher_state import Operation, PendingAddition, PendingWithdrawal
from hashscan.lists.storage import manifest as manifests
from hashscan.lists.storage.columns import (
    ActiveRows,
    ColumnBlock,
    ColumnError,
    EntryBlock,
    ListHandle,
    column_header,
    id_dtype,
    map_column,
)
from hashscan.lists.storage.entry_ids import IdSet
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.storage.local_list import open_local, write_local
from hashscan.lists.storage.manifest import MANIFEST_NAME, Manifest, Part
from hashscan.lists.storage.published_columns import (
    ChainedBlocks,
    PublishedRows,
    RenumberedBlocks,
    write_part,
    write_withdrawal,
)
from hashscan.lists.storage.stored_version import checksum, withdrawn_by_algorithm
from hashscan.model import CATEGORIES, Entry

PENDING = "pending"
_IDS = "ids.npy"


class Pending:
    """The pending operations, in order."""

    def __init__(self, work: Path, operations: tuple[Operation, ...]) -> None:
        self._folder = work / PENDING
        self._operations = operations
        self._withdrawn: dict[str, IdSet] = {}

    def by_algorithm(self) -> dict[str, Iterable[ColumnBlock]]:
        """Return the pending entries by algorithm, without those that were withdrawn before their release.
        The blocks can be iterated more than once; categories are numbered as in `CATEGORIES`."""
        sources: dict[str, list[Iterable[ColumnBlock]]] = {}
        gone = IdSet()
        # The last first, since a withdrawal applies to what came before it.
        for operation in reversed(self._operations):
            if isinstance(operation, PendingWithdrawal):
                gone |= self._ids(operation)
                continue
            handle = self._handle(operation)
            for files in handle.columns:
                rows = WithoutIds(ActiveRows(handle.folder, files), gone)
                renumbered = RenumberedBlocks(rows, handle.categories, CATEGORIES)
                sources.setdefault(files.algorithm, []).append(renumbered)
        return {algorithm: ChainedBlocks(tuple(reversed(rows))) for algorithm, rows in sources.items()}

    def ids(self) -> Iterator[NDArray[np.bytes_]]:
        for rows in self.by_algorithm().values():
            yield from (ids for ids, _, _ in rows)

    def withdrawn(self) -> IdSet:
        """Return all withdrawn ids, of published and of pending entries."""
        every = IdSet()
        for operation in self._operations:
            if isinstance(operation, PendingWithdrawal):
                every |= self._ids(operation)
        return every

    def add(
        self, name: str, entries: Iterable[Entry | EntryBlock], label: str, now: datetime
    ) -> PendingAddition:
        """Write entries to the end of the queue; the label names their origin in errors."""
        batch, folder = self._new_folder()
        manifest = write_local(name, folder, entries, label, 1, now)
        sync_folder(self._folder)
        return PendingAddition(batch, manifest.entries)

    def withdraw(self, ids: IdSet, published: Iterable[NDArray[np.bytes_]]) -> PendingWithdrawal:
        """Write a withdrawal to the end of the queue; `published` are all ids that are published and not
        withdrawn, in blocks. An id that belongs to no entry, published or pending, is an error."""
        is_published = _found(ids, published)
        waits = np.zeros(len(ids), dtype=bool)
        for operation in self._operations:
            if isinstance(operation, PendingAddition):
                handle = self._handle(operation)
                blocks = (block for files in handle.columns for block in ActiveRows(handle.folder, files))
                waits |= _found(ids, (block_ids for block_ids, _, _ in blocks))
            else:
                gone = _found(ids, [self._ids(operation).ids])
                is_published &= ~gone
                waits &= ~gone
        unknown = np.flatnonzero(~(is_published | waits))
        if unknown.size:
            raise UnknownIdError(bytes(ids.ids[unknown[0]]).decode("ascii"), len(unknown))
        batch, folder = self._new_folder()
        header = column_header(ids.ids.dtype, ids.ids.shape)
        replace_file(folder / _IDS, header + ids.ids.tobytes())
        sync_folder(self._folder)
        size = ids.ids.dtype.itemsize
        return PendingWithdrawal(batch, len(ids), int(is_published.sum()), size, checksum(folder / _IDS))

    def _new_folder(self) -> tuple[str, Path]:
        batch = secrets.token_hex(8)
        return batch, private_folder(self._folder / batch)

    def _handle(self, operation: PendingAddition) -> ListHandle:
        opened = open_local(operation.name, self._folder / operation.name)
        if opened.handle is None:
            raise OutputError(
                f"entries waiting in {self._folder / operation.name} are lost: {opened.info.problem}",
                advice="Restore the working folder from a backup.",
            )
        return opened.handle

    def _ids(self, operation: PendingWithdrawal) -> IdSet:
        known = self._withdrawn.get(operation.name)
        if known is None:
            path = self._folder / operation.name / _IDS
            try:
                if checksum(path) != operation.sum:
                    raise ColumnError(f"{_IDS} has changed")
                known = IdSet(map_column(path, id_dtype(operation.id_size), (operation.ids,)))
            except (ColumnError, FileNotFoundError) as error:
                raise OutputError(
                    f"withdrawals waiting in {path.parent} are lost: {error}",
                    advice="Restore the working folder from a backup.",
                ) from error
            self._withdrawn[operation.name] = known
        return known


class UnknownIdError(Exception):
    """Some ids belong to no entry."""

    def __init__(self, entry_id: str, count: int) -> None:
        super().__init__(entry_id, count)
        self.entry_id = entry_id
        """The first unknown id."""
        self.count = count
        """Number of unknown ids."""


@dataclass(frozen=True, slots=True)
class WithoutIds:
    """Blocks without the rows of some ids; can be iterated more than once if the blocks can."""

    blocks: Iterable[ColumnBlock]
    ids: IdSet

    def __iter__(self) -> Iterator[ColumnBlock]:
        for ids, category, value in self.blocks:
            keep = self.ids.absent(ids)
            yield (ids, category, value) if keep.all() else (ids[keep], category[keep], value[keep])


def _found(ids: IdSet, blocks: Iterable[NDArray[np.bytes_]]) -> NDArray[np.bool_]:
    """Return a flag for each of `ids`: True if it is in one of the blocks."""
    found = np.zeros(len(ids), dtype=bool)
    for block in blocks:
        found[ids.find(block)[1]] = True
    return found


PUBLIC_FILE = 0o644


@dataclass(frozen=True, slots=True)
class PublishedEntries:
    """The entries of the published version."""

    targets: Path
    manifest: Manifest
    names: Mapping[str, str]
    """File name of each target."""

    def active(self, algorithm: str) -> Iterable[ColumnBlock]:
        """Return all active entries of one algorithm, with categories numbered as in `CATEGORIES`."""
        gone = self.withdrawn().get(algorithm)
        rows = PublishedRows(self.targets, self.manifest, self.names, algorithm, gone)
        return RenumberedBlocks(rows, self.manifest.categories, CATEGORIES)

    def by_algorithm(self) -> dict[str, Iterable[ColumnBlock]]:
        """Return the active entries of all algorithms without the test picture's; each base adds these."""
        canary = canary_ids()
        return {algorithm: WithoutIds(self.active(algorithm), canary) for algorithm in self.manifest.rows()}

    def ids(self) -> Iterator[NDArray[np.bytes_]]:
        """Yield the ids of all active entries, in blocks."""
        for algorithm in self.manifest.rows():
            yield from (ids for ids, _, _ in self.active(algorithm))

    def rows_of(self, algorithm: str, ids: IdSet) -> NDArray[np.int64]:
        """Return the active rows of one algorithm that have any of the ids, ascending.

        The rows are counted through all parts.
        """
        found, start = [np.zeros(0, dtype=np.int64)], 0
        for block, _, _ in PublishedRows(self.targets, self.manifest, self.names, algorithm):
            found.append(ids.find(block)[0] + start)
            start += len(block)
        gone = self.withdrawn().get(algorithm, found[0])
        return np.setdiff1d(np.concatenate(found), gone, assume_unique=True)

    def withdrawn(self) -> dict[str, NDArray[np.int64]]:
        return withdrawn_by_algorithm(self.manifest, lambda target: self.targets / self.names[target])


def write_base(
    folder: Path,
    name: str,
    version: int,
    now: datetime,
    columns: Mapping[str, Iterable[ColumnBlock]],
) -> Manifest:
    """Write a version that is a new base, with the test picture's entries first, into a folder for targets
    that contains no others; the columns can be iterated more than once."""
    canary = canary_blocks()
    every = {
        algorithm: ChainedBlocks((canary.get(algorithm, ()), columns.get(algorithm, ())))
        for algorithm in {*columns, *canary}
    }
    part = write_part(folder, version, every, PUBLIC_FILE)
    return _written(folder, Manifest(name, version, now, CATEGORIES, (part,)))


def write_increment(
    folder: Path, published: PublishedEntries, version: int, now: datetime, pending: Pending
) -> Manifest:
    """Write a version that adds the pending operations to the published version.

    The arguments and errors are those of `write_base`.
    """
    before = published.manifest
    # The category numbers of earlier parts keep their meaning.
    categories = (*before.categories, *(c for c in CATEGORIES if c not in before.categories))
    columns = {
        algorithm: RenumberedBlocks(rows, CATEGORIES, categories)
        for algorithm, rows in pending.by_algorithm().items()
    }
    added = write_part(folder, version, columns, PUBLIC_FILE)
    ids = pending.withdrawn()
    gone = {algorithm: published.rows_of(algorithm, ids) for algorithm in sorted(before.rows()) if len(ids)}
    withdrawn = {
        algorithm: write_withdrawal(folder, version, algorithm, rows, PUBLIC_FILE)
        for algorithm, rows in gone.items()
        if rows.size
    }
    part = Part(version, added.algorithms, withdrawn)
    return _written(folder, Manifest(before.name, version, now, categories, (*before.parts, part)))


def canary_blocks() -> dict[str, list[ColumnBlock]]:
    blocks: dict[str, list[ColumnBlock]] = {}
    for entry in canary_entries():
        ids = np.array([entry.id.encode("ascii")], dtype=np.bytes_)
        category = np.array([CATEGORIES.index(entry.category)], dtype=np.uint8)
        value = np.frombuffer(entry.value, dtype=np.uint8).reshape(1, -1)
        blocks.setdefault(entry.algorithm, []).append((ids, category, value))
    return blocks


def canary_ids() -> IdSet:
    return IdSet(entry.id.encode("ascii") for entry in canary_entries())


def _written(folder: Path, manifest: Manifest) -> Manifest:
    replace_file(folder / MANIFEST_NAME, manifests.to_bytes(manifest), PUBLIC_FILE)
    return manifest
