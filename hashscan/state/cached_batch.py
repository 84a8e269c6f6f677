"""Hold the cached results of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hashscan.model import FileResult, Item


class CachedBatch(NamedTuple):
    """The files of a batch, grouped by how the scan proceeds with them."""

    quiet: int
    """Number of unchanged files that are clean."""
    low: int
    """Number of these that are pictures whose PDQ quality was too low to be matched."""
    answers: list[tuple[Item, FileResult]]
    """Unchanged files that have something to report, with their results."""
    reading: list[Item]
    """Files that must be read."""
    later: bool
    """True if those were checked in this turn already, so that all others are read before them."""
    unproven: int = 0
    """Number of unchanged files that are only probably unchanged; see `CtimeTrust`."""
    on_trust: int = 0
    """Number of unchanged files that are so only by the operator's option."""


def combine(parts: Sequence[CachedBatch]) -> CachedBatch:
    """Combine the parts of a batch whose files are on several filesystems."""
    return CachedBatch(
        sum(part.quiet for part in parts),
        sum(part.low for part in parts),
        [answer for part in parts for answer in part.answers],
        [item for part in parts for item in part.reading],
        all(part.later for part in parts),
        sum(part.unproven for part in parts),
        sum(part.on_trust for part in parts),
    )
