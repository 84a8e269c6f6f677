"""Check that entry ids are unique, for any number of entries and in little memory; sets of ids.

Ids are compared by keyed fingerprints of 128 bits. The key is random for each use and never shown. For any
two different ids the probability of a collision is at most 2^-128 over the keys (multiply-shift hashing of
vectors: Thorup, High Speed Hashing for Integers and Strings, 2015, theorem 5). So ids that collide can't be
prepared, and no collision is to be expected among a thousand million entries. The fingerprints are stored on
disk, partitioned by their first bits. One partition at a time is read, not mapped.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hashscan.lists.storage.columns import EntryBlock
from hashscan.locking import ClosedOnExit
from hashscan.model import ALGORITHMS, ENTRY_ID_MAX

_WORD = 4
_LANES = 4
_PARTS = 256
_RUN = 1 << 16
"""Records sorted and written at a time; blocks of ids are also processed in pieces of this length."""
_NUMBERS = {name: number for number, name in enumerate(ALGORITHMS)}
_NAMES = tuple(ALGORITHMS)
_ALGORITHM_SHIFT = np.uint64(56)

_ID = [("id", "<u8"), ("id_rest", "<u8")]
_ID_RECORD = np.dtype([*_ID, ("row", "<u8")])
_ENTRY_RECORD = np.dtype([*_ID, ("content", "<u8"), ("row", "<u8"), ("place", "<u8")])


@dataclass(frozen=True, slots=True)
class Row:
    """The position of one recorded entry."""

    algorithm: str
    number: int
    """Row number among the entries of its algorithm, from 0."""
    place: int
    """Position in the file it was read from; 0 if not known."""


class ConflictError(Exception):
    """Two different entries have the same id."""

    def __init__(self, first: Row, second: Row) -> None:
        super().__init__(first, second)
        self.first = first
        self.second = second


class IdRegistry:
    """All entries recorded so far, at 40 bytes on disk each."""

    def __init__(self, folder: Path) -> None:
        """Create an unnamed file on the filesystem of `folder`."""
        self._fingerprint = _Fingerprint()
        self._records = _Records(folder, _ENTRY_RECORD)
        self._rows: dict[str, int] = {}

    def close(self) -> None:
        """Close the file; its content is lost."""
        self._records.close()

    def note(self, block: EntryBlock) -> None:
        first, number = self._rows.get(block.algorithm, 0), _NUMBERS[block.algorithm]
        self._rows[block.algorithm] = first + len(block)
        records = np.empty(len(block), dtype=_ENTRY_RECORD)
        records["id"], records["id_rest"] = self._fingerprint.of_ids(block.ids)
        records["content"] = self._fingerprint.of_contents(number, block.category, block.value)
        rows = np.arange(first, first + len(block), dtype=np.uint64)
        records["row"] = rows | np.uint64(number) << _ALGORITHM_SHIFT
        records["place"] = 0 if block.places is None else block.places
        self._records.append(records)

    def repeats(self) -> dict[str, NDArray[np.bool_]]:
        """Return a flag for each row, shape (rows,), of the algorithms that have rows that repeat an earlier
        entry. An id of different entries raises ConflictError, which names the pair whose second entry came
        first."""
        found: dict[str, NDArray[np.bool_]] = {}
        worst: tuple[int, NDArray[np.void]] | None = None
        for records in self._records.parts():
            # Blocks of different algorithms are interleaved, so entries were recorded only roughly in the
            # order of their positions.
            by_id = records[np.lexsort((records["place"], records["id"]))]
            same = _equals_former(by_id)
            clash = np.flatnonzero(same & (by_id["content"][1:] != by_id["content"][:-1]))
            if clash.size:
                pairs = np.stack([by_id[clash], by_id[clash + 1]], axis=1)
                at = int(np.argmin(pairs["place"][:, 1]))
                place = int(pairs["place"][at, 1])
                if worst is None or place < worst[0]:
                    worst = place, pairs[at]
            elif worst is None and same.any():
                again = by_id["row"][1:][same]
                algorithms = again >> _ALGORITHM_SHIFT
                for number in np.unique(algorithms).tolist():
                    name = _NAMES[number]
                    rows = again[algorithms == number] & ((np.uint64(1) << _ALGORITHM_SHIFT) - np.uint64(1))
                    found.setdefault(name, np.zeros(self._rows[name], dtype=bool))[rows] = True
        if worst is not None:
            raise ConflictError(_row(worst[1][0]), _row(worst[1][1]))
        return found


def first_shared_id(
    new: Callable[[], Iterable[NDArray[np.bytes_]]], old: Iterable[NDArray[np.bytes_]], folder: Path
) -> str | None:
    """Return an id that is in both lists, or None; of several, the first in `new`. `new` returns blocks of
    ids, shape (n,), of any width up to 64 bytes, and is called a second time to name a shared id. Uses some
    MB of memory, and 24 bytes for each id in unnamed files on the filesystem of `folder`."""
    fingerprint = _Fingerprint()
    with _Records(folder, _ID_RECORD) as ours, _Records(folder, _ID_RECORD) as theirs:
        for records, blocks in ((ours, new()), (theirs, old)):
            row = 0
            for block in blocks:
                for start in range(0, len(block), _RUN):
                    ids = block[start : start + _RUN]
                    noted = np.empty(len(ids), dtype=_ID_RECORD)
                    noted["id"], noted["id_rest"] = fingerprint.of_ids(ids)
                    noted["row"] = np.arange(row, row + len(ids), dtype=np.uint64)
                    row += len(ids)
                    records.append(noted)
        first: int | None = None
        for mine, others in zip(ours.parts(), theirs.parts(), strict=True):
            row_here = _first_shared_row(mine, others)
            if row_here is not None and (first is None or row_here < first):
                first = row_here
    if first is None:
        return None
    for block in new():
        if first < len(block):
            return bytes(block[first]).decode("ascii")
        first -= len(block)
    raise ValueError("the new ids are fewer when they are read again")


def _first_shared_row(mine: NDArray[np.void], others: NDArray[np.void]) -> int | None:
    """Return the lowest row of `mine` whose id is in `others`, or None."""
    if not len(mine) or not len(others):
        return None
    both = np.concatenate([others, mine])
    is_mine = np.arange(len(both)) >= len(others)
    # The sort is stable: rows of `others` come before rows of `mine` with the same id.
    order = np.lexsort((both["id_rest"], both["id"]))
    both, is_mine = both[order], is_mine[order]
    starts = np.concatenate(([True], ~_equals_former(both)))
    group = np.cumsum(starts) - 1
    shared = is_mine & ~is_mine[np.flatnonzero(starts)][group]
    return int(both["row"][shared].min()) if shared.any() else None


def _equals_former(by_id: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return a flag for each record but the first: True if it has the id of the record before it."""
    same: NDArray[np.bool_] = (by_id["id"][1:] == by_id["id"][:-1]) & (
        by_id["id_rest"][1:] == by_id["id_rest"][:-1]
    )
    return same


