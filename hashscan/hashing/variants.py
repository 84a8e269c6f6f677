"""The ways in which a picture is hashed besides the plain one, as numbers that travel and as words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

RENDERING_VERSION: Final = 4
"""Raised whenever pictures are decoded or rendered otherwise, so that kept digests of them are of no use."""

VARIANTS: Final = {
    "512x512": "large pictures hashed as PDQ's program for files does",
    "enlarged": "small pictures enlarged first",
    "as-shown": "EXIF orientation heeded",
    "turned": "mirrored and turned pictures",
    "inverted": "negatives",
    "trimmed": "uniform borders cut off",
}
"""What can be left out, and what each is."""


class Kind(IntEnum):
    """Which of the pictures in a file."""

    PICTURE = 0
    """The only one, or the first."""
    FRAME = 1
    PAGE = 2
    PREVIEW = 3
    FURTHER = 4
    """A picture beside the first that is neither."""
    CROP = 5
    """The first one, cropped (see `augmentation`); only for making lists."""


class Part(NamedTuple):
    """One of the pictures in a file."""

    kind: Kind = Kind.PICTURE
    number: int = 0
    """Counted from 1, as people do; 0 for what is not counted."""

    @property
    def words(self) -> str:
        """As in findings; nothing for the only or first picture."""
        if self.kind is Kind.PICTURE:
            return ""
        name = "picture" if self.kind is Kind.FURTHER else self.kind.name.lower()
        return f"{name} {self.number}" if self.number else name


WHOLE: Final = Part()

LONG: Final = 1.0
"""Seconds from which on a picture of an animation is hashed in all variants."""

PLAIN, SQUARED, ENLARGED = 0, 1, 2
"""Renderings: nothing done to the picture; resized to 512x512 first; enlarged first."""
TRIMMED: Final = 3
"""Added to them: uniform borders cut off before."""
_SIZES: Final = ("", "512x512", "enlarged")

LOOKS: Final = (
    "",
    "over white",
    "over black",
    "over grey",
    "over light grey",
    "over dark grey",
    "alpha plane",
    "colour profile applied",
    "colour profile applied, over white",
    "colour profile applied, over black",
    "colour profile applied, over grey",
    "colour profile applied, over light grey",
    "colour profile applied, over dark grey",
    "inverted CMYK",
    "Cb plane",
    "Cr plane",
    "clean aperture",
)
"""Which planes of a picture are hashed, and how they were composed: the colours as they are stored, without
regard to transparency and profiles, or one of the ways in which viewers show them."""

OVER_WHITE, OVER_BLACK, OVER_GREY, OVER_LIGHT_GREY, OVER_DARK_GREY, ALPHA, PROFILED = range(1, 8)
INVERTED_CMYK, CB, CR, APERTURE = range(13, 17)
"""Places in `LOOKS`. Added to `PROFILED`: the first five."""
RAISED: Final = len(LOOKS)
"""Added to a look: its contrast raised before."""
LOOK: Final = 2 * TRIMMED
"""Renderings of each look."""

RENDERINGS: Final = tuple(
    ", ".join(filter(None, (look, contrast, borders, size)))
    for contrast in ("", "contrast raised")
    for look in LOOKS
    for borders in ("", "borders trimmed")
    for size in _SIZES
)
"""The place of each is that of its size, and `TRIMMED`, and `LOOK` times the look's."""


def is_trimmed(rendering: int) -> bool:
    """Whether uniform borders were cut off."""
    return rendering % LOOK >= TRIMMED


def is_basic(rendering: int) -> bool:
    """Return whether every picture of a file is hashed so, however many there are."""
    return rendering % LOOK in {PLAIN, SQUARED}


def is_shown(rendering: int) -> bool:
    """Whether it is the colours as they are stored, or a picture that a viewer shows of them."""
    return rendering // LOOK not in _PLANES


_PLANES = frozenset({ALPHA, CB, CR, *range(RAISED, 2 * RAISED)})

