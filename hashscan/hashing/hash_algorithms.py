"""Define the interfaces of hash algorithms: exact hashes of bytes, perceptual hashes of a decoded picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from hashscan.hashing.variants import PLAIN
from hashscan.plugins import Algorithm

if TYPE_CHECKING:
    # Commands that must start fast import tables of algorithms; numpy would slow them down.
    import numpy as np
    from numpy.typing import NDArray


class Hasher(Protocol):
    """A running exact digest, with the interface of hashlib's objects."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes to the digest."""

    def digest(self) -> bytes:
        """Return the digest of all bytes added so far."""

    def copy(self) -> Hasher:
        """Return an independent running digest of the same bytes."""


class ExactHash(ABC):
    """A hash algorithm over a file's bytes."""

    name: ClassVar[str]

    @abstractmethod
    def new(self) -> Hasher:
        """Return a new running digest."""


class RenderingDigests(NamedTuple):
    """Digests of one rendering of a picture, one for each turn."""

    rendering: int
    """`PLAIN`, `SQUARED`, `ENLARGED`, `RESTORED` or `SECTION` of `variants`."""
    turns: tuple[int, ...]
    """Indices in `variants.TURNS`; of the last two, in `variants.RESTORATIONS` and `SECTIONS`."""
    values: bytes
    """The digests, concatenated in the order of `turns`."""
    quality: int
    """Quality from 0 to 100; 100 if the algorithm does not compute one."""
    doubt: int = 0
    """Index in `variants.SIMILARITY_DOUBTS`."""
    even: int = 0
    """Share of the picture, in 256ths, that has even brightness; see `low_contrast`."""


class PictureHash(ABC):
    """A perceptual hash algorithm over a decoded picture."""

    name: ClassVar[str]
    has_variants: bool = False
    """True if `runs` also yields altered renderings, and trimmed pictures are worth hashing."""
    of_colours: ClassVar[bool] = False
    """True if `runs` gets colours, shape (height, width, 3), in place of brightness where they are known."""
    failed: bool = False
    """True if a picture could not be hashed, so that it is undecoded; see `take_failure`."""
    first_only: ClassVar[bool] = False
    """True if it hashes only the first picture of a file, and does not tell if another one repeats it. If
    similarity says little about the picture, its digest is zero."""
    algorithm: ClassVar[Algorithm | None] = None
    """The properties of an algorithm of a plug-in, which decoders don't know otherwise; else None."""

    @abstractmethod
    def digest(self, luma: NDArray[np.uint8], stored: tuple[int, int] | None = None) -> tuple[bytes, int]:
        """Hash one picture.

        Args:
            luma: brightness, shape (height, width), 0 black to 255 white.
            stored: height and width of the stored picture if `luma` holds the means of its blocks of 2x2,
                4x4 or 8x8 pixels, as for a JPEG decoded at a smaller scale; None if `luma` is full size.

        Returns:
            The digest, and its quality from 0 to 100 (100 if the algorithm does not compute one).
        """

    def runs(
        self,
        luma: NDArray[np.uint8],
        stored: tuple[int, int] | None = None,
        turns: tuple[int, ...] = (0,),
        wanted: Collection[str] = (),
    ) -> Iterator[RenderingDigests]:
        """Hash one picture in all requested variants that the algorithm supports.

        Args:
            luma: as for `digest`.
            stored: as for `digest`.
            turns: indices in `variants.TURNS`, including 0.
            wanted: some of `variants.VARIANTS`; only 512x512, enlarged and restored have an
                effect here.

        Yields:
            The digests of one rendering together, first that of the unaltered picture.
        """
        value, quality = self.digest(luma, stored)
        yield RenderingDigests(PLAIN, (0,), value, quality)


def take_failure(hashes: Iterable[PictureHash]) -> bool:
    """Return True if one of the hashes could not hash a picture since the last call."""
    failed = [algorithm for algorithm in hashes if algorithm.failed]
    for algorithm in failed:
        algorithm.failed = False
    return bool(failed)
