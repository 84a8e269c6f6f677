"""Writes the new targets of a list's next version: a base, or an increment on the parts before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.lists import manifest as manifests
from hashscan.lists.canary import canary_entries
from hashscan.lists.columns import ColumnBlock
from hashscan.lists.durable import replace_file
from hashscan.lists.manifest import MANIFEST_NAME, Manifest, Part
from hashscan.lists.publishing.id_set import IdSet
from hashscan.lists.publishing.pending import Pending, WithoutIds
from hashscan.lists.shards import ChainedBlocks, PublishedRows, RenumberedBlocks, write_part, write_withdrawal
from hashscan.lists.withdrawals import withdrawn_by_algorithm
from hashscan.model import CATEGORIES, Entry

PUBLIC_FILE = 0o644


@dataclass(frozen=True, slots=True)
class PublishedEntries:
    """The entries of the published version."""

    targets: Path
    manifest: Manifest
    names: Mapping[str, str]
    """File name of each target."""

    def active(self, algorithm: str) -> Iterable[ColumnBlock]:
        """Return all active entries of one algorithm, with categories numbered as in `CATEGORIES`.

        Raises:
            ColumnError: a file is not as the manifest describes it.
            OSError: a file can't be read.
        """
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
        """Return the withdrawn rows by algorithm."""
        return withdrawn_by_algorithm(self.manifest, lambda target: self.targets / self.names[target])


def write_base(
    folder: Path,
    name: str,
    version: int,
    now: datetime,
    columns: Mapping[str, Iterable[ColumnBlock]],
) -> Manifest:
    """Write a version that is a new base, with the test picture's entries first.

    Args:
        folder: folder for the targets; contains no others.
        name: name of the list.
        version: version of the list.
        now: the time of creation to be stated.
        columns: the other entries of each algorithm, which can be iterated more than once.

    Raises:
        OSError: the files can't be written.
    """
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
    withdrawn = tuple(
        write_withdrawal(folder, version, algorithm, rows, PUBLIC_FILE)
        for algorithm, rows in gone.items()
        if rows.size
    )
    part = Part(version, added.columns, withdrawn)
    return _written(folder, Manifest(before.name, version, now, categories, (*before.parts, part)))


def canary_blocks() -> dict[str, list[ColumnBlock]]:
    """Return the test picture's entries as blocks, by algorithm."""
    blocks: dict[str, list[ColumnBlock]] = {}
    for entry in canary_entries():
        blocks.setdefault(entry.algorithm, []).append(_block(entry))
    return blocks


def canary_ids() -> IdSet:
    """Return the ids of the test picture's entries."""
    return IdSet(entry.id.encode("ascii") for entry in canary_entries())


def _block(entry: Entry) -> ColumnBlock:
    return (
        np.array([entry.id.encode("ascii")], dtype=np.bytes_),
        np.array([CATEGORIES.index(entry.category)], dtype=np.uint8),
        np.frombuffer(entry.value, dtype=np.uint8).reshape(1, -1),
    )


def _written(folder: Path, manifest: Manifest) -> Manifest:
    replace_file(folder / MANIFEST_NAME, manifests.to_bytes(manifest), PUBLIC_FILE)
    return manifest
