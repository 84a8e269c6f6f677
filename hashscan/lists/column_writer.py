"""Writes entries into the columns of a folder as they come, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from hashscan.errors import ListFormatError
from hashscan.lists.columns import BLOCK, ID_DTYPE, ColumnFiles, Columns, column_header, open_columns
from hashscan.lists.durable import PRIVATE_FILE
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Algorithm, Entry

_CATEGORY_INDEX = {category: index for index, category in enumerate(CATEGORIES)}


class ColumnWriter:
    """Writes entries into the columns of a folder as they come, holding one block and 8 bytes an entry.

    Used as a context manager: leaving it by an exception lets the files go. Only what `finish` has returned
    is complete and synced.
    """

    def __init__(self, folder: Path, mode: int = PRIVATE_FILE) -> None:
        """Write into `folder`, which holds no columns yet, files with permissions `mode`."""
        self._folder = folder
        self._mode = mode
        self._open: dict[str, _AlgorithmWriter] = {}

    def __enter__(self) -> ColumnWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._open.values():
            writer.close()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take in entries.

        Raises:
            OSError: they can't be written.
        """
        for entry in entries:
            self._writer(entry.algorithm).add(entry)

    def add_columns(self, algorithm: str, columns: Columns, categories: tuple[str, ...]) -> None:
        """Take in a whole list's columns of one algorithm.

        Raises:
            OSError: they can't be written.
        """
        writer = self._writer(algorithm)
        meaning = np.array([_CATEGORY_INDEX[category] for category in categories], dtype=np.uint8)
        for start in range(0, columns.entries, BLOCK):
            rows = slice(start, start + BLOCK)
            writer.add_block(columns.ids[rows], meaning[columns.category[rows]], columns.value[rows])

    def finish(self) -> tuple[ColumnFiles, ...]:
        """Complete and sync the files; an entry that came twice is left in once.

        Raises:
            ListFormatError: an id was given to two different entries.
            OSError: the files can't be written.
        """
        for writer in self._open.values():
            writer.finish()
        self._refuse_shared_ids()
        return tuple(writer.deduplicated() for _, writer in sorted(self._open.items()) if writer.rows)

    def _writer(self, algorithm: str) -> _AlgorithmWriter:
        writer = self._open.get(algorithm)
        if writer is None:
            writer = self._open[algorithm] = _AlgorithmWriter(self._folder, ALGORITHMS[algorithm], self._mode)
        return writer

    def _refuse_shared_ids(self) -> None:
        """Make sure that no id stands under two algorithms."""
        prints = [np.unique(writer.fingerprints) for writer in self._open.values()]
        if not prints:
            return
        values, counts = np.unique(np.concatenate(prints), return_counts=True)
        suspects = values[counts > 1]
        if not suspects.size:
            return
        seen: set[bytes] = set()
        for writer in self._open.values():
            mine = set(writer.ids_of(suspects))
            if seen & mine:
                raise _given_twice(min(seen & mine))
            seen |= mine


def _given_twice(entry_id: bytes) -> ListFormatError:
    return ListFormatError(
        f"the id {entry_id.decode('ascii', 'backslashreplace')!r} is given to two different entries",
        advice="Give every entry an id of its own; nothing was taken in.",
    )


