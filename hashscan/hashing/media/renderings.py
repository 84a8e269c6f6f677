"""Compute all digests of one decoded picture: by each algorithm, in every variant, and of its crops.

PDQ tolerates a crop of up to 2 % of a side, so each larger crop needs a digest near it in the list. In a
test with 201 photos, cropped and saved as JPEG again, these crops found at least 95 % of the copies that
lost 2 to 10 % of a side: evenly on all four sides, on one side, or on two opposite sides. Crops at the
corners would need dozens of digests more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

from msgspec import Struct, field

from hashscan.hashing.hash_algorithms import PictureHash, RenderingDigests
from hashscan.hashing.media.borders import Luma, Size, crop_luma, trim_borders
from hashscan.hashing.media.low_contrast import raise_contrast
from hashscan.hashing.media.picture_opening import Frame
from hashscan.hashing.variants import (
    DIHEDRAL,
    INVERTED,
    LOOK,
    MIRRORED,
    PLAIN,
    RAISED,
    RESTORED,
    TRIMMED,
    TURN_OF_ORIENTATION,
    WHOLE,
    DigestRun,
    Kind,
    Part,
)
from hashscan.model import ALGORITHMS

_EVEN = (0.02, 0.0375, 0.055)
_FACING = 0.0375
_ONE_SIDED = (0.03, 0.065, 0.1)

CROPS: tuple[tuple[float, ...], ...] = (
    *((share,) * 4 for share in _EVEN),
    (_FACING, 0.0, _FACING, 0.0),
    (0.0, _FACING, 0.0, _FACING),
    *(
        tuple(share if place == side else 0.0 for place in range(4))
        for share in _ONE_SIDED
        for side in range(4)
    ),
)
"""Crops: the shares of the width and height to cut off at the left, top, right and bottom."""

_MIN_CROPPED_SIDE = 64
"""Minimum length of the shorter side, in pixels, of a picture to crop: PDQ's own size."""


def make_crops(luma: Luma, stored: Size | None) -> Iterator[tuple[Luma, Size | None]]:
    """Yield the crops of a picture in the order of `CROPS`; none if the picture is small.

    Args:
        luma: brightness, shape (height, width).

    Yields:
        The arguments for `PictureHash.digest`.
    """
    height, width = luma.shape
    if min(height, width) < _MIN_CROPPED_SIDE:
        return
    for left, top, right, bottom in CROPS:
        box = (
            round(height * top),
            height - round(height * bottom),
            round(width * left),
            width - round(width * right),
        )
        yield crop_luma(luma, stored, box)


def hash_frame(
    picture: Frame, hashes: Sequence[PictureHash], wanted: Collection[str], *, full: bool = True
) -> Iterator[DigestRun]:
    """Hash one decoded picture.

    Args:
        wanted: some of `variants.VARIANTS`.
        full: True to hash it in all of them. If False, it is mirrored, but neither turned, enlarged, inverted
            nor, unless it is a preview, trimmed: a reply has no room for dozens of digests of each of
            hundreds of frames.

    Only the first picture of a file is hashed as if lost margins were restored.

    Yields:
        The runs, first those of the picture as it is stored, by each algorithm in order. With several
        algorithms, the turned ones follow as separate runs; with one, its first run includes them.
    """
    shown = TURN_OF_ORIENTATION.get(picture.orientation, 0) if "as-shown" in wanted else 0
    turns = _turns(shown, "turned" in wanted, "inverted" in wanted, full)
    if not full:
        # Cameras put bars around previews, so that all have the same shape. So previews are trimmed.
        left_out = {"enlarged"} if picture.part.kind is Kind.PREVIEW else {"enlarged", "trimmed"}
        wanted = [name for name in wanted if name not in left_out]

    hasher = _FrameHasher(picture, hashes, wanted, turns, shown)
    yield from hasher.plain()
    if "trimmed" in wanted:
        yield from hasher.trimmed()
    yield from hasher.raised()


