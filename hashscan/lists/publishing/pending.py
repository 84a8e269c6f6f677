"""The entries and withdrawals that wait in a list owner's working folder for the next release.

What is written down here waits once the state names it; the rest is cleared away as a leftover. Everything
stays in the order in which it came. A withdrawal takes out of everything before it, published or waiting; so
an id can be given again after it was withdrawn.
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
    Block,
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
from hashscan.lists.publishing.publisher_state import Addition, Operation, Withdrawing
from hashscan.lists.record import checksum
from hashscan.lists.shards import Chained, Renumbered
from hashscan.model import CATEGORIES, Entry

PENDING = "pending"
_IDS = "ids.npy"


class Pending:
    """What waits, in order."""

    def __init__(self, work: Path, operations: tuple[Operation, ...]) -> None:
        """Look at what lies in a working folder."""
        self._folder = work / PENDING
        self._operations = operations
        self._withdrawn: dict[str, IdSet] = {}

    def by_algorithm(self) -> dict[str, Iterable[Block]]:
        """The entries that wait, without those that were withdrawn before their release.

        Returns:
            Blocks of each algorithm, which can be gone through again, their categories numbered as in this
            program.

        Raises:
            OutputError: the entries are lost.
        """
        sources: dict[str, list[Iterable[Block]]] = {}
        gone = IdSet()
        # The last first, since a withdrawal takes out of what came before it.
        for operation in reversed(self._operations):
            if isinstance(operation, Withdrawing):
                gone |= self._ids(operation)
                continue
            handle = self._handle(operation)
            for files in handle.columns:
                rows = Without(ActiveRows(handle.folder, files), gone)
                renumbered = Renumbered(rows, handle.categories, CATEGORIES)
                sources.setdefault(files.algorithm, []).append(renumbered)
        return {algorithm: Chained(tuple(reversed(rows))) for algorithm, rows in sources.items()}

    def ids(self) -> Iterator[NDArray[np.bytes_]]:
        """The ids of all entries that wait, block by block."""
        for rows in self.by_algorithm().values():
            yield from (ids for ids, _, _ in rows)

    def withdrawn(self) -> IdSet:
        """All ids that were withdrawn, whether from what is published or from what waits."""
        every = IdSet()
        for operation in self._operations:
            if isinstance(operation, Withdrawing):
                every |= self._ids(operation)
        return every

    def add(self, name: str, entries: Iterable[Entry | EntryBlock], label: str, now: datetime) -> Addition:
        """Write entries down, at the end of what waits.

        Args:
            name: of the list.
            entries: taken in to the end.
            label: what to call their origin in an error.
            now: the time.

        Raises:
            ListFormatError: the entries are faulty.
            OSError: they can't be written.
        """
        batch, folder = self._new_folder()
        manifest = write_local(name, folder, entries, label, 1, now)
        sync_folder(self._folder)
        return Addition(batch, manifest.entries)

    def withdraw(self, ids: IdSet, published: Iterable[NDArray[np.bytes_]]) -> Withdrawing:
        """Write a withdrawal down, at the end of what waits.

        Args:
            ids: to be withdrawn.
            published: all ids that are published and not withdrawn, block by block.

        Raises:
            UnknownIdError: an id belongs to no entry, published or waiting.
            OutputError: the entries that wait are lost.
            OSError: it can't be written.
        """
        is_published = _found(ids, published)
        waits = np.zeros(len(ids), dtype=bool)
        for operation in self._operations:
            if isinstance(operation, Addition):
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
        return Withdrawing(batch, len(ids), int(is_published.sum()), size, checksum(folder / _IDS))

    def _new_folder(self) -> tuple[str, Path]:
        batch = secrets.token_hex(8)
        return batch, private_folder(self._folder / batch)

    def _handle(self, operation: Addition) -> ListHandle:
        opened = open_local(operation.name, self._folder / operation.name)
        if opened.handle is None:
            raise OutputError(
                f"entries waiting in {self._folder / operation.name} are lost: {opened.info.problem}",
                advice="Restore the working folder from a backup.",
            )
        return opened.handle

    def _ids(self, operation: Withdrawing) -> IdSet:
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
    """Ids belong to no entry."""

    def __init__(self, entry_id: str, count: int) -> None:
        super().__init__(entry_id, count)
        self.entry_id = entry_id
        """The first of them."""
        self.count = count
        """How many there are."""


@dataclass(frozen=True, slots=True)
class Without:
    """Blocks without the rows of some ids; can be gone through again where the blocks can."""

    blocks: Iterable[Block]
    ids: IdSet

    def __iter__(self) -> Iterator[Block]:
        for ids, category, value in self.blocks:
            keep = self.ids.absent(ids)
            yield (ids, category, value) if keep.all() else (ids[keep], category[keep], value[keep])


def _found(ids: IdSet, blocks: Iterable[NDArray[np.bytes_]]) -> NDArray[np.bool_]:
    """Which of the ids stand in some blocks."""
    found = np.zeros(len(ids), dtype=bool)
    for block in blocks:
        found[ids.find(block)[1]] = True
    return found