class _AlgorithmWriter:
    """The three growing columns of one algorithm."""

    def __init__(self, folder: Path, algorithm: Algorithm, mode: int) -> None:
        self._folder = folder
        self._algorithm = algorithm
        self._mode = mode
        self._ids: list[bytes] = []
        self._categories = bytearray()
        self._values = bytearray()
        self._fingerprints = bytearray()
        names = [f"{algorithm.name}.{column}.npy" for column in ("ids", "category", "value")]
        self._files = [
            GrowingColumn(folder / name, dtype, width, mode)
            for name, dtype, width in zip(
                names,
                (ID_DTYPE, np.dtype(np.uint8), np.dtype(np.uint8)),
                ((), (), (algorithm.size,)),
                strict=True,
            )
        ]

    @property
    def rows(self) -> int:
        return self._files[0].rows

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """A hash of each row's id, shape (rows,)."""
        return np.frombuffer(self._fingerprints, dtype=np.uint64)

    def add(self, entry: Entry) -> None:
        self._ids.append(entry.id.encode("ascii"))
        self._categories.append(_CATEGORY_INDEX[entry.category])
        self._values += entry.value
        if len(self._ids) >= BLOCK:
            self._flush()

    def add_block(
        self, ids: NDArray[np.bytes_], category: NDArray[np.uint8], value: NDArray[np.uint8]
    ) -> None:
        self._flush()
        self._append(ids, category, value)

    def finish(self) -> None:
        self._flush()
        for file in self._files:
            file.finish()

    def close(self) -> None:
        for file in self._files:
            file.close()

    def ids_of(self, fingerprints: NDArray[np.uint64]) -> list[bytes]:
        """The ids of the rows that have one of these fingerprints."""
        rows = np.flatnonzero(np.isin(self.fingerprints, fingerprints))
        return [bytes(entry_id) for entry_id in self._columns().ids[rows]]

    def deduplicated(self) -> ColumnFiles:
        """The finished files, after leaving out rows that repeat an earlier one."""
        repeats = self._repeats()
        if repeats.size:
            self._leave_out(repeats)
        return self._column_files(self.rows)

    def _columns(self) -> Columns:
        return open_columns(self._folder, self._column_files(self.rows))

    def _column_files(self, rows: int) -> ColumnFiles:
        ids, category, value = (file.path.name for file in self._files)
        return ColumnFiles(self._algorithm.name, rows, ENTRY_ID_MAX, ids, category, value)

    def _flush(self) -> None:
        if not self._ids:
            return
        category = np.frombuffer(bytes(self._categories), dtype=np.uint8)
        value = np.frombuffer(bytes(self._values), dtype=np.uint8).reshape(-1, self._algorithm.size)
        self._append(np.array(self._ids, dtype=ID_DTYPE), category, value)
        self._ids.clear()
        self._categories.clear()
        self._values.clear()

    def _append(self, ids: NDArray[np.bytes_], category: NDArray[np.uint8], value: NDArray[np.uint8]) -> None:
        self._fingerprints += np.array(
            [xxhash.xxh3_64_intdigest(entry_id) for entry_id in ids.tolist()], dtype=np.uint64
        ).tobytes()
        for file, array in zip(self._files, (ids, category, value), strict=True):
            file.append(array)

    def _repeats(self) -> NDArray[np.intp]:
        """Rows that say again what an earlier row said."""
        order = np.argsort(self.fingerprints, kind="stable")
        ordered = self.fingerprints[order]
        again = np.concatenate(([False], ordered[1:] == ordered[:-1]))
        again[:-1] |= again[1:]
        suspects = np.sort(order[again])
        if not suspects.size:
            return suspects
        columns = self._columns()
        first: dict[bytes, tuple[int, bytes]] = {}
        repeats = []
        for row in suspects.tolist():
            entry_id = bytes(columns.ids[row])
            said = (int(columns.category[row]), columns.value[row].tobytes())
            if first.setdefault(entry_id, said) != said:
                raise _given_twice(entry_id)
            if first[entry_id] is not said:
                repeats.append(row)
        return np.array(repeats, dtype=np.intp)

    def _leave_out(self, repeats: NDArray[np.intp]) -> None:
        """Write the columns anew without some rows."""
        old = self._columns()
        keep = np.ones(old.entries, dtype=bool)
        keep[repeats] = False
        for index, array in enumerate((old.ids, old.category, old.value)):
            file = self._files[index]
            aside = GrowingColumn(file.path.with_suffix(".again"), array.dtype, array.shape[1:], self._mode)
            try:
                for start in range(0, len(array), BLOCK):
                    aside.append(array[start : start + BLOCK][keep[start : start + BLOCK]])
                aside.finish()
            finally:
                aside.close()
            aside.path.replace(file.path)
            aside.path = file.path
            self._files[index] = aside


class GrowingColumn:
    """A `.npy` file whose length is known only at the end, when its header is written anew."""

    def __init__(self, path: Path, dtype: np.dtype[Any], width: tuple[int, ...], mode: int) -> None:
        self.path = path
        self.rows = 0
        self._dtype = dtype
        self._width = width
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        self._file.write(column_header(self._dtype, (self.rows, *self._width)))

    def append(self, array: NDArray[Any]) -> None:
        """Add rows."""
        self._file.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        self.rows += len(array)

    def finish(self) -> None:
        """Write the true length, and sync."""
        self._file.seek(0)
        self._file.write(column_header(self._dtype, (self.rows, *self._width)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Let the file go, finished or not."""
        self._file.close()
