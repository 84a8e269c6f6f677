"""The queue of entries and withdrawals in a list owner's working folder that wait for the next release.

An operation is pending once the state names it; all other files here are removed as leftovers. The order of
arrival is kept. A withdrawal applies to everything before it, published or pending, so an id can be used
again after it was withdrawn.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.errors import OutputError
from hashscan.lists.blocks import EntryBlock
from hashscan.lists.columns import (
    ActiveRows,
    ColumnBlock,
    ColumnError,
    ListHandle,
    column_header,
    id_dtype,
    map_column,
)
from hashscan.lists.durable import replace_file, sync_folder
from hashscan.lists.layout import private_folder
from hashscan.lists.local import open_local, write_local
from hashscan.lists.publishing.id_set import IdSet
from hashscan.lists.publishing.publisher_state import Operation, PendingAddition, PendingWithdrawal
from hashscan.lists.record import checksum
from hashscan.lists.shards import ChainedBlocks, RenumberedBlocks
from hashscan.model import CATEGORIES, Entry

PENDING = "pending"
_IDS = "ids.npy"


class Pending:
    """The pending operations, in order."""

    def __init__(self, work: Path, operations: tuple[Operation, ...]) -> None:
        """Read the pending operations of a working folder."""
        self._folder = work / PENDING
        self._operations = operations
        self._withdrawn: dict[str, IdSet] = {}

    def by_algorithm(self) -> dict[str, Iterable[ColumnBlock]]:
        """Return the pending entries, without those that were withdrawn before their release.

        Returns:
            Blocks of each algorithm, which can be iterated more than once; categories are numbered as in
            `CATEGORIES`.

        Raises:
            OutputError: the entries are lost.
        """
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
        """Yield the ids of all pending entries, in blocks."""
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
        """Write entries to the end of the queue.

        Args:
            name: name of the list.
            entries: read to the end.
            label: name of the entries' origin for errors.
            now: the time.

        Raises:
            ListFormatError: the entries are faulty.
            OSError: the entries can't be written.
        """
        batch, folder = self._new_folder()
        manifest = write_local(name, folder, entries, label, 1, now)
        sync_folder(self._folder)
        return PendingAddition(batch, manifest.entries)

    def withdraw(self, ids: IdSet, published: Iterable[NDArray[np.bytes_]]) -> PendingWithdrawal:
        """Write a withdrawal to the end of the queue.

        Args:
            ids: the ids to withdraw.
            published: all ids that are published and not withdrawn, in blocks.

        Raises:
            UnknownIdError: an id belongs to no entry, published or pending.
            OutputError: the pending entries are lost.
            OSError: the withdrawal can't be written.
        """
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
