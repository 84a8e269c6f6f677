"""What every hash algorithm offers: bytes hashed as they stream by, or a decoded picture hashed whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from hashscan.hashing.variants import PLAIN

if TYPE_CHECKING:
    # Tables of algorithms are read by commands that must start fast.
    import numpy as np
    from numpy.typing import NDArray


class Hasher(Protocol):
    """A running exact digest, as hashlib's objects are."""

    def update(self, data: memoryview, /) -> None:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""

    def copy(self) -> Hasher:
        """Return another running digest of the same bytes."""


class ExactHash(ABC):
    """An algorithm over a file's bytes."""

    name: ClassVar[str]

    @abstractmethod
    def start(self) -> Hasher:
        """A new running digest."""


class Hashed(NamedTuple):
    """One digest of one picture."""

    rendering: int
    """`PLAIN`, `SQUARED` or `ENLARGED` of `variants`."""
    turn: int
    """Place in `variants.TURNS`."""
    value: bytes
    quality: int
    """0 to 100; 100 where the algorithm has no such notion."""
    doubt: int = 0
    """Place in `variants.DOUBTS`."""


class HashedRun(NamedTuple):
    """Digests of one rendering of a picture, which differ by the turn alone."""

    rendering: int
    turns: tuple[int, ...]
    values: bytes
    """The digests, turn by turn."""
    quality: int
    doubt: int = 0
    even: int = 0
    """Share of the picture in 256ths that is even in brightness; see `colour_planes`."""


class PictureHash(ABC):
    """An algorithm over a decoded picture."""

    name: ClassVar[str]
    has_variants: ClassVar[bool] = False
    """Whether `hashed` gives more than the picture as it is, and trimmed pictures are worth hashing."""

    @abstractmethod
    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture.

        Args:
            luma: brightness, shape (height, width), 0 black to 255 white.
            stored: height and width of the stored picture where `luma` holds the means of its blocks of 2x2,
                4x4 or 8x8 pixels, as a JPEG decoded at a smaller scale does; None where it is the picture.

        Returns:
            The digest, and its quality from 0 to 100 (100 where the algorithm has no such notion).
        """

    def hashed(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: Sequence[int] = (0,),
        wanted: Collection[str] = (),
    ) -> Iterator[Hashed]:
        """Hash one picture in all ways that were asked for and that the algorithm has.

        Args:
            luma: as for `digest`.
            stored: as for `digest`.
            turns: places in `variants.TURNS`, with 0 among them.
            wanted: some of `variants.VARIANTS`, of which these are heeded: 512x512 and enlarged.

        Yields:
            First the picture as it is.
        """
        for run in self.runs(luma, stored, tuple(turns), wanted):
            size = len(run.values) // len(run.turns)
            for place, turn in enumerate(run.turns):
                value = run.values[place * size : (place + 1) * size]
                yield Hashed(run.rendering, turn, value, run.quality, run.doubt)

    def runs(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: tuple[int, ...] = (0,),
        wanted: Collection[str] = (),
    ) -> Iterator[HashedRun]:
        """The same as `hashed`, a rendering at a time."""
        value, quality = self.digest(luma, stored)
        yield HashedRun(PLAIN, (0,), value, quality)
