"""All digests of one decoded picture: each algorithm's, in every variant that is wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from hashscan.hashing.augmentation import crops
from hashscan.hashing.base import Hashed, PictureHash
from hashscan.hashing.borders import trimmed
from hashscan.hashing.picture import Frame
from hashscan.hashing.variants import (
    DIHEDRAL,
    INVERTED,
    MIRRORED,
    PLAIN,
    TRIMMED,
    TURN_OF_ORIENTATION,
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
        wanted: some of `variants.VARIANTS`. The file's first picture gets all. The others are mirrored, but
            neither turned, enlarged nor inverted. That would cost little time, but a reply has no room for
            dozens of digests of each of hundreds of frames.

    Yields:
        First the picture as it is stored, by each algorithm in their order.
    """
    shown = TURN_OF_ORIENTATION.get(picture.orientation, 0) if "as-shown" in wanted else 0
    whole = picture.part == WHOLE
    turns = sorted({0, shown})
    if "turned" in wanted:
        turns = list(range(DIHEDRAL)) if whole else sorted({0, shown, MIRRORED})
    if whole and "inverted" in wanted:
        turns.append(INVERTED)
    if not whole:
        wanted = [name for name in wanted if name != "enlarged"]

    def named(algorithm: PictureHash, hashed: Hashed, trim: int = 0) -> PictureDigest:
        as_shown = hashed.turn == shown != 0
        return PictureDigest(
            picture.part,
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
    if "trimmed" not in wanted or not (whole or picture.part.kind is Kind.PREVIEW):
        # Cameras put bars around previews, to give all the same shape.
        return
    for luma, stored in trimmed(picture.luma, picture.blocks_of):
        for algorithm in hashes:
            if algorithm.has_variants:
                for hashed in algorithm.hashed(luma, stored, turns, wanted):
                    yield named(algorithm, hashed, TRIMMED)


def digests_of_crops(picture: Frame, hashes: Sequence[PictureHash]) -> Iterator[PictureDigest]:
    """Hash the crops of one decoded picture by the algorithms that are worth it, for making lists."""
    for number, (luma, stored) in enumerate(crops(picture.luma, picture.blocks_of), start=1):
        part = Part(Kind.CROP, number)
        for algorithm in hashes:
            if algorithm.has_variants:
                found = next(algorithm.hashed(luma, stored))
                yield PictureDigest(
                    part, PLAIN, 0, False, algorithm.name, found.value, found.quality, found.doubt
                )
