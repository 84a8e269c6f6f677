"""Drop unused contents and rows from the state, rewrite its columns without them, and free the disk space."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.atomic_files import PRIVATE_FOLDER, sync_folder
from hashscan.state.store.columns import AppendedColumn, ReadColumn
from hashscan.state.store.database import errors_explained, open_database
from hashscan.state.store.listings import from_bytes
from hashscan.state.store.reading import StateReader
from hashscan.state.store.stored_contents import (
    COLUMN_DIGESTS,
    DTYPES,
    FURTHER,
    NONE,
    NOTHING,
    Column,
    checksum_of,
    columns_folder,
    fields_of,
    read_further,
    use_columns_in,
)
from hashscan.state_dir import StateDir

_BLOCK = 1 << 14


class ColumnRewriter:
    """A copy of the columns in a new folder; nothing refers to it until the database does."""

    def __init__(
        self, columns: dict[str, Column], beside: Path, doubtful: Collection[int], synced: int
    ) -> None:
        """Prepare to copy the columns into an empty folder. `doubtful` are contents that a power cut has
        destroyed, and that were not read again yet; contents from the row `synced` on may have been destroyed
        without being noticed yet."""
        self._columns = columns
        self._beside = beside
        self._doubtful = frozenset(doubtful)
        self._synced = synced
        self.lost: list[int] = []
        """New row numbers of contents that a power cut has destroyed."""
        self.prefixes: list[NDArray[np.int64]] = []
        """The first eight bytes of the new SHA-256 column's rows, block by block."""

    def write(self, used: NDArray[np.bool_]) -> dict[str, int]:
        """Write the new columns with the contents for which `used`, shape (contents,), is True, sync them to
        the disk, and return the number of rows of each."""
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
            fields = fields_of(about[place])
            if checksum_of(fields, exact) != about[place]["crc"]:
                if start + place not in self._doubtful and start + place < self._synced:
                    raise ValueError(f"content {start + place} has another checksum")
                about[place]["further"] = NOTHING
                self.lost.append(new["about"].rows + int(np.count_nonzero(used[:place])))
                continue
            if fields[-1] != NOTHING:
                about[place]["further"] = self._copy_further(new["further"], fields[-1], moved)
                about[place]["crc"] = checksum_of(fields_of(about[place]), exact)
        new["about"].append(about[used].tobytes())
        for name, values in digests.items():
            new[name].append(values[used].tobytes())
        beginnings = digests["sha256"][used].view(np.uint8).reshape(-1, 32)[:, :8]
        self.prefixes.append(np.ascontiguousarray(beginnings).view(">i8").ravel().astype(np.int64))

    def _copy_further(self, new: AppendedColumn, at: int, moved: NDArray[np.int64]) -> int:
        (picture, *header), body, _ = read_further(self._columns, at)
        if picture != NONE:
            picture = int(moved[picture])
        start = new.rows
        new.append(FURTHER.pack(picture, *header) + body)
        return start


_FOLDERS = "columns-"


class Vacuumed(NamedTuple):
    """The outcome of a vacuum."""

    contents: int
    dropped: int
    before: int
    """Bytes on the disk."""
    after: int


def vacuum(state: StateDir) -> Vacuumed:
    """Drop contents that neither a file nor a finding refers to, and other unused rows.

    The columns are written to another folder; then one transaction switches all references to them. If the
    process is killed before that transaction, nothing has changed. If it is killed after it, only the old
    columns are left over, and the next call removes them.

    Args:
        state: the state folder, whose lock the caller holds.

    Raises:
        OutputError: there is no state, it is damaged, or it can't be written.
    """
    StateReader(state).close()
    database, folder, _ = open_database(state)
    try:
        with errors_explained(folder):
            # The old columns are removed as soon as the transaction has ended, so it must have reached the
            # disk.
            database.execute("PRAGMA synchronous = FULL")
            _remove_leftovers(database, folder)
            before = size_of(folder)
            try:
                used = _rewrite(database, folder)
            except BaseException:
                # On a full disk, no space may stay occupied.
                if database.in_transaction:
                    database.rollback()
                _remove_leftovers(database, folder)
                raise
            _remove_leftovers(database, folder)
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return Vacuumed(len(used), int(np.count_nonzero(~used)), before, size_of(folder))
    finally:
        database.close()


def _rewrite(database: sqlite3.Connection, folder: Path) -> NDArray[np.bool_]:
    """Rewrite everything in one transaction; return which contents were in use."""
    database.execute("BEGIN IMMEDIATE")
    used = _used(database)
    if not used.all():
        _drop(database, folder, used)
    _rebuild_places(database)
    database.execute(
        "DELETE FROM filesystems WHERE id NOT IN "
        "(SELECT filesystem FROM folders UNION SELECT store FROM objects)"
    )
    database.execute("COMMIT")
    return used


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _remove_leftovers(database: sqlite3.Connection, folder: Path) -> None:
    current = columns_folder(database, folder)
    for other in folder.glob(f"{_FOLDERS}*"):
        if other != current:
            shutil.rmtree(other)
    if current != folder:
        for name in DTYPES:
            (folder / name).unlink(missing_ok=True)


