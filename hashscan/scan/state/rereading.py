"""Reads some unchanged files all the same, and tells which of them have other content than they had."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hashscan.scan.state.contents import STALE, Contents


class Rereading:
    """The files and objects that one sweep has chosen at random."""

    def __init__(self, share: float, contents: Contents, told: Callable[[str], None]) -> None:
        """Choose none yet.

        Args:
            share: how many of those that need not be read, from 0 to 1.
            contents: all that are kept.
            told: called with what a person should know.
        """
        self.changed = 0
        """How many had other content, though by all signs they had not changed."""
        self._share = share
        self._contents = contents
        self._told = told
        self._random = np.random.default_rng()
        self._chosen: dict[tuple[bytes, str], int] = {}
        """By path and version, what was known of those that have no verdict yet."""

    @property
    def waits(self) -> bool:
        """Whether some that were chosen have no verdict yet."""
        return bool(self._chosen)

    def choose(self, attention: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Mark some as to be read.

        Args:
            attention: of files, changed here.

        Returns:
            Their places.
        """
        if not self._share:
            return np.zeros(0, np.int64)
        chosen = ((attention & STALE) == 0) & (self._random.random(len(attention)) < self._share)
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
