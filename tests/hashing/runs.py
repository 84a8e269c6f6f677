"""Digests as a decoder hands them to be packed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hashscan.hashing.variants import DigestRun, PictureDigest


def runs(digests: Iterable[PictureDigest]) -> Iterator[DigestRun]:
    """Each as a run of its own."""
    for found in digests:
        yield DigestRun(
            found.part,
            found.rendering,
            (found.turn,),
            found.turn if found.shown else 0,
            found.algorithm,
            found.value,
            found.quality,
            found.doubt,
        )
