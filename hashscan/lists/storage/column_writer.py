"""Write entries into the columns of a folder while they come in, in bounded memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import PRIVATE_FILE
from hashscan.errors import ListFormatError
from hashscan.lists.storage.columns import BLOCK, BYTE, ID_DTYPE, ColumnFiles, EntryBlock, column_header
from hashscan.lists.storage.entry_ids import ConflictError, IdRegistry
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry
from hashscan.plugins import Algorithm


class GrowingColumn:
    """A column being written, whose rows can be read again in pieces, and removed.

    It is read, not mapped: pages of a mapped file would count as memory of this process.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], width: tuple[int, ...], mode: int) -> None:
        """Create the file, which must not exist yet."""
        self.path = path
        self.rows = 0
        self._dtype = np.dtype((dtype, width)) if width else dtype
        self._width = width
        self._item = dtype
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        self._file: IO[bytes] = os.fdopen(descriptor, "w+b")
        self._begin = self._file.write(self._header())

    def append(self, array: NDArray[Any]) -> None:
        self._write(np.ascontiguousarray(array, dtype=self._item))
        self.rows += len(array)

    def read(self, start: int, count: int) -> NDArray[Any]:
        """Return at most `count` rows from row `start` on; rows can be appended afterwards."""
        count = min(count, self.rows - start)
        self._file.seek(self._begin + start * self._dtype.itemsize)
        data = self._file.read(count * self._dtype.itemsize)
        self._file.seek(0, os.SEEK_END)
        return np.frombuffer(data, dtype=self._item).reshape(count, *self._width)

    def leave_out(self, rows: NDArray[np.bool_]) -> None:
        """Remove the rows whose flag is set; later rows move up."""
        kept = 0
        for start in range(0, self.rows, BLOCK):
            block = self.read(start, BLOCK)[~rows[start : start + BLOCK]]
            self._file.seek(self._begin + kept * self._dtype.itemsize)
            self._write(block)
            kept += len(block)
        self._file.truncate(self._begin + kept * self._dtype.itemsize)
        self._file.seek(0, os.SEEK_END)
        self.rows = kept

    def finish(self) -> None:
        """Write the final length, and sync and close the file."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        self._file.close()

    def _header(self) -> bytes:
        return column_header(self._item, (self.rows, *self._width))

    def _write(self, array: NDArray[Any]) -> None:
        self._file.write(array.data.cast("B") if array.size else b"")


def write_rows(path: Path, rows: NDArray[Any], dtype: np.dtype[Any], mode: int = PRIVATE_FILE) -> None:
    """Write and sync a whole column of plain numbers in a new file."""
    with closing(GrowingColumn(path, dtype, (), mode)) as column:
        column.append(rows)
        column.finish()


_CATEGORY_INDEX = {category: index for index, category in enumerate(CATEGORIES)}


class ColumnWriter:
    """A writer of entries into the columns of a folder, which buffers one block for each algorithm.

    Use it as a context manager: if the body raises, the files are closed. Only the result of `finish` is
    complete and synced.
    """

    def __init__(self, folder: Path, mode: int = PRIVATE_FILE, label: str = "the entries") -> None:
        """Write into `folder`, which must not contain columns yet, and needs 40 bytes more for each entry
        until the end. The label names the entries' origin in errors."""
        self._folder = folder
        self._mode = mode
        self._label = label
        self._unit = "line"
        self._registry = IdRegistry(folder)
        self._open: dict[str, _AlgorithmWriter] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        """Number of entries by algorithm and category; complete when `finish` has returned."""

    def __enter__(self) -> ColumnWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as closing:
            closing.callback(self._registry.close)
            for writer in self._open.values():
                closing.callback(writer.close)

    def add(self, entries: Iterable[Entry | EntryBlock]) -> None:
        for given in entries:
            writer = self._writer(given.algorithm)
            if isinstance(given, EntryBlock):
                self._unit = given.unit
                writer.add_block(given)
            else:
                writer.add(given)

    def finish(self) -> tuple[ColumnFiles, ...]:
        """Complete and sync the files; repeated entries are written once, and an id of two different entries
        is an error."""
        for writer in self._open.values():
            writer.flush()
        try:
            repeats = self._registry.repeats()
        except ConflictError as error:
            raise self._given_twice(error) from error
        finished = []
        for name, writer in sorted(self._open.items()):
            if name in repeats:
                writer.leave_out(repeats[name])
            finished.append(writer.finish())
            self.counts.update(writer.counts())
        return tuple(files for files in finished if files.entries)

    def _writer(self, algorithm: str) -> _AlgorithmWriter:
        writer = self._open.get(algorithm)
        if writer is None:
            writer = _AlgorithmWriter(self._folder, ALGORITHMS[algorithm], self._mode, self._registry)
            self._open[algorithm] = writer
        return writer

    def _given_twice(self, conflict: ConflictError) -> ListFormatError:
        first, second = conflict.first, conflict.second
        entry_id = self._open[second.algorithm].entry_id(second.number)
        if first.place and second.place:
            where = f"{self._label}, {self._unit} {second.place}"
            problem = f"was given to a different entry on {self._unit} {first.place}"
        else:
            where, problem = self._label, "is given to two different entries"
        return ListFormatError(
            f"{where}: the id {entry_id!r} {problem}",
            advice="Give every entry an id of its own, then import the file again; nothing was imported.",
        )


