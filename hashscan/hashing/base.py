"""What every hash algorithm offers: bytes hashed as they stream by, or a decoded picture hashed whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

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


class ExactHash(ABC):
    """An algorithm over a file's bytes."""

    name: ClassVar[str]

    @abstractmethod
    def start(self) -> Hasher:
        """A new running digest."""


class PictureHash(ABC):
    """An algorithm over a decoded picture."""

    name: ClassVar[str]

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
