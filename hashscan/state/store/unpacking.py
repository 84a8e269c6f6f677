"""Decompress the picture digests of many cached contents at once, where `packing` stored them alike.

Row by row this would take a hundred times as long as comparing them. Pictures whose replies have the same
runs are processed together, since the prediction from the first digest to the second is the same for all of
them.
"""

from __future__ import annotations

import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.c_parts import BUILT
from hashscan.model import ALGORITHMS
from hashscan.state.store.packing import (
    HEAD,
    MOST_BITS,
    RUN_HEAD,
    Bytes,
    Guess,
    mark_of,
    size_before,
    steps_of,
)
from hashscan.state.store.stored_contents import ABOUT, FURTHER, NONE, NOTHING, StoredContents

if BUILT:
    from hashscan.state.store import _unpack

Rows = NDArray[np.int64]


class Loops(ABC):
    """An implementation of the inner loops."""

    name: ClassVar[str]

    @abstractmethod
    def sums(self, data: Bytes, at: Rows, length: Rows, values: Bytes, apart: NDArray[np.bool_]) -> Bytes:
        """Return the checksums of many records.

        Args:
            at: offset of each in `data`, shape (n,).
            values: their first digests, shape (n, 32).
            apart: True where these are stored elsewhere, and are summed after the record.

        Returns:
            Shape (4 * n,), each little-endian.

        Raises:
            IndexError: one ends beyond `data`.
        """

    @abstractmethod
    def step(self, data: Bytes, at: Rows, guess: Guess | None, size: int) -> Bytes:
        """Return one digest of each record.

        Args:
            at: offset of this digest in each, shape (n,); set to the offset of the next.
            guess: prediction for each, where there is one; of digests of 32 bytes.
            size: of the digests in bytes.

        Returns:
            Shape (n, size).

        Raises:
            IndexError: an offset lies beyond `data`.
            ValueError: the data is no such digest.
        """


class NumpyLoops(Loops):
    """The numpy implementation, always available."""

    name = "numpy"

    def sums(self, data: Bytes, at: Rows, length: Rows, values: Bytes, apart: NDArray[np.bool_]) -> Bytes:
        if ((at < 0) | (length < 0) | (length > len(data) - at)).any():
            raise IndexError("beyond the end")
        view, whole, crc32 = memoryview(data.data), values.tobytes(), zlib.crc32
        size = values.shape[1]
        ends, firsts = (at + length).tolist(), range(0, len(whole), size)
        found = [
            crc32(whole[place : place + size] if behind else b"", crc32(view[begin:end]))
            for begin, end, place, behind in zip(at.tolist(), ends, firsts, apart.tolist(), strict=True)
        ]
        return np.array(found, "<u4").view(np.uint8)

    def step(self, data: Bytes, at: Rows, guess: Guess | None, size: int) -> Bytes:
        if (at < 0).any():
            raise IndexError("beyond the end")
        values = np.empty((len(at), size), np.uint8) if guess is None else guess.made()
        marks = data[at].astype(np.int64)
        raw = marks > MOST_BITS
        differing = np.where(raw, 0, marks)
        if guess is None and not raw.all():
            raise ValueError("what is kept of a picture refers to a digest that it hasn't")
        row = np.repeat(np.arange(len(at)), differing)
        inside = np.arange(len(row)) - np.repeat(np.cumsum(differing) - differing - at - 1, differing)
        places = data[inside]
        bits = np.right_shift(0x80, places & 7).astype(np.uint8)
        np.bitwise_xor.at(values.reshape(-1), row * size + (places >> 3), bits)
        if raw.any():
            if (marks[raw] != mark_of(size)).any():
                raise ValueError("what is kept of a picture has a digest of another length")
            values[raw] = data[at[raw, None] + 1 + np.arange(size)]
        at += 1 + np.where(raw, size, marks)
        return values


class CLoops(Loops):
    """The C implementation, record by record."""

    name = "C"

    def sums(self, data: Bytes, at: Rows, length: Rows, values: Bytes, apart: NDArray[np.bool_]) -> Bytes:
        return np.frombuffer(_unpack.sums(data, at, length, values, apart), np.uint8)

    def step(self, data: Bytes, at: Rows, guess: Guess | None, size: int) -> Bytes:
        values = np.empty((len(at), size), np.uint8)
        known, swaps, mask = guess or (values, False, values[:0])
        _unpack.step(data, at, values, size, guess is not None, known, swaps, mask)
        return values