def _used(database: sqlite3.Connection) -> NDArray[np.bool_]:
    row = database.execute("SELECT rows FROM columns WHERE name='about'").fetchone()
    used = np.zeros(row[0] if row else 0, bool)
    for table in ("folders", "pieces"):
        for (listing,) in database.execute(f"SELECT listing FROM {table}"):  # noqa: S608
            contents = from_bytes(listing).contents
            if contents.size and contents.max() >= len(used):
                raise ValueError("a file has a content that isn't there")
            used[contents] = True
    for query in ("SELECT content FROM findings WHERE content IS NOT NULL", "SELECT content FROM objects"):
        for (content,) in database.execute(query):
            if not 0 <= content < len(used):
                raise ValueError("the database names a content that isn't there")
            used[content] = True
    return used


def _drop(database: sqlite3.Connection, folder: Path, used: NDArray[np.bool_]) -> None:
    beside = folder / f"{_FOLDERS}{secrets.token_hex(4)}"
    beside.mkdir(mode=PRIVATE_FOLDER)
    counted = {name: (rows, synced) for name, rows, synced in database.execute("SELECT * FROM columns")}
    current = columns_folder(database, folder)
    old: dict[str, Column] = {}
    opened: list[ReadColumn] = []
    try:
        for name, dtype in DTYPES.items():
            opened.append(ReadColumn(current / name, dtype, counted[name][0]))
            old[name] = opened[-1]
        doubtful = {row for (row,) in database.execute("SELECT content FROM lost")}
        rewriting = ColumnRewriter(old, beside, doubtful, counted["about"][1])
        rows = rewriting.write(used)
    finally:
        for column in opened:
            column.close()
    sync_folder(beside)
    sync_folder(folder)
    database.executemany(
        "UPDATE columns SET rows=?, synced=? WHERE name=?", ((n, n, c) for c, n in rows.items())
    )
    use_columns_in(database, beside.name)
    _renumber(database, used, rewriting)


def _renumber(database: sqlite3.Connection, used: NDArray[np.bool_], rewriting: ColumnRewriter) -> None:
    below = np.concatenate(([0], np.cumsum(used)))
    """For each old number, how many kept contents lie below it."""
    for table in ("folders", "pieces"):
        for (number,) in database.execute(f"SELECT id FROM {table}").fetchall():  # noqa: S608
            (blob,) = database.execute(f"SELECT listing FROM {table} WHERE id=?", (number,)).fetchone()  # noqa: S608
            listing = from_bytes(blob)
            listing.contents[:] = below[listing.contents]
            database.execute(f"UPDATE {table} SET listing=? WHERE id=?", (listing.to_bytes(), number))  # noqa: S608
    hits = [row for (row,) in database.execute("SELECT content FROM hits")]
    database.execute("DELETE FROM hits")
    database.executemany("INSERT INTO hits VALUES (?)", [(int(below[row]),) for row in hits if used[row]])
    database.execute("DELETE FROM lost")
    database.executemany("INSERT INTO lost VALUES (?)", [(row,) for row in rewriting.lost])
    database.create_function("renumbered", 1, lambda content: int(below[content]), deterministic=True)
    database.execute("UPDATE findings SET content=renumbered(content) WHERE content IS NOT NULL")
    database.execute("UPDATE objects SET content=renumbered(content)")
    database.execute("UPDATE matched SET contents=renumbered(contents)")
    _renumber_answers(database, used, below)
    # In this order no new number is one that another container still has.
    for (row,) in database.execute("SELECT content FROM members ORDER BY content").fetchall():
        if used[row]:
            database.execute("UPDATE members SET content=? WHERE content=?", (int(below[row]), row))
        else:
            database.execute("DELETE FROM members WHERE content=?", (row,))
    prefixes = np.concatenate(rewriting.prefixes) if rewriting.prefixes else np.zeros(0, np.int64)
    order = np.argsort(prefixes, kind="stable")
    database.execute("DELETE FROM contents")
    pairs = zip(prefixes[order].tolist(), order.tolist(), strict=True)
    database.executemany("INSERT INTO contents VALUES (?, ?)", pairs)
    database.execute("INSERT OR REPLACE INTO meta VALUES ('indexed', ?)", (len(prefixes),))


def _renumber_answers(
    database: sqlite3.Connection, used: NDArray[np.bool_], below: NDArray[np.int64]
) -> None:
    """Renumber what matching services were asked about, and what they have answered."""
    database.executemany(
        "UPDATE asked SET first=?, count=? WHERE id=?",
        [
            (int(below[first]), int(below[first + count] - below[first]), number)
            for number, first, count in database.execute("SELECT id, first, count FROM asked").fetchall()
        ],
    )
    database.execute("DELETE FROM asked WHERE count=0")
    kept = [
        (service, int(below[content]), answer)
        for service, content, answer in database.execute("SELECT service, content, answer FROM answers")
        if used[content]
    ]
    database.execute("DELETE FROM answers")
    database.executemany("INSERT INTO answers VALUES (?, ?, ?)", kept)


def _rebuild_places(database: sqlite3.Connection) -> None:
    """Rebuild the table `places`, so that it leads only to folders that have a content now."""
    database.execute("DELETE FROM places")
    database.execute("DELETE FROM unplaced")
    found = list(_pairs(database))
    if not found:
        return
    contents, folders = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((folders, contents))
    pairs = zip(contents[order].tolist(), folders[order].tolist(), strict=True)
    database.executemany("INSERT OR IGNORE INTO places VALUES (?, ?)", pairs)


def _pairs(database: sqlite3.Connection) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
    for query in ("SELECT id, listing FROM folders", "SELECT folder, listing FROM pieces"):
        for folder, listing in database.execute(query):
            contents = np.unique(from_bytes(listing).contents).astype(np.uint32)
            yield contents, np.full(len(contents), folder, np.int64)
