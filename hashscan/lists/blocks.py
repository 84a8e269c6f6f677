"""Entries of one algorithm side by side in arrays, as they travel from a file or a list into columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EntryBlock:
    """Some entries of one algorithm; all their fields have been checked."""

    algorithm: str
    ids: NDArray[np.bytes_]
    """Shape (n,), 1 to 64 bytes of printable ASCII each."""
    category: NDArray[np.uint8]
    """Shape (n,), an index into the model's categories."""
    value: NDArray[np.uint8]
    """Shape (n, size)."""
    places: NDArray[np.int64] | None = None
    """Shape (n,): where each was read, from 1; None for entries that come from no file."""
    unit: str = "line"
    """What `places` counts."""

    def __len__(self) -> int:
        return len(self.ids)
