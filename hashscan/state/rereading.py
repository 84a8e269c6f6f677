"""Reread a random share of the unchanged files, and report those whose content has changed all the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hashscan.state.store.contents import STALE, Contents


class RandomReread:
    """The files and objects that one scan rereads at random."""

    def __init__(
        self,
        share: float,
        contents: Contents,
        notify: Callable[[str], None],
        before: tuple[int, int] = (0, 0),
    ) -> None:
        """Start with no file chosen. The share is a fraction, from 0 to 1, of the files that need not be
        read. `before` says how many files and objects the last scan met, and how many of them were unchanged
        only probably: the same numbers are expected again, so that such files can be chosen before all
        others."""
        self.met = self.doubtful = 0
        """Files and objects that this scan has met, and how many of them are unchanged only probably."""
        self.changed = 0
        """Number of files with other content, although no attribute had changed."""
        self._share, self._share_of_doubtful = _shares(share, *before)
        self._contents = contents
        self._notify = notify
        self._random = np.random.default_rng()
        self._chosen: dict[tuple[bytes, str], int] = {}
        """Known content of chosen files that have no verdict yet, by path and version."""

    @property
    def waits(self) -> bool:
        return bool(self._chosen)

    def choose(
        self, attention: NDArray[np.uint8], doubtful: NDArray[np.uint8] | None = None
    ) -> NDArray[np.int64]:
        """Choose files to be read, mark them in `attention`, and return their indices; `doubtful` is not 0
        for those that are unchanged only probably."""
        self.met += len(attention)
        if doubtful is not None:
            self.doubtful += int(np.count_nonzero(doubtful))
        if not self._share_of_doubtful:
            return np.zeros(0, np.int64)
        share = self._share if doubtful is None else np.where(doubtful, self._share_of_doubtful, self._share)
        chosen = ((attention & STALE) == 0) & (self._random.random(len(attention)) < share)
        attention[chosen] |= STALE
        return np.flatnonzero(chosen)

    def remember_content(self, path: bytes, version: str, content: int) -> None:
        self._chosen[path, version] = content

    def compare(self, path: bytes, version: str, content: int | None) -> str:
        """Return the known SHA-256 in hex where the content that was read differs; else an empty string."""
        before = self._chosen.pop((path, version), None)
        if before is None or content is None:
            return ""
        column = self._contents.columns["sha256"]
        known, found = (bytes(column.read(row, 1)[0]) for row in (before, content))
        if known == found:
            return ""
        self.changed += 1
        self._notify(
            f"{path.decode(errors='backslashreplace')!r} has other content than when it was read before, "
            "though nothing else says so: the disk may be failing, or somebody hides a change"
        )
        return known.hex()


def _shares(share: float, met: int, doubtful: int) -> tuple[float, float]:
    """Return the shares of proven and of doubtful files to read, so that `share` of all files is read."""
    if not 0 < doubtful < met:
        return share, share
    wanted = share * met
    return max(0.0, (wanted - doubtful) / (met - doubtful)), min(1.0, wanted / doubtful)
