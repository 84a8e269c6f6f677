"""What is known of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hashscan.model import FileResult, Item


class Recalled(NamedTuple):
    """By what a sweep has to do about it."""

    quiet: int
    """Unchanged files that are clean."""
    low: int
    """How many of these are pictures whose PDQ was too poor to be matched."""
    answers: list[tuple[Item, FileResult]]
    """Unchanged files of which there is more to say."""
    reading: list[Item]
    """Files that must be read."""
    later: bool
    """Whether those were checked in this turn already, so that all others go before."""
    unproven: int = 0
    """How many of the unchanged files are so only probably; see `CtimeTrust`."""
    on_trust: int = 0
    """How many of them only on the operator's word."""


def together(parts: Sequence[Recalled]) -> Recalled:
    """What is known of a batch, of which the parts lie on several filesystems."""
    return Recalled(
        sum(part.quiet for part in parts),
        sum(part.low for part in parts),
        [answer for part in parts for answer in part.answers],
        [item for part in parts for item in part.reading],
        all(part.later for part in parts),
        sum(part.unproven for part in parts),
        sum(part.on_trust for part in parts),
    )