class _AlgorithmWriter:
    """The three growing columns of one algorithm."""

    def __init__(self, folder: Path, algorithm: Algorithm, mode: int, registry: IdRegistry) -> None:
        self._algorithm = algorithm
        self._registry = registry
        self._waiting: list[Entry] = []
        self._counts = np.zeros(len(CATEGORIES), dtype=np.int64)
        shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            "ids": (ID_DTYPE, ()),
            "category": (BYTE, ()),
            "value": (BYTE, (algorithm.size,)),
        }
        self._files: list[GrowingColumn] = []
        try:
            for name, (dtype, width) in shapes.items():
                path = folder / f"{algorithm.name}.{name}.npy"
                self._files.append(GrowingColumn(path, dtype, width, mode))
        except OSError:
            self.close()
            raise

    def add(self, entry: Entry) -> None:
        self._waiting.append(entry)
        if len(self._waiting) >= BLOCK:
            self.flush()

    def add_block(self, block: EntryBlock) -> None:
        self.flush()
        self._append(block)

    def flush(self) -> None:
        if not self._waiting:
            return
        ids = np.array([entry.id.encode("ascii") for entry in self._waiting], dtype=ID_DTYPE)
        category = bytes([_CATEGORY_INDEX[entry.category] for entry in self._waiting])
        value = np.frombuffer(b"".join([entry.value for entry in self._waiting]), dtype=np.uint8)
        self._waiting.clear()
        self._append(
            EntryBlock(
                self._algorithm.name,
                ids,
                np.frombuffer(category, dtype=np.uint8),
                value.reshape(-1, self._algorithm.size),
            )
        )

    def finish(self) -> ColumnFiles:
        for file in self._files:
            file.finish()
        ids, category, value = (file.path.name for file in self._files)
        return ColumnFiles(self._algorithm.name, self._files[0].rows, ENTRY_ID_MAX, ids, category, value)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def counts(self) -> dict[tuple[str, str], int]:
        counts = zip(CATEGORIES, self._counts.tolist(), strict=True)
        return {(self._algorithm.name, category): count for category, count in counts if count}

    def entry_id(self, row: int) -> str:
        (entry_id,) = self._files[0].read(row, 1)
        return bytes(entry_id).decode("ascii")

    def leave_out(self, repeats: NDArray[np.bool_]) -> None:
        for start in range(0, len(repeats), BLOCK):
            category = self._files[1].read(start, BLOCK)[repeats[start : start + BLOCK]]
            self._counts -= np.bincount(category, minlength=len(CATEGORIES))
        for file in self._files:
            file.leave_out(repeats)

    def _append(self, block: EntryBlock) -> None:
        self._registry.note(block)
        self._counts += np.bincount(block.category, minlength=len(CATEGORIES))
        for file, column in zip(self._files, (block.ids, block.category, block.value), strict=True):
            file.append(column)
