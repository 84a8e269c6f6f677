"""Define the variants in which a picture is hashed: their numbers in replies, and their names in findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from hashscan.model import Doubt

RENDERING_VERSION: Final = 1
"""Version of decoding and rendering. It is raised with each change in them, so that cached digests expire."""

VARIANTS: Final = {
    "512x512": "large pictures hashed as PDQ's program for files does",
    "enlarged": "small pictures enlarged first",
    "as-shown": "EXIF orientation heeded",
    "turned": "mirrored and turned pictures",
    "inverted": "negatives",
    "trimmed": "uniform borders cut off",
    "restored": "small crops and rotations undone",
    "sections": "halves, quarters, and the middle in usual shapes",
}
"""The optional variants, with a description of each."""


class Kind(IntEnum):
    """The kind of a picture in a file."""

    PICTURE = 0
    """The only picture, or the first."""
    FRAME = 1
    PAGE = 2
    PREVIEW = 3
    FURTHER = 4
    """A picture after the first that is neither a frame, page nor preview."""
    CROP = 5
    """A crop of the first picture (see `renderings`)."""
    SHAPE = 6
    """A crop of it to one of the usual shapes."""
    TRIMMED = 7
    """The first picture without its borders, or its largest panel."""


MADE_FOR_LISTS: Final = frozenset({Kind.CROP, Kind.SHAPE, Kind.TRIMMED})
"""The parts of a picture that are hashed only to make entries of a list."""


class Part(NamedTuple):
    """One of the pictures in a file."""

    kind: Kind = Kind.PICTURE
    number: int = 0
    """Number from 1; 0 if pictures of this kind are not numbered."""

    @property
    def words(self) -> str:
        """The name used in findings; empty for the only or first picture."""
        if self.kind is Kind.PICTURE:
            return ""
        name = "picture" if self.kind is Kind.FURTHER else self.kind.name.lower()
        return f"{name} {self.number}" if self.number else name


WHOLE: Final = Part()

LONG_SECONDS: Final = 1.0
"""Display time in seconds from which a picture of an animation is hashed in all variants."""

PLAIN, SQUARED, ENLARGED = 0, 1, 2
"""Renderings: the unaltered picture; resized to 512x512 first; enlarged first."""
TRIMMED: Final = 3
"""Added to a rendering if uniform borders were cut off before."""
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
"""Names of the planes of a picture that are hashed, and how they were composed: the colours as they are
stored, ignoring transparency and profiles, or one of the ways in which viewers show them."""

OVER_WHITE, OVER_BLACK, OVER_GREY, OVER_LIGHT_GREY, OVER_DARK_GREY, ALPHA, PROFILED = range(1, 8)
INVERTED_CMYK, CB, CR, APERTURE = range(13, 17)
"""Indices in `LOOKS`. The first five are also added to `PROFILED`."""
RAISED: Final = len(LOOKS)
"""Added to a look if its contrast was raised before."""
LOOK: Final = 2 * TRIMMED
"""Number of renderings of each look."""

RESTORED: Final = 2 * RAISED * LOOK
"""The rendering whose digests are those of `RESTORATIONS`, not of `TURNS`."""
SECTION: Final = RESTORED + 1
"""The rendering whose digests are those of `SECTIONS`, not of `TURNS`."""

RENDERINGS: Final = (
    *(
        ", ".join(filter(None, (look, contrast, borders, size)))
        for contrast in ("", "contrast raised")
        for look in LOOKS
        for borders in ("", "borders trimmed")
        for size in _SIZES
    ),
    "restored",
    "section",
)
"""Names of the renderings. The index of each is that of its size, plus `TRIMMED` if borders were trimmed,
plus `LOOK` times the index of its look; only `RESTORED` and `SECTION` are apart."""


def is_trimmed(rendering: int) -> bool:
    """Return True if uniform borders were cut off for this rendering."""
    return rendering % LOOK >= TRIMMED and rendering < RESTORED


def is_basic(rendering: int) -> bool:
    """Return True if every picture of a file is hashed in this rendering, however many there are."""
    return rendering % LOOK in {PLAIN, SQUARED} and rendering < RESTORED


def is_shown(rendering: int) -> bool:
    """Return True if the rendering is of the colours as stored or as shown by a viewer, not of one plane."""
    return rendering // LOOK not in _PLANES


def is_opacity(rendering: int) -> bool:
    """Return True if the rendering is of the opacity of the picture."""
    return rendering // LOOK in {ALPHA, RAISED + ALPHA}


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
"""The change that makes this picture from the entry's picture: mirrored left to right, then turned clockwise;
or its brightness inverted."""

DIHEDRAL: Final = 8
"""Number of turns, from the first, that are combinations of mirroring and turning; the first is none."""
INVERTED: Final = 8

MIRRORED: Final = 4
"""Index in `TURNS` of a picture that was only mirrored."""

TURN_OF_ORIENTATION: Final = {1: 0, 2: 4, 3: 2, 4: 6, 5: 7, 6: 3, 7: 5, 8: 1}
"""By EXIF orientation (TIFF 6.0, tag 274), the turn that a viewer undoes. For example, at orientation 6 a
viewer turns the picture by 90 degrees, so it is stored turned by 270."""


class Restoration(NamedTuple):
    """A crop, or a rotation and crop, that made the picture from its original, and is to be undone."""

    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    """The shares of the original's sides that were lost."""
    degrees: float = 0.0
    """The rotation of the original, clockwise."""

    @property
    def name(self) -> str:
        """The name in findings."""
        if self.degrees:
            way = "clockwise" if self.degrees > 0 else "counterclockwise"
            return f"rotated {abs(self.degrees):g} degrees {way}"
        lost = {side: share for side, share in zip(self._fields, self[:4], strict=False) if share}
        where = "on each side" if len(lost) > 1 else f"at the {next(iter(lost))}"
        return f"{100 * max(lost.values()):g} % lost {where}"


