"""Compute all digests of one decoded picture: by each algorithm, in every variant, and of its crops.

PDQ tolerates a crop of up to 2 % of a side, so each larger crop needs a digest near it in the list. In a
test with 201 photos, cropped and saved as JPEG again, these crops found at least 95 % of the copies that
lost 2 to 10 % of a side: evenly on all four sides, on one side, or on two opposite sides. Crops at the
corners would need dozens of digests more.

Sites crop pictures to a few shapes, around their middle. Each is far from the whole picture, and the same
wherever it is made, so that one digest finds it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from functools import lru_cache

import numpy as np
from msgspec import Struct, field

from hashscan.hashing.hash_algorithms import PictureHash, RenderingDigests
from hashscan.hashing.media.borders import Box, Luma, Size, crop_luma, trim_borders
from hashscan.hashing.media.low_contrast import raise_contrast
from hashscan.hashing.media.picture_opening import Frame
from hashscan.hashing.pdq import EVEN_MAX
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

SHAPES = ((1, 1), (4, 5), (3, 4), (4, 3), (16, 9))
"""Width and height of the usual shapes, as viewers show the picture."""
_SHAPE_LOST_MIN = 0.03
"""Minimum share of a side that a crop to a shape cuts off. A smaller one leaves the picture near enough."""
_KEPT_MIN = {Kind.SHAPE: 0.5, Kind.TRIMMED: 0.25}
"""Minimum share of the area that a part has of the picture. The list's owner has judged the whole of it: a
smaller part could be harmless, such as an advertisement beside it."""

_DRAWN_SAMPLES = 128
"""Number of samples along each side by which drawn pictures are recognised."""
_DRAWN_MIN = 0.5
"""Share of neighbouring samples of the same brightness from which a picture is taken for a drawn one. The 202
photographs had 0.43 at most; of drawn tables, bar codes, chats, charts and logos, 1 in 20 has less."""

_SIDES_EXCHANGED = 5
"""EXIF orientation (TIFF 6.0, tag 274) from which viewers exchange width and height."""
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


def make_shapes(
    luma: Luma, stored: Size | None, *, turned: bool = False
) -> Iterator[tuple[Luma, Size | None]]:
    """Yield the crops of a picture to those of `SHAPES` that it has not; none if the picture is small.

    Args:
        luma: brightness, shape (height, width).
        turned: True if viewers exchange height and width.

    Yields:
        The arguments for `PictureHash.digest`.
    """
    height, width = luma.shape
    if min(height, width) < _MIN_CROPPED_SIDE:
        return
    rows, columns = stored or luma.shape
    for across, down in (shape[::-1] if turned else shape for shape in SHAPES):
        # The share of its width that remains of a picture that is too wide; of one that is too high, over 1.
        kept = across * rows / (down * columns)
        if not _KEPT_MIN[Kind.SHAPE] <= min(kept, 1 / kept) <= 1 - _SHAPE_LOST_MIN:
            continue
        left, top = round(width * max(0.0, 1 - kept) / 2), round(height * max(0.0, 1 - 1 / kept) / 2)
        yield crop_luma(luma, stored, (top, height - top, left, width - left))


def is_drawn(luma: Luma) -> bool:
    """Return True for a picture with large areas of one brightness, as tables, charts and screens have.

    Args:
        luma: brightness, shape (height, width), without borders.
    """
    rows, columns = (max(side // _DRAWN_SAMPLES, 1) for side in luma.shape)
    samples = luma[::rows, ::columns]
    pairs = (samples[1:] == samples[:-1]), (samples[:, 1:] == samples[:, :-1])
    return float(np.mean([pair.mean() for pair in pairs if pair.size] or [1.0])) >= _DRAWN_MIN


def hash_frame(
    picture: Frame, hashes: Sequence[PictureHash], wanted: Collection[str], *, full: bool = True
) -> Iterator[DigestRun]:
    """Hash one decoded picture.

    Args:
        wanted: some of `variants.VARIANTS`.
        full: True to hash it in all of them. If False, it is mirrored, but neither turned, enlarged, inverted
            nor, unless it is a preview, trimmed: a reply has no room for dozens of digests of each of
            hundreds of frames.

    Only the first picture of a file is hashed as if lost margins were restored, and in sections.

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
    colours: list[Luma | None] = field(default_factory=list)
    """The picture's colours, once they were asked for."""

    def plain(self) -> Iterator[DigestRun]:
        luma, stored, hashes = self.picture.luma, self.picture.blocks_of, self.hashes
        wanted = self.wanted if self.picture.part == WHOLE and not self.picture.look else self._unrestored
        running = [
            (
                algorithm,
                algorithm.runs(self._seen_by(algorithm, luma), stored, self._turned(algorithm), wanted),
            )
            for algorithm in hashes
        ]
        others = []
        doubted = False
        for algorithm, found in running:
            first = self._judged(algorithm, next(found), luma, stored)
            doubted = doubted or first.doubt > 0 or first.even >= EVEN_MAX
            if algorithm.first_only and doubted:
                first = first._replace(values=bytes(len(first.values)))
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
        for luma, stored, box in trim_borders(self.picture.luma, self.picture.blocks_of):
            for algorithm, run in self._runs(luma, stored, box):
                yield self._judged(algorithm, run, luma, stored, TRIMMED)

    def raised(self) -> Iterator[DigestRun]:
        for luma, stored, trim in self.faint:
            clear = raise_contrast(luma)
            if clear is not None and clear is not luma:
                for algorithm, run in self._runs(clear, stored):
                    yield self._named(algorithm, run, trim + LOOK * RAISED)

    def _runs(
        self, luma: Luma, stored: Size | None, box: Box | None = None
    ) -> Iterator[tuple[PictureHash, RenderingDigests]]:
        for algorithm in self.hashes:
            if algorithm.has_variants and (box is not None or not algorithm.of_colours):
                pixels = self._seen_by(algorithm, luma, box)
                for run in algorithm.runs(pixels, stored, self._turned(algorithm), self._unrestored):
                    yield algorithm, run

    def _turned(self, algorithm: PictureHash) -> tuple[int, ...]:
        """Return the turns for an algorithm; fewer for one that gets colours, as it takes long for each."""
        if not algorithm.of_colours:
            return self.turns
        return tuple(turn for turn in self.turns if turn in {0, MIRRORED, self.shown})

    def _seen_by(self, algorithm: PictureHash, luma: Luma, box: Box | None = None) -> Luma:
        """Return the colours or the brightness of a part of the picture, as an algorithm takes it."""
        if not algorithm.of_colours or self.picture.colours is None:
            return luma
        if not self.colours:
            self.colours.append(self.picture.colours())
        if (colours := self.colours[0]) is None or box is None:
            return luma if colours is None else colours
        # They may be at another scale.
        height, width = self.picture.luma.shape
        down, right = colours.shape[0] / height, colours.shape[1] / width
        top, bottom, left, end = box
        return colours[round(top * down) : round(bottom * down), round(left * right) : round(end * right)]

    @property
    def _unrestored(self) -> Collection[str]:
        """Variants for what is not the first picture as it is: those of all pictures would be too many."""
        return [name for name in self.wanted if name not in {"restored", "sections"}]

    def _judged(
        self, algorithm: PictureHash, run: RenderingDigests, luma: Luma, stored: Size | None, trim: int = 0
    ) -> DigestRun:
        """Return `_named`; record the picture if it is faint."""
        poor = run.quality < ALGORITHMS[algorithm.name].min_quality
        if run.rendering == PLAIN and poor and not algorithm.of_colours:
            self.faint.append((luma, stored, trim))
        return self._named(algorithm, run, trim)

    def _named(self, algorithm: PictureHash, run: RenderingDigests, trim: int = 0) -> DigestRun:
        rendering, turns, values, quality, doubt, even = run
        shown = self.shown
        if rendering >= RESTORED:
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