class _FrameHasher(Struct):
    """The steps of `hash_frame`, in their order."""

    picture: Frame
    hashes: Sequence[PictureHash]
    wanted: Collection[str]
    turns: tuple[int, ...]
    shown: int
    faint: list[tuple[Luma, Size | None, int]] = field(default_factory=list)
    """Brightness, size as stored and trimming of what has too little contrast to be matched unaltered."""

    def plain(self) -> Iterator[DigestRun]:
        luma, stored, hashes = self.picture.luma, self.picture.blocks_of, self.hashes
        wanted = self.wanted if self.picture.part == WHOLE and not self.picture.look else self._unrestored
        running = [(algorithm, algorithm.runs(luma, stored, self.turns, wanted)) for algorithm in hashes]
        others = []
        for algorithm, found in running:
            first = self._judged(algorithm, next(found), luma, stored)
            if len(hashes) > 1:
                first, more = first.parted(first.turns[:1])
                others.append(more)
            yield first
        for algorithm, found in running:
            if others and (more := others.pop(0)).turns:
                yield more
            for run in found:
                yield self._named(algorithm, run)

    def trimmed(self) -> Iterator[DigestRun]:
        for luma, stored in trim_borders(self.picture.luma, self.picture.blocks_of):
            for algorithm, run in self._runs(luma, stored):
                yield self._judged(algorithm, run, luma, stored, TRIMMED)

    def raised(self) -> Iterator[DigestRun]:
        for luma, stored, trim in self.faint:
            clear = raise_contrast(luma)
            if clear is not None and clear is not luma:
                for algorithm, run in self._runs(clear, stored):
                    yield self._named(algorithm, run, trim + LOOK * RAISED)

    def _runs(self, luma: Luma, stored: Size | None) -> Iterator[tuple[PictureHash, RenderingDigests]]:
        for algorithm in self.hashes:
            if algorithm.has_variants:
                for run in algorithm.runs(luma, stored, self.turns, self._unrestored):
                    yield algorithm, run

    @property
    def _unrestored(self) -> Collection[str]:
        """Variants for what is not the first picture as it is: restorations of all would be too many."""
        return [name for name in self.wanted if name != "restored"]

    def _judged(
        self, algorithm: PictureHash, run: RenderingDigests, luma: Luma, stored: Size | None, trim: int = 0
    ) -> DigestRun:
        """Return `_named`; record the picture if it is faint."""
        if run.rendering == PLAIN and run.quality < ALGORITHMS[algorithm.name].min_quality:
            self.faint.append((luma, stored, trim))
        return self._named(algorithm, run, trim)

    def _named(self, algorithm: PictureHash, run: RenderingDigests, trim: int = 0) -> DigestRun:
        rendering, turns, values, quality, doubt, even = run
        shown = self.shown
        if rendering == RESTORED:
            shown = 0
        else:
            rendering += trim + LOOK * self.picture.look
        part, name = self.picture.part, algorithm.name
        return DigestRun(part, rendering, turns, shown, name, values, quality, doubt, even)


@lru_cache(maxsize=64)
def _turns(shown: int, turned: bool, inverted: bool, full: bool) -> tuple[int, ...]:
    """Return the turns in which a picture is hashed."""
    turns = {0, shown}
    if turned:
        turns |= set(range(DIHEDRAL)) if full else {MIRRORED}
    return (*sorted(turns), INVERTED) if full and inverted else tuple(sorted(turns))


def runs_of_crops(picture: Frame, hashes: Sequence[PictureHash]) -> Iterator[DigestRun]:
    """Hash the crops of one decoded picture by the algorithms that have variants, for making hash lists."""
    for number, (luma, stored) in enumerate(make_crops(picture.luma, picture.blocks_of), start=1):
        part = Part(Kind.CROP, number)
        for algorithm in hashes:
            if algorithm.has_variants:
                found = next(algorithm.runs(luma, stored))
                yield DigestRun(
                    part, PLAIN, (0,), 0, algorithm.name, found.values, found.quality, found.doubt
                )
