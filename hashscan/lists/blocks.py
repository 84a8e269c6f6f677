"""Blocks of entries: arrays of the fields of one algorithm's entries, from files or lists into columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EntryBlock:
    """Some entries of one algorithm, all fields checked."""

    algorithm: str
    ids: NDArray[np.bytes_]
    """Shape (n,), 1 to 64 bytes of printable ASCII each."""
    category: NDArray[np.uint8]
    """Shape (n,), an index into the model's categories."""
    value: NDArray[np.uint8]
    """Shape (n, size)."""
    places: NDArray[np.int64] | None = None
    """Shape (n,): position of each entry in its file, from 1; None for entries that come from no file."""
    unit: str = "line"
    """The unit of `places`."""

    def __len__(self) -> int:
        return len(self.ids)
