"""Unpacks the picture digests of many kept contents at once, as far as `packing` made them small in one way.

Row by row this would take a hundred times as long as to compare them. Pictures whose replies have the same
runs go together: what the first is to the second digest of one, it is to that of all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_turns import likely_turned
from hashscan.model import ALGORITHMS
from hashscan.scan.state.packing import ALL_TURNS, HEAD, MOST_BITS, RUN_HEAD, SIZES, digests_in
from hashscan.scan.state.stored_contents import ABOUT, FURTHER, NONE, NOTHING, StoredContents

BLOCK_BYTES = 16 << 20
"""Of `further`, what is looked at in one go at most, and one record more."""

_GROUP = 1 << 12
_QUALITY, _DOUBT = 8, 9
_PDQ_BYTES = ALGORITHMS["pdq"].size
_HEADER = np.dtype((np.void, FURTHER.size))

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]


class Unpacked(NamedTuple):
    """One digest of each of some contents."""

    rows: Rows
    """The contents, shape (n,)."""
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
    """Some of `further`, all of one structure."""

    rows: Rows
    heads: NDArray[np.uint32]
    at: Rows
    """Where the rest begins in `data`, behind its head."""
    end: Rows
    """Where the rest ends."""
    data: Bytes
    first: Bytes
    """The first digests, shape (n, 32)."""


def unpacked(contents: StoredContents, rows: Rows) -> Iterator[Unpacked | Beyond]:
    """All digests of pictures.

    Args:
        contents: those kept.
        rows: of some of them, ascending, at least one.

    Raises:
        ValueError: what is stored contradicts itself.
    """
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
            yield from _of_block(contents, rows[:count], about["profile"][:count], begins[:count])
        except IndexError as error:
            raise ValueError("what is kept of a picture is cut short") from error
        rows, about = rows[count:], about[count:]


def _of_block(
    contents: StoredContents, rows: Rows, profiles: NDArray[np.uint16], begins: Rows
) -> Iterator[Unpacked | Beyond]:
    column, start = contents.columns["further"], int(begins[0])
    last = FURTHER.unpack(column.read(int(begins[-1]), FURTHER.size).tobytes())
    end = int(begins[-1]) + FURTHER.size + (last[2] & 0xFF) + (last[2] >> 8) + last[3] + last[4] + 4
    data = column.read(start, end - start)
    at = begins - start
    header = data[at[:, None] + np.arange(FURTHER.size)].view("<u4").reshape(-1, 5)
    picture, known, before, rest, others = header.T
    first = (before & 0xFF).astype(np.int64)
    length = first + (before >> 8) + rest + others
    values = _stored(contents, picture)
    _check(data, at + FURTHER.size, length, values, picture != NONE)
    alike = (known != NONE) & (rest > 0) & ((picture != NONE) | (first == _PDQ_BYTES))
    if not alike.all():
        beyond = ~alike & ((rest > 0) | (others > 0))
        if beyond.any():
            yield Beyond(rows[beyond])
    # A structure is that of heads without their qualities and doubts.
    keys: dict[tuple[int, bytes], list[int]] = {}
    pairs, group = np.unique(
        np.stack((profiles.astype(np.int64), known.astype(np.int64))), axis=1, return_inverse=True
    )
    structure = np.empty(pairs.shape[1], np.int64)
    for number, (profile, heads) in enumerate(pairs.T.tolist()):
        key = profile, b"" if heads == NONE else masked(contents.heads_of(heads))
        keys.setdefault(key, []).append(number)
        structure[number] = list(keys).index(key)
    of_row = structure[group.reshape(-1)]
    for number, (profile, heads_without) in enumerate(keys):
        places = np.flatnonzero((of_row == number) & alike)
        names = contents.profiles[profile].picture_names
        for begin in range(0, len(places), _GROUP):
            some = places[begin : begin + _GROUP]
            inline = picture[some] == NONE
            firsts = values[some]
            if inline.any():
                firsts[inline] = data[at[some[inline], None] + FURTHER.size + np.arange(_PDQ_BYTES)]
            behind = at[some] + FURTHER.size + first[some] + (before[some] >> 8)
            records = _Records(rows[some], known[some], behind + HEAD, behind + rest[some], data, firsts)
            yield from _of_structure(contents, records, heads_without, names)


def _stored(contents: StoredContents, picture: NDArray[np.uint32]) -> Bytes:
    """The digests that stand in `pdq`, zeros for others; shape (n, 32)."""
    values = np.zeros((len(picture), _PDQ_BYTES), np.uint8)
    there = picture != NONE
    if there.any():
        low, high = int(picture[there].min()), int(picture[there].max())
        column = contents.columns["pdq"].read(low, high - low + 1)
        values[there] = column.view(np.uint8).reshape(-1, _PDQ_BYTES)[picture[there] - low]
    return values


def _check(data: Bytes, at: Rows, length: Rows, values: Bytes, elsewhere: NDArray[np.bool_]) -> None:
    """Compare all checksums."""
    view, whole = memoryview(data.data), values.tobytes()
    crc32 = zlib.crc32
    sums = [
        crc32(whole[place : place + _PDQ_BYTES] if apart else b"", crc32(view[begin:end]))
        for begin, end, place, apart in zip(
            at.tolist(),
            (at + length).tolist(),
            range(0, len(whole), _PDQ_BYTES),
            elsewhere.tolist(),
            strict=True,
        )
    ]
    stored = data[(at + length)[:, None] + np.arange(4)].view("<u4").reshape(-1)
    if not np.array_equal(stored, np.array(sums, np.uint32)):
        raise ValueError("what is kept of a picture has another checksum")


def masked(heads: bytes) -> bytes:
    """Heads without what makes no difference to how digests are packed."""
    table = np.frombuffer(heads, np.uint8).reshape(-1, RUN_HEAD).copy()
    table[:, [_QUALITY, _DOUBT]] = 0
    return table.tobytes()


def _of_structure(
    contents: StoredContents, records: _Records, heads: bytes, names: tuple[str, ...]
) -> Iterator[Unpacked]:
    numbers, back = np.unique(records.heads, return_inverse=True)
    qualities = np.array([list(contents.heads_of(n)[_QUALITY::RUN_HEAD]) for n in numbers.tolist()])[back]
    at, guesses = records.at.copy(), _Guesses()
    for number, place in enumerate(range(0, len(heads), RUN_HEAD)):
        head = heads[place : place + RUN_HEAD]
        algorithm = names[head[7]]
        good = qualities[:, number] >= ALGORITHMS[algorithm].min_quality
        for turn in digests_in(head):
            if place == 0 and turn == digests_in(head)[0]:
                if algorithm != "pdq":
                    raise ValueError("what is kept of a picture begins with another digest")
                values = records.first
            else:
                values, at = _next(records.data, at, guesses.of(head, turn), ALGORITHMS[algorithm].size)
            guesses.learn(head, turn, values)
            rendering, shown = head[5], head[6]
            yield Unpacked(records.rows[good], algorithm, values[good], rendering, turn, shown)
    if not np.array_equal(at, records.end):
        raise ValueError("what is kept of a picture is too long or too short")


def _next(data: Bytes, at: Rows, guess: Bytes | None, size: int) -> tuple[Bytes, Rows]:
    """The digests that stand at some places, shape (n, size), and the next places."""
    marks = data[at].astype(np.int64)
    raw = marks > MOST_BITS
    count = np.where(raw, size, marks)
    if guess is None:
        if not raw.all():
            raise ValueError("what is kept of a picture refers to a digest that it hasn't")
        values = np.empty((len(at), size), np.uint8)
    else:
        values = guess
        differing = np.where(raw, 0, marks)
        row = np.repeat(np.arange(len(at)), differing)
        ends = np.cumsum(differing)
        inside = np.arange(len(row)) - np.repeat(ends - differing - at - 1, differing)
        places = data[inside]
        bits = np.left_shift(1, 7 - (places & 7)).astype(np.uint8)
        np.bitwise_xor.at(values.reshape(-1), row * size + (places >> 3), bits)
    if raw.any():
        if not np.isin(marks[raw], [mark for mark, length in SIZES.items() if length == size]).all():
            raise ValueError("what is kept of a picture has a digest of another length")
        values[raw] = data[at[raw, None] + 1 + np.arange(size)]
    return values, at + 1 + count


class _Guesses:
    """As in `packing`, of many pictures at once."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Bytes, Bytes]] = {}
        """The first digests of each rendering, and these with their axes swapped."""

    def learn(self, head: bytes, turn: int, values: Bytes) -> None:
        if turn or values.shape[1] != _PDQ_BYTES:
            return
        rendering, picture = head[:6] + head[7:8], head[:5] + head[7:8]
        if rendering in self._known and picture in self._known:
            return
        bits = np.unpackbits(values, axis=1).reshape(-1, 16, 16)
        swapped = np.packbits(bits.transpose(0, 2, 1).reshape(-1, 256), axis=1)
        for key in (rendering, picture):
            self._known.setdefault(key, (values, swapped))

    def of(self, head: bytes, turn: int) -> Bytes | None:
        known = self._known.get(head[:6] + head[7:8]) or self._known.get(head[:5] + head[7:8])
        if known is None or turn >= ALL_TURNS:
            return None
        swaps, mask = _turning(turn)
        return known[swaps] ^ mask


@lru_cache(maxsize=ALL_TURNS)
def _turning(turn: int) -> tuple[bool, Bytes]:
    """Whether `likely_turned` swaps the axes of a digest, and what it flips after that."""
    mask = likely_turned(bytes(_PDQ_BYTES), (turn,))[0]
    one = bytes((0x40, *bytes(_PDQ_BYTES - 1)))
    (moved,) = likely_turned(one, (turn,)) ^ mask
    return moved.tobytes() != one, mask
