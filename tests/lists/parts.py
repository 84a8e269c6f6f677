"""Publishes lists of several parts, file by file, as any owner's program could."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hashscan.lists.storage import manifest as manifests
from hashscan.lists.storage.columns import ColumnBlock, id_dtype
from hashscan.lists.storage.manifest import MANIFEST_NAME, Manifest, Part
from hashscan.lists.storage.published_columns import write_part, write_withdrawal
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry
from tests.lists.builders import NOW, Owner


def blocks_of(entries: Sequence[Entry], length: int = 1000) -> dict[str, list[ColumnBlock]]:
    """Entries as blocks of some length, by algorithm."""
    made: dict[str, list[ColumnBlock]] = {}
    for algorithm in sorted({entry.algorithm for entry in entries}):
        every = [entry for entry in entries if entry.algorithm == algorithm]
        for start in range(0, len(every), length):
            some = every[start : start + length]
            made.setdefault(algorithm, []).append(
                (
                    np.array([entry.id.encode() for entry in some], dtype=id_dtype(ENTRY_ID_MAX)),
                    np.array([CATEGORIES.index(entry.category) for entry in some], dtype=np.uint8),
                    np.frombuffer(b"".join(entry.value for entry in some), dtype=np.uint8).reshape(
                        -1, ALGORITHMS[algorithm].size
                    ),
                )
            )
    return made


def entries_of_blocks(algorithm: str, blocks: Sequence[ColumnBlock]) -> list[Entry]:
    """Back again."""
    return [
        Entry(entry_id.decode("ascii"), algorithm, value.tobytes(), CATEGORIES[category])
        for block in blocks
        for entry_id, category, value in zip(block[0].tolist(), block[1].tolist(), block[2], strict=True)
    ]


@dataclass
class PartwiseOwner:
    """An owner whose every release is a part."""

    owner: Owner
    files: dict[str, bytes] = field(default_factory=dict)
    """All targets by name."""
    parts: list[Part] = field(default_factory=list)
    rows: dict[str, list[Entry]] = field(default_factory=dict)
    """All rows by algorithm."""
    gone: dict[str, set[int]] = field(default_factory=dict)
    signed: int = 0
    """Version of the metadata."""

    def release(
        self, entries: Sequence[Entry], withdrawn: Mapping[str, Sequence[int]] | None = None
    ) -> Manifest:
        """Publish a part: a base, when it is the first."""
        version = (self.parts[-1].version if self.parts else 0) + 1
        folder = self.owner.folder / "part"
        folder.mkdir()
        part = write_part(folder, version, blocks_of(entries))
        withdrawals = {
            algorithm: write_withdrawal(folder, version, algorithm, np.array(rows, dtype=np.int64))
            for algorithm, rows in sorted((withdrawn or {}).items())
        }
        self.parts.append(Part(version, part.algorithms, withdrawals))
        for entry in entries:
            self.rows.setdefault(entry.algorithm, []).append(entry)
        for algorithm, rows in (withdrawn or {}).items():
            self.gone.setdefault(algorithm, set()).update(rows)
        return self._publish(folder, version)

    def compact(self, version: int) -> Manifest:
        """Publish a new base of all that is active."""
        entries = self.entries
        folder = self.owner.folder / "part"
        folder.mkdir()
        self.parts = [write_part(folder, version, blocks_of(entries))]
        self.files, self.gone, self.rows = {}, {}, {}
        for entry in entries:
            self.rows.setdefault(entry.algorithm, []).append(entry)
        return self._publish(folder, version)

    @property
    def entries(self) -> list[Entry]:
        """Active entries by algorithm, in the order of their rows."""
        return [
            entry
            for algorithm in sorted(self.rows)
            for row, entry in enumerate(self.rows[algorithm])
            if row not in self.gone.get(algorithm, set())
        ]

    def _publish(self, folder: Path, version: int) -> Manifest:
        manifest = Manifest("test", version, NOW, CATEGORIES, tuple(self.parts))
        for path in folder.iterdir():
            self.files[path.name] = path.read_bytes()
            path.unlink()
        folder.rmdir()
        self.files[MANIFEST_NAME] = manifests.to_bytes(manifest)
        self.sign(self.files)
        return manifest

    def sign(self, files: Mapping[str, bytes]) -> None:
        """Publish any files at all."""
        self.signed += 1
        self.owner.publish_files(files, self.signed)
