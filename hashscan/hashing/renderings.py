"""All digests of one decoded picture: each algorithm's, in every variant that is wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from hashscan.hashing.base import Hashed, PictureHash
from hashscan.hashing.borders import trimmed
from hashscan.hashing.picture import DecodedLuma
from hashscan.hashing.variants import (
    DIHEDRAL,
    INVERTED,
    TRIMMED,
    TURN_OF_ORIENTATION,
    WHOLE,
    Part,
    PictureDigest,
)


def digests_of(
    picture: DecodedLuma, hashes: Sequence[PictureHash], wanted: Collection[str], part: Part = WHOLE
) -> Iterator[PictureDigest]:
    """Hash one decoded picture.

    Args:
        picture: what was decoded.
        hashes: the algorithms.
        wanted: some of `variants.VARIANTS`.
        part: which of the file's pictures it is.

    Yields:
        First the picture as it is stored, by each algorithm in their order.
    """
    shown = TURN_OF_ORIENTATION.get(picture.orientation, 0) if "as-shown" in wanted else 0
    turns = list(range(DIHEDRAL)) if "turned" in wanted else sorted({0, shown})
    if "inverted" in wanted:
        turns.append(INVERTED)

    def named(algorithm: PictureHash, hashed: Hashed, trim: int = 0) -> PictureDigest:
        as_shown = hashed.turn == shown != 0
        return PictureDigest(
            part,
            hashed.rendering + trim,
            hashed.turn,
            as_shown,
            algorithm.name,
            hashed.value,
            hashed.quality,
            hashed.doubt,
        )

    running = [
        (algorithm, algorithm.hashed(picture.luma, picture.blocks_of, turns, wanted)) for algorithm in hashes
    ]
    for algorithm, found in running:
        yield named(algorithm, next(found))
    for algorithm, found in running:
        for hashed in found:
            yield named(algorithm, hashed)
    if "trimmed" not in wanted:
        return
    for luma, stored in trimmed(picture.luma, picture.blocks_of):
        for algorithm in hashes:
            if algorithm.has_variants:
                for hashed in algorithm.hashed(luma, stored, turns, wanted):
                    yield named(algorithm, hashed, TRIMMED)
