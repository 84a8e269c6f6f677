"""Provide the inner loops of unpacking in numpy and, where it was built, in C."""

from __future__ import annotations

import sys
import zlib
from abc import ABC, abstractmethod
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hashscan.state.store.packing import MOST_BITS, SIZES
from hashscan.state.store.pdq_prediction import Bytes, Guess

Rows = NDArray[np.int64]


class Loops(ABC):
    """An implementation of the inner loops."""

    name: ClassVar[str]

    @abstractmethod
    def sums(self, data: Bytes, at: Rows, length: Rows, values: Bytes, apart: NDArray[np.bool_]) -> Bytes:
        """Return the checksums of many records.

        Args:
            data: with all of them.
            at: offset of each in `data`, shape (n,).
            length: of each.
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
            data: with all records.
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
        """Compute the checksums by zlib, record by record."""
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
        """Decompress one digest of all records at a time."""
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
            if not np.isin(marks[raw], [mark for mark, length in SIZES.items() if length == size]).all():
                raise ValueError("what is kept of a picture has a digest of another length")
            values[raw] = data[at[raw, None] + 1 + np.arange(size)]
        at += 1 + np.where(raw, size, marks)
        return values


class CLoops(Loops):
    """The C implementation, record by record."""

    name = "C"

    def sums(self, data: Bytes, at: Rows, length: Rows, values: Bytes, apart: NDArray[np.bool_]) -> Bytes:
        """Compute the checksums eight bytes at a time."""
        from hashscan.state.store import _unpack

        return np.frombuffer(_unpack.sums(data, at, length, values, apart), np.uint8)

    def step(self, data: Bytes, at: Rows, guess: Guess | None, size: int) -> Bytes:
        """Decompress one digest of each record in one pass."""
        from hashscan.state.store import _unpack

        values = np.empty((len(at), size), np.uint8)
        known, swaps, mask = guess or (values, False, values[:0])
        _unpack.step(data, at, values, size, guess is not None, known, swaps, mask)
        return values


@cache
def best_loops() -> Loops:
    """Return the C loops where they were built for this machine, else numpy's."""
    if sys.byteorder == "little":
        try:
            from hashscan.state.store import _unpack  # noqa: F401
        except ImportError:
            return NumpyLoops()
        return CLoops()
    return NumpyLoops()
