"""All digests of one decoded picture: each algorithm's, in every variant that is wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from hashscan.hashing.augmentation import crops
from hashscan.hashing.base import Hashed, PictureHash
from hashscan.hashing.borders import trimmed
from hashscan.hashing.picture import Frame
from hashscan.hashing.variants import (
    MIRRORED,
    PLAIN,
    TRIMMED,
    TURN_OF_ORIENTATION,
    TURNS,
    WHOLE,
    Kind,
    Part,
    PictureDigest,
)


def digests_of(
    picture: Frame, hashes: Sequence[PictureHash], wanted: Collection[str]
) -> Iterator[PictureDigest]:
    """Hash one decoded picture.

    Args:
        picture: what was decoded.
        hashes: the algorithms.
        wanted: some of `variants.VARIANTS`. Of these the file's first picture gets all, the others only what
            is worth its cost: hundreds of frames would be hundreds of times 8 turns.

    Yields:
        First the picture as it is stored, by each algorithm in their order.
    """
    shown = TURN_OF_ORIENTATION.get(picture.orientation, 0) if "as-shown" in wanted else 0
    first = picture.part == WHOLE
    turns = {0, shown}
    if "turned" in wanted:
        # Animations are mirrored to pass as others, but hardly ever turned.
        turns.update(range(len(TURNS)) if first else (MIRRORED,))
    squared = "512x512" in wanted
    ordered = tuple(sorted(turns))

    def named(algorithm: PictureHash, hashed: Hashed, trim: int = 0) -> PictureDigest:
        as_shown = hashed.turn == shown != 0
        rendering = hashed.rendering | trim
        return PictureDigest(
            picture.part,
            rendering,
            hashed.turn,
            as_shown,
            algorithm.name,
            hashed.value,
            hashed.quality,
            hashed.doubt,
        )

    running = [
        (algorithm, algorithm.hashed(picture.luma, picture.blocks_of, ordered, squared=squared))
        for algorithm in hashes
    ]
    for algorithm, found in running:
        yield named(algorithm, next(found))
    for algorithm, found in running:
        for hashed in found:
            yield named(algorithm, hashed)
    if "trimmed" not in wanted or not (first or picture.part.kind is Kind.PREVIEW):
        # Cameras put bars around previews, to give all the same shape.
        return
    for luma, stored in trimmed(picture.luma, picture.blocks_of):
        for algorithm in hashes:
            if algorithm.has_variants:
                for hashed in algorithm.hashed(luma, stored, ordered, squared=squared):
                    yield named(algorithm, hashed, TRIMMED)


def digests_of_crops(picture: Frame, hashes: Sequence[PictureHash]) -> Iterator[PictureDigest]:
    """Hash the crops of one decoded picture by the algorithms that are worth it, for making lists."""
    for number, (luma, stored) in enumerate(crops(picture.luma, picture.blocks_of), start=1):
        for algorithm in hashes:
            if algorithm.has_variants:
                value, quality = algorithm.digest(luma, stored)
                part = Part(Kind.CROP, number)
                yield PictureDigest(part, PLAIN, 0, False, algorithm.name, value, quality, 0)
