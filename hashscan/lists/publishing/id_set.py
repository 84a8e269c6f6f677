"""A set of entry ids that can be compared with whole blocks of ids."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class IdSet:
    """Distinct ids in ascending order."""

    def __init__(self, ids: Iterable[bytes] | NDArray[np.bytes_] = ()) -> None:
        """Store the ids, which may repeat."""
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
        """Find the rows of a block whose ids are in this set.

        Args:
            block: ids, shape (n,), of any width.

        Returns:
            Rows of the block, ascending, and for each the position of its id in `ids`.
        """
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