TURNS: Final = (
    "",
    "turned 90",
    "turned 180",
    "turned 270",
    "mirrored",
    "mirrored, turned 90",
    "mirrored, turned 180",
    "mirrored, turned 270",
    "inverted",
)
"""What was done to the entry's picture to get this one: mirrored left to right, then turned clockwise; or its
brightness inverted."""

DIHEDRAL: Final = 8
"""So many of them are mirrored or turned, the first not at all."""
INVERTED: Final = 8

MIRRORED: Final = 4
"""The place in `TURNS` of a picture that was mirrored and no more."""

TURN_OF_ORIENTATION: Final = {1: 0, 2: 4, 3: 2, 4: 6, 5: 7, 6: 3, 7: 5, 8: 1}
"""By EXIF orientation (TIFF 6.0, tag 274) the turn that a viewer undoes. At orientation 6, say, it turns the
picture by 90 degrees, which is therefore stored turned by 270."""

DOUBTS: Final = ("", "most of it is of one brightness, with few others", "it is made of rows and columns")
"""Why likeness alone says little of a picture; see `structure`."""

FEW_GREYS, ROWS_AND_COLUMNS = 1, 2

_OPTION_OF_WORD: Final = {
    "512x512": "512x512",
    "enlarged": "enlarged",
    "borders trimmed": "trimmed",
    "as shown": "as-shown",
    "inverted": "inverted",
    **{word: "turned" for turn in TURNS[1:DIHEDRAL] for word in turn.split(", ")},
}


def required_by(variant: str) -> frozenset[str]:
    """The options of `VARIANTS` without which a digest of this variant, in words, is not computed."""
    words = variant.split(", ")
    return frozenset(_OPTION_OF_WORD[word] for word in words if word in _OPTION_OF_WORD)


class PictureDigest(NamedTuple):
    """One digest of one rendering of one of the pictures in a file."""

    part: Part
    rendering: int
    turn: int
    shown: bool
    """Whether `turn` is the one that EXIF orientation asks for."""
    algorithm: str
    value: bytes
    quality: int
    """0 to 100; 100 where the algorithm has no such notion."""
    doubt: int
    """Place in `DOUBTS`."""

    @property
    def plain(self) -> bool:
        """Whether it is of the file's first picture as it is stored."""
        return self.part == WHOLE and not self.rendering and not self.turn

    @property
    def variant(self) -> str:
        """As in findings."""
        turn = "as shown" if self.shown else TURNS[self.turn]
        words = (self.part.words, RENDERINGS[self.rendering], turn)
        return ", ".join(word for word in words if word) or "as stored"


class DigestRun(NamedTuple):
    """Digests of one rendering of one of the pictures in a file, which differ by the turn alone.

    A still picture has some twenty digests; each as an object of its own would take longer than to hash it.
    """

    part: Part
    rendering: int
    turns: tuple[int, ...]
    shown: int
    """The turn that EXIF orientation asks for; 0 where there is none."""
    algorithm: str
    values: bytes
    """The digests, turn by turn."""
    quality: int
    doubt: int
    even: int = 0
    """As in `base.HashedRun`; it doesn't travel."""

    @property
    def plain(self) -> bool:
        """Whether the first is of the file's first picture as it is stored."""
        return self.part == WHOLE and not self.rendering and not self.turns[0]

    def digests(self) -> Iterator[PictureDigest]:
        """Each by itself."""
        size = len(self.values) // len(self.turns)
        for place, turn in enumerate(self.turns):
            yield PictureDigest(
                self.part,
                self.rendering,
                turn,
                turn == self.shown != 0,
                self.algorithm,
                self.values[place * size : (place + 1) * size],
                self.quality,
                self.doubt,
            )

    def parted(self, turns: Collection[int]) -> tuple[DigestRun, DigestRun]:
        """Those of some turns, and the others, of which there may be none."""
        return self._only([turn for turn in self.turns if turn in turns]), self._only(
            [turn for turn in self.turns if turn not in turns]
        )

    def _only(self, turns: Sequence[int]) -> DigestRun:
        size = len(self.values) // len(self.turns)
        places = [size * self.turns.index(turn) for turn in turns]
        return self._replace(
            turns=tuple(turns), values=b"".join(self.values[place : place + size] for place in places)
        )
