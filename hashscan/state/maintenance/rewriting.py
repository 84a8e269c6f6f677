"""Rewrite the columns of a state without the contents that nothing refers to any more."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashscan.state.store.columns import AppendedColumn
from hashscan.state.store.stored_contents import (
    ABOUT,
    COLUMN_DIGESTS,
    DTYPES,
    FURTHER,
    NONE,
    NOTHING,
    Column,
    checksum_of,
)

_BLOCK = 1 << 14


class ColumnRewriter:
    """A copy of the columns in a new folder; nothing refers to it until the database does."""

    def __init__(
        self, columns: dict[str, Column], beside: Path, doubtful: Collection[int], synced: int
    ) -> None:
        """Prepare to copy the columns into an empty folder.

        Args:
            columns: the open columns.
            beside: the new folder.
            doubtful: contents that a power cut has destroyed, and that were not read again yet.
            synced: contents from this row on may have been destroyed without being noticed yet.
        """
        self._columns = columns
        self._beside = beside
        self._doubtful = frozenset(doubtful)
        self._synced = synced
        self.lost: list[int] = []
        """New row numbers of contents that a power cut has destroyed."""
        self.prefixes: list[NDArray[np.int64]] = []
        """The first eight bytes of the new SHA-256 column's rows, block by block."""

    def write(self, used: NDArray[np.bool_]) -> dict[str, int]:
        """Write the new columns and sync them to the disk.

        Args:
            used: shape (contents,); True for each content to keep.

        Returns:
            The number of rows of each new column.

        Raises:
            ValueError: a content is damaged.
            OSError: the columns can't be written.
        """
        with ExitStack() as stack:
            new: dict[str, AppendedColumn] = {}
            for name, dtype in DTYPES.items():
                new[name] = AppendedColumn(self._beside / name, dtype, 0, 0)
                stack.callback(new[name].close)
            moved = self._write_pictures(new, used)
            for start in range(0, len(used), _BLOCK):
                self._write_block(new, start, used[start : start + _BLOCK], moved)
            for column in new.values():
                column.sync()
            return {name: column.rows for name, column in new.items()}

    def _write_pictures(self, new: dict[str, AppendedColumn], used: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Copy the pictures; return the new number of each, shape (pictures,), -1 where it is dropped."""
        numbers = np.cumsum(used) - 1
        count = self._columns["pictures"].rows
        moved = np.full(count, -1, np.int64)
        kept = 0
        for start in range(0, count, _BLOCK):
            of = self._columns["pictures"].read(start, _BLOCK)
            if of.size and of.max() >= len(used):
                raise ValueError("a picture is of a content that isn't there")
            keep = np.flatnonzero(used[of])
            moved[start + keep] = kept + np.arange(len(keep))
            kept += len(keep)
            new["pictures"].append(numbers[of[keep]].astype(DTYPES["pictures"]).tobytes())
            new["pdq"].append(self._columns["pdq"].read(start, _BLOCK)[keep].tobytes())
        return moved

    def _write_block(
        self,
        new: dict[str, AppendedColumn],
        start: int,
        used: NDArray[np.bool_],
        moved: NDArray[np.int64],
    ) -> None:
        about = self._columns["about"].read(start, len(used)).copy()
        digests = {name: self._columns[name].read(start, len(used)) for name in COLUMN_DIGESTS}
        for place in np.flatnonzero(used).tolist():
            exact = {name: bytes(digests[name][place]) for name in COLUMN_DIGESTS}
            fields = _fields(about[place])
            if checksum_of(fields, exact) != about[place]["crc"]:
                if start + place not in self._doubtful and start + place < self._synced:
                    raise ValueError(f"content {start + place} has another checksum")
                about[place]["further"] = NOTHING
                self.lost.append(new["about"].rows + int(np.count_nonzero(used[:place])))
                continue
            if fields[-1] != NOTHING:
                about[place]["further"] = self._copy_further(new["further"], fields[-1], moved)
                about[place]["crc"] = checksum_of(_fields(about[place]), exact)
        new["about"].append(about[used].tobytes())
        for name, values in digests.items():
            new[name].append(values[used].tobytes())
        beginnings = digests["sha256"][used].view(np.uint8).reshape(-1, 32)[:, :8]
        self.prefixes.append(np.ascontiguousarray(beginnings).view(">i8").ravel().astype(np.int64))

    def _copy_further(self, new: AppendedColumn, at: int, moved: NDArray[np.int64]) -> int:
        column = self._columns["further"]
        picture, known, before, rest, others = FURTHER.unpack(column.read(at, FURTHER.size).tobytes())
        length = (before & 0xFF) + (before >> 8) + rest + others
        body = column.read(at + FURTHER.size, length + 4).tobytes()
        elsewhere = b"" if picture == NONE else b"".join(map(bytes, self._columns["pdq"].read(picture, 1)))
        if zlib.crc32(elsewhere, zlib.crc32(body[:-4])) != int.from_bytes(body[-4:], "little"):
            raise ValueError("what is kept of a picture has another checksum")
        if picture != NONE:
            picture = int(moved[picture])
        start = new.rows
        new.append(FURTHER.pack(picture, known, before, rest, others) + body)
        return start


def _fields(about: np.void) -> tuple[int, ...]:
    return tuple(int(about[name]) for name in ABOUT.names or () if name != "crc")