@cache
def best_loops() -> Loops:
    return CLoops() if BUILT and sys.byteorder == "little" else NumpyLoops()


BLOCK_BYTES = 16 << 20
"""Maximum bytes of `further` in one block, apart from one more record."""

_GROUP = 1 << 12
_QUALITY, _DOUBT = 8, 9
_PDQ_BYTES = ALGORITHMS["pdq"].size


class Unpacked(NamedTuple):
    """One digest of each of some contents."""

    rows: Rows
    algorithm: str
    values: Bytes
    """Shape (n, size)."""
    rendering: int
    turn: int
    shown: int
    """The turn that EXIF asks for."""


class Beyond(NamedTuple):
    """Contents that have to be unpacked one by one."""

    rows: Rows


class _Records(NamedTuple):
    """Some records of `further`, all of one structure."""

    rows: Rows
    heads: NDArray[np.uint32]
    at: Rows
    """Offsets in `data` of the rest, after its head."""
    end: Rows
    """Offsets of the end of the rest."""
    data: Bytes
    first: Bytes
    """The first digests, shape (n, size); empty where they are in the rest."""


class Block(NamedTuple):
    """Some records of `further` with all data that is needed to unpack them, independent of the state."""

    rows: Rows
    keys: Rows
    """Index into `structures` of each record."""
    structures: list[tuple[bytes, tuple[str, ...]]]
    """Heads without qualities and doubts, empty where they have no number, and names of algorithms."""
    heads: dict[int, bytes]
    at: Rows
    """Offset in `data` of each record."""
    header: NDArray[np.uint32]
    """`FURTHER` of each record, shape (n, 5)."""
    data: Bytes
    values: Bytes
    """Digests that are stored in `pdq`, zeros for others; shape (n, 32)."""

    def digests(self) -> Iterator[Unpacked | Beyond]:
        try:
            yield from _of_block(self)
        except IndexError as error:
            raise ValueError("what is kept of a picture is cut short") from error


def blocks_of(contents: StoredContents, rows: Rows) -> Iterator[Block]:
    """Read everything that is stored of some pictures (ascending rows), block by block."""
    if not len(rows):
        return
    about = contents.columns["about"].read(int(rows[0]), int(rows[-1] - rows[0]) + 1).view(ABOUT)
    about = about[rows - rows[0]]
    there = about["further"] != NOTHING
    rows, about = rows[there], about[there]
    if (about["further"][1:] <= about["further"][:-1]).any():
        raise ValueError("what is kept of pictures is not in order")
    while len(rows):
        begins = about["further"].astype(np.int64)
        count = max(1, int(np.searchsorted(begins, begins[0] + BLOCK_BYTES)))
        try:
            yield _block(contents, rows[:count], about["profile"][:count], begins[:count])
        except IndexError as error:
            raise ValueError("what is kept of a picture is cut short") from error
        rows, about = rows[count:], about[count:]


def _block(contents: StoredContents, rows: Rows, profiles: NDArray[np.uint16], begins: Rows) -> Block:
    column, start = contents.columns["further"], int(begins[0])
    last = column.read(int(begins[-1]), FURTHER.size).tobytes()
    if len(last) < FURTHER.size:
        raise IndexError
    fields = FURTHER.unpack(last)
    end = int(begins[-1]) + FURTHER.size + (fields[2] & 0xFF) + (fields[2] >> 8) + fields[3] + fields[4] + 4
    data = column.read(start, end - start)
    at = begins - start
    header = data[at[:, None] + np.arange(FURTHER.size)].view("<u4").reshape(-1, 5)
    pairs, back = np.unique(
        profiles.astype(np.int64) << 32 | header[:, 1].astype(np.int64), return_inverse=True
    )
    heads: dict[int, bytes] = {}
    places: dict[tuple[bytes, tuple[str, ...]], int] = {}
    of_pair = np.empty(len(pairs), np.int64)
    for number, pair in enumerate(pairs.tolist()):
        profile, known = pair >> 32, pair & NONE
        if known != NONE and known not in heads:
            heads[known] = contents.heads_of(known)
        # A structure is the heads without their qualities and doubts.
        key = without_quality(heads.get(known, b"")), contents.profiles[profile].picture_names
        of_pair[number] = places.setdefault(key, len(places))
    return Block(rows, of_pair[back], list(places), heads, at, header, data, _stored(contents, header[:, 0]))


