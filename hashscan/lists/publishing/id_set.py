"""A set of entry ids that whole blocks of ids are compared with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class IdSet:
    """Some ids, each once, in order."""

    def __init__(self, ids: Iterable[bytes] | NDArray[np.bytes_] = ()) -> None:
        """Take ids, of which some may be the same."""
        given = ids if isinstance(ids, np.ndarray) else np.array(list(ids) or [b""], dtype=np.bytes_)
        found = np.unique(given)
        self.ids: NDArray[np.bytes_] = found[found != b""]
        """Shape (n,), ascending."""

    def __len__(self) -> int:
        return len(self.ids)

    def __or__(self, other: IdSet) -> IdSet:
        return IdSet(np.concatenate((self.ids, other.ids)))

    def absent(self, block: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Which rows of a block have none of these ids."""
        absent = np.ones(len(block), dtype=bool)
        absent[self.find(block)[0]] = False
        return absent

    def find(self, block: NDArray[np.bytes_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where a block has ids of this set.

        Args:
            block: ids, shape (n,), of any width.

        Returns:
            Rows of the block, ascending, and for each the place of its id in `ids`.
        """
        nowhere = np.zeros(0, dtype=np.intp)
        if not len(self.ids) or not len(block):
            return nowhere, nowhere
        width = self.ids.dtype.itemsize
        # Compared in one width, or numpy would make the whole set wider for each block.
        rows = np.flatnonzero(np.strings.str_len(block) <= width)
        short = block[rows].astype(self.ids.dtype)
        places = np.minimum(np.searchsorted(self.ids, short), len(self.ids) - 1)
        same = self.ids[places] == short
        return rows[same], places[same]