RESTORATIONS: Final = (
    *(Restoration(share, share, share, share) for share in (0.02, 0.05)),
    *(
        Restoration(*(share if place == side else 0.0 for place in range(4)))
        for share in (0.045, 0.105)
        for side in range(4)
    ),
    *(Restoration(degrees=degrees) for degrees in (1.75, -1.75, 5.0, -5.0)),
)
"""The crops and rotations that the rendering `RESTORED` undoes; its digests have an index here as turn.
A crop is found up to some 2 % beside the restored one. Together they find nine of ten crops of 5 %."""


class Section(NamedTuple):
    """A section of a picture that may be a whole picture of its own."""

    name: str
    """The name in findings."""
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right and bottom, as shares of the sides."""
    shape: tuple[int, int] | None = None
    """Width and height of the largest rectangle around the middle; None for `box`."""


SECTIONS: Final = (
    Section("left half", (0.0, 0.0, 0.5, 1.0)),
    Section("right half", (0.5, 0.0, 1.0, 1.0)),
    Section("upper half", (0.0, 0.0, 1.0, 0.5)),
    Section("lower half", (0.0, 0.5, 1.0, 1.0)),
    Section("upper left quarter", (0.0, 0.0, 0.5, 0.5)),
    Section("upper right quarter", (0.5, 0.0, 1.0, 0.5)),
    Section("lower left quarter", (0.0, 0.5, 0.5, 1.0)),
    Section("lower right quarter", (0.5, 0.5, 1.0, 1.0)),
    *(
        Section(f"middle at {across}:{down}", shape=(across, down))
        for across, down in ((1, 1), (4, 5), (3, 4), (4, 3), (2, 3), (3, 2), (9, 16), (16, 9))
    ),
)
"""The sections that the rendering `SECTION` shows; its digests have an index here as turn.

Halves and quarters are the pictures of a collage, the middle is a picture between bands, such as a blurred
copy of it.
"""

SIMILARITY_DOUBTS: Final = (None, Doubt.FEW_GREYS, Doubt.ROWS_AND_COLUMNS)
"""Reasons why similarity alone says little about a picture; see `kernel`."""

FEW_GREYS, ROWS_AND_COLUMNS = 1, 2

_OPTION_OF_WORD: Final = {
    "512x512": "512x512",
    "enlarged": "enlarged",
    "borders trimmed": "trimmed",
    "as shown": "as-shown",
    "inverted": "inverted",
    "restored": "restored",
    "section": "sections",
    **{word: "turned" for turn in TURNS[1:DIHEDRAL] for word in turn.split(", ")},
}


def turns_of(rendering: int) -> int:
    """Return the number of turns that a digest of a rendering may have, or of restorations or sections."""
    return len(_OTHER_TURNS.get(rendering, TURNS))


_OTHER_TURNS: dict[int, Sequence[Restoration | Section]] = {RESTORED: RESTORATIONS, SECTION: SECTIONS}


def required_by(variant: str) -> frozenset[str]:
    """Return the options of `VARIANTS` that are required for a digest of the variant with this name."""
    words = variant.split(", ")
    return frozenset(_OPTION_OF_WORD[word] for word in words if word in _OPTION_OF_WORD)


class PictureDigest(NamedTuple):
    """One digest of one rendering of one of the pictures in a file."""

    part: Part
    rendering: int
    turn: int
    shown: bool
    """True if `turn` is the one that the EXIF orientation requires."""
    algorithm: str
    value: bytes
    quality: int
    """Quality from 0 to 100; 100 if the algorithm does not compute one."""
    doubt: int
    """Index in `SIMILARITY_DOUBTS`."""

    @property
    def plain(self) -> bool:
        """True if the digest is of the file's first picture as it is stored."""
        return self.part == WHOLE and not self.rendering and not self.turn

    @property
    def variant(self) -> str:
        """The name of the variant in findings."""
        if self.rendering in _OTHER_TURNS:
            turn = _OTHER_TURNS[self.rendering][self.turn].name
        else:
            turn = "as shown" if self.shown else TURNS[self.turn]
        words = (self.part.words, RENDERINGS[self.rendering], turn)
        return ", ".join(word for word in words if word) or "as stored"


class DigestRun(NamedTuple):
    """Digests of one rendering of one of the pictures in a file, one for each turn.

    A still picture has some twenty digests; creating an object for each would take longer than hashing it.
    """

    part: Part
    rendering: int
    turns: tuple[int, ...]
    shown: int
    """The turn that the EXIF orientation requires; 0 for none."""
    algorithm: str
    values: bytes
    """The digests, concatenated in the order of `turns`."""
    quality: int
    doubt: int
    even: int = 0
    """Share of the picture with even brightness, as in `RenderingDigests`; not sent in replies."""

    @property
    def plain(self) -> bool:
        """True if the first digest is of the file's first picture as it is stored."""
        return self.part == WHOLE and not self.rendering and not self.turns[0]

    def digests(self) -> Iterator[PictureDigest]:
        """Yield the digests one by one."""
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
        """Return two runs: the digests of the given turns, and the others; either may be empty."""
        return self._only([turn for turn in self.turns if turn in turns]), self._only(
            [turn for turn in self.turns if turn not in turns]
        )

    def _only(self, turns: Sequence[int]) -> DigestRun:
        size = len(self.values) // len(self.turns)
        places = [size * self.turns.index(turn) for turn in turns]
        return self._replace(
            turns=tuple(turns), values=b"".join(self.values[place : place + size] for place in places)
        )