def _of_block(block: Block) -> Iterator[Unpacked | Beyond]:
    data, at, values = block.data, block.at, block.values
    picture, known, before, rest, others = block.header.T
    first = (before & 0xFF).astype(np.int64)
    length = first + (before >> 8) + rest + others
    _check(data, at + FURTHER.size, length, values, picture != NONE)
    # The structures whose first digests are in `pdq`, and the lengths of those that are in the records.
    of_pdq = np.array([bool(heads) and names[heads[7]] == "pdq" for heads, names in block.structures])
    sizes = np.array([size_before(heads, names) if heads else -1 for heads, names in block.structures])
    alike = (rest > 0) & np.where(picture != NONE, of_pdq[block.keys], first == sizes[block.keys])
    beyond = ~alike & ((rest > 0) | (others > 0))
    if beyond.any():
        yield Beyond(block.rows[beyond])
    for number, (heads, names) in enumerate(block.structures):
        places = np.flatnonzero((block.keys == number) & alike)
        for begin in range(0, len(places), _GROUP):
            some = places[begin : begin + _GROUP]
            inline = picture[some] == NONE
            firsts = values[some] if of_pdq[number] else np.empty((len(some), sizes[number]), np.uint8)
            if inline.any():
                firsts[inline] = data[at[some[inline], None] + FURTHER.size + np.arange(sizes[number])]
            behind = at[some] + FURTHER.size + first[some] + (before[some] >> 8)
            records = _Records(
                block.rows[some], known[some], behind + HEAD, behind + rest[some], data, firsts
            )
            yield from _of_structure(block.heads, records, heads, names)


def _stored(contents: StoredContents, picture: NDArray[np.uint32]) -> Bytes:
    """Return the digests that are stored in `pdq`, zeros for others; shape (n, 32)."""
    values = np.zeros((len(picture), _PDQ_BYTES), np.uint8)
    there = picture != NONE
    if there.any():
        low, high = int(picture[there].min()), int(picture[there].max())
        column = contents.columns["pdq"].read(low, high - low + 1)
        values[there] = column.view(np.uint8).reshape(-1, _PDQ_BYTES)[picture[there] - low]
    return values


def _check(data: Bytes, at: Rows, length: Rows, values: Bytes, elsewhere: NDArray[np.bool_]) -> None:
    """Raise an error unless the checksums of all records are right."""
    sums = best_loops().sums(data, at, length, values, elsewhere)
    if not np.array_equal(data[(at + length)[:, None] + np.arange(4)].reshape(-1), sums):
        raise ValueError("what is kept of a picture has another checksum")


def without_quality(heads: bytes) -> bytes:
    """Return heads without the fields that make no difference to how digests are packed."""
    table = np.frombuffer(heads, np.uint8).reshape(-1, RUN_HEAD).copy()
    table[:, [_QUALITY, _DOUBT]] = 0
    return table.tobytes()


def _of_structure(
    known: dict[int, bytes], records: _Records, heads: bytes, names: tuple[str, ...]
) -> Iterator[Unpacked]:
    numbers, back = np.unique(records.heads, return_inverse=True)
    qualities = np.array([list(known[n][_QUALITY::RUN_HEAD]) for n in numbers.tolist()])[back]
    at, loops = records.at.copy(), best_loops()
    values: list[Bytes] = []
    for step in steps_of(heads, names):
        head = heads[step.run * RUN_HEAD : (step.run + 1) * RUN_HEAD]
        algorithm, rendering, shown = names[head[7]], head[5], head[6]
        if not values and records.first.size:
            values.append(records.first)
        else:
            values.append(loops.step(records.data, at, step.guess(values), step.size))
        good = qualities[:, step.run] >= ALGORITHMS[algorithm].min_quality
        yield Unpacked(records.rows[good], algorithm, values[-1][good], rendering, step.turn, shown)
    if not np.array_equal(at, records.end):
        raise ValueError("what is kept of a picture is too long or too short")