def runs_of_parts(
    picture: Frame, hashes: Sequence[PictureHash], kinds: Set[Kind], *, doubted: bool
) -> Iterator[DigestRun]:
    """Hash parts of one decoded picture by the algorithms that have variants, for making hash lists.

    Args:
        kinds: some of `MADE_FOR_LISTS`.
        doubted: True if similarity says little about the picture. It is not trimmed or cropped to shapes
            then, since what remains would resemble parts of other such pictures.

    Drawn pictures (`is_drawn`) have no parts: with them, lists would accuse half as many pictures again
    that show other tables and codes.
    """
    luma, stored = picture.luma, picture.blocks_of
    inner = list(trim_borders(luma, stored))
    if is_drawn(inner[0][0] if inner else luma):
        return
    made: dict[Kind, Iterable[tuple[Luma, Size | None]]] = {Kind.CROP: make_crops(luma, stored)}
    if not doubted:
        made[Kind.SHAPE] = make_shapes(luma, stored, turned=picture.orientation >= _SIDES_EXCHANGED)
        least = _KEPT_MIN[Kind.TRIMMED] * luma.size
        made[Kind.TRIMMED] = ((part, size) for part, size, _ in inner if part.size >= least)
    for kind in sorted(made.keys() & kinds):
        for number, (part, size) in enumerate(made[kind], start=1):
            for algorithm in hashes:
                if not algorithm.has_variants or algorithm.of_colours:
                    continue
                found = next(algorithm.runs(part, size))
                if kind is Kind.CROP or not found.doubt:
                    name, values = algorithm.name, found.values
                    yield DigestRun(
                        Part(kind, number), PLAIN, (0,), 0, name, values, found.quality, found.doubt
                    )