def _row(record: NDArray[np.void]) -> Row:
    row = int(record["row"])
    return Row(_NAMES[row >> 56], row & ((1 << 56) - 1), int(record["place"]))


class _Fingerprint:
    """A hash of 32-bit words with a random key: four independent lanes of 32 bits."""

    def __init__(self) -> None:
        words = max(ENTRY_ID_MAX, *(algorithm.size for algorithm in ALGORITHMS.values())) // _WORD + 3
        key = np.frombuffer(secrets.token_bytes(_LANES * words * 8), dtype=np.uint64)
        self._key = key.reshape(_LANES, words)

    def of_ids(self, ids: NDArray[np.bytes_]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return 128 bits for each id, independent of the width of the column."""
        words = _words(np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), ids.dtype.itemsize))
        one, two, three, four = self._lanes(words, range(_LANES))
        return one | two >> np.uint64(32), three | four >> np.uint64(32)

    def of_contents(
        self, algorithm: int, category: NDArray[np.uint8], value: NDArray[np.uint8]
    ) -> NDArray[np.uint64]:
        """Return 64 bits for the other fields of each entry; compared only where ids are equal."""
        one, two = self._lanes(
            _words(value), range(2), algorithm + (category.astype(np.uint64) << np.uint64(8))
        )
        return one | two >> np.uint64(32)

    def _lanes(
        self, words: NDArray[np.uint32], lanes: range, first: NDArray[np.uint64] | None = None
    ) -> list[NDArray[np.uint64]]:
        """Return the sums of words times keys, of which only the upper 32 bits are used."""
        sums = [
            np.zeros(len(words), dtype=np.uint64) if first is None else first * self._key[lane, -1]
            for lane in lanes
        ]
        for column in range(words.shape[1]):
            word = words[:, column].astype(np.uint64)
            # Most of an id's column is padding, so words that are all zero are skipped.
            if word.any():
                for lane in lanes:
                    sums[lane] += word * self._key[lane, column]
        upper = np.uint64(0xFFFFFFFF00000000)
        return [total & upper for total in sums]


def _words(octets: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return bytes as 32-bit words, padded with NUL."""
    lacking = -octets.shape[1] % _WORD
    if lacking:
        octets = np.pad(octets, ((0, 0), (0, lacking)))
    return np.ascontiguousarray(octets).view("<u4")


class _Records(ClosedOnExit):
    """Records on disk in runs, each run sorted by the first byte of the fingerprint."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._bounds: list[NDArray[np.int64]] = []
        """For each run, the start of each of its parts and its end, as record numbers in the file."""
        self._waiting: list[NDArray[np.void]] = []
        self._number = 0

    def close(self) -> None:
        self._file.close()

    def append(self, records: NDArray[np.void]) -> None:
        self._waiting.append(records)
        self._number += len(records)
        if self._number >= _RUN:
            self._flush()

    def parts(self) -> Iterator[NDArray[np.void]]:
        """Yield the records by the first byte of their fingerprints, each part in the order of arrival."""
        self._flush()
        for part in range(_PARTS):
            yield np.concatenate([self._read(*bounds[part : part + 2].tolist()) for bounds in self._bounds])

    def _flush(self) -> None:
        records = np.concatenate([*self._waiting, np.empty(0, dtype=self._dtype)])
        part = (records["id"] >> np.uint64(56)).astype(np.uint8)
        start = int(self._bounds[-1][-1]) if self._bounds else 0
        ends = np.cumsum(np.bincount(part, minlength=_PARTS))
        self._file.seek(0, os.SEEK_END)
        self._file.write(records[np.argsort(part, kind="stable")].data.cast("B") if records.size else b"")
        self._bounds.append(start + np.concatenate(([0], ends)))
        self._waiting.clear()
        self._number = 0

    def _read(self, start: int, end: int) -> NDArray[np.void]:
        self._file.seek(start * self._dtype.itemsize)
        return np.frombuffer(self._file.read((end - start) * self._dtype.itemsize), dtype=self._dtype)


class IdSet:
    """Distinct ids in ascending order."""

    def __init__(self, ids: Iterable[bytes] | NDArray[np.bytes_] = ()) -> None:
        given = ids if isinstance(ids, np.ndarray) else np.array(list(ids) or [b""], dtype=np.bytes_)
        found = np.unique(given)
        self.ids: NDArray[np.bytes_] = found[found != b""]
        """Shape (n,), ascending."""

    def __len__(self) -> int:
        return len(self.ids)

    def __or__(self, other: IdSet) -> IdSet:
        return IdSet(np.concatenate((self.ids, other.ids)))

    def absent(self, block: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Return a flag for each row of a block: True if its id is not in this set."""
        absent = np.ones(len(block), dtype=bool)
        absent[self.find(block)[0]] = False
        return absent

    def find(self, block: NDArray[np.bytes_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows of a block, ascending, whose ids (shape (n,), of any width) are in this set, and
        for each the position of its id in `ids`."""
        nowhere = np.zeros(0, dtype=np.intp)
        if not len(self.ids) or not len(block):
            return nowhere, nowhere
        width = self.ids.dtype.itemsize
        # Compared in one width; otherwise numpy would widen the whole set for each block.
        rows = np.flatnonzero(np.strings.str_len(block) <= width)
        short = block[rows].astype(self.ids.dtype)
        places = np.minimum(np.searchsorted(self.ids, short), len(self.ids) - 1)
        same = self.ids[places] == short
        return rows[same], places[same]
