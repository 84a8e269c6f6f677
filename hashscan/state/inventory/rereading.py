"""Reads some unchanged files all the same, and tells which of them have other content than they had."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hashscan.state.store.contents import STALE, Contents


class Rereading:
    """The files and objects that one sweep has chosen at random."""

    def __init__(
        self,
        share: float,
        contents: Contents,
        told: Callable[[str], None],
        before: tuple[int, int] = (0, 0),
    ) -> None:
        """Choose none yet.

        Args:
            share: how many of those that need not be read, from 0 to 1.
            contents: all that are kept.
            told: called with what a person should know.
            before: how many files and objects the last sweep met, and how many of them were unchanged only
                probably. So many are expected again, so that such can be chosen before all others.
        """
        self.met = self.doubtful = 0
        """How many files and objects this sweep has met, and how many of them are unchanged only probably."""
        self.changed = 0
        """How many had other content, though by all signs they had not changed."""
        self._share, self._share_of_doubtful = _shares(share, *before)
        self._contents = contents
        self._told = told
        self._random = np.random.default_rng()
        self._chosen: dict[tuple[bytes, str], int] = {}
        """By path and version, what was known of those that have no verdict yet."""

    @property
    def waits(self) -> bool:
        """Whether some that were chosen have no verdict yet."""
        return bool(self._chosen)

    def choose(
        self, attention: NDArray[np.uint8], doubtful: NDArray[np.uint8] | None = None
    ) -> NDArray[np.int64]:
        """Mark some as to be read.

        Args:
            attention: of files, changed here.
            doubtful: not 0 for those that are unchanged only probably; None where none is.

        Returns:
            Their places.
        """
        self.met += len(attention)
        if doubtful is not None:
            self.doubtful += int(np.count_nonzero(doubtful))
        if not self._share_of_doubtful:
            return np.zeros(0, np.int64)
        share = self._share if doubtful is None else np.where(doubtful, self._share_of_doubtful, self._share)
        chosen = ((attention & STALE) == 0) & (self._random.random(len(attention)) < share)
        attention[chosen] |= STALE
        return np.flatnonzero(chosen)

    def expect(self, path: bytes, version: str, content: int) -> None:
        """Keep in mind what was known of one that was chosen."""
        self._chosen[path, version] = content

    def compare(self, path: bytes, version: str, content: int | None) -> str:
        """Compare what was read, if anything, with what was known.

        Returns:
            Where that differs, the SHA-256 that it had, in hex; else nothing.
        """
        before = self._chosen.pop((path, version), None)
        if before is None or content is None:
            return ""
        column = self._contents.columns["sha256"]
        known, found = (bytes(column.read(row, 1)[0]) for row in (before, content))
        if known == found:
            return ""
        self.changed += 1
        self._told(
            f"{path.decode(errors='backslashreplace')!r} has other content than when it was read before, "
            "though nothing else says so: the disk may be failing, or somebody hides a change"
        )
        return known.hex()


def _shares(share: float, met: int, doubtful: int) -> tuple[float, float]:
    """Return the shares of proven and of doubtful files to read, so that of all it is `share`."""
    if not 0 < doubtful < met:
        return share, share
    wanted = share * met
    return max(0.0, (wanted - doubtful) / (met - doubtful)), min(1.0, wanted / doubtful)
