"""Predict the PDQ digests of turned pictures from other digests of them, for many pictures at once.

Two turns that mirror a picture in the same way differ only by swapped axes, so that one digest follows from
the other. Any other digest is predicted from the unturned picture, of the same rendering or else of the first
one.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_turns import likely_turned

Bytes = NDArray[np.uint8]

SIZE, _SIDE = 32, 16
ALL_TURNS = 9
_ALGORITHM = 7


class Guess(NamedTuple):
    """A rule that predicts digests from others."""

    values: Bytes
    """The others, shape (n, 32)."""
    swapped: bool
    """True if the axes of the frequencies are swapped."""
    mask: Bytes
    """Bits that are flipped after that, shape (32,)."""

    def made(self) -> Bytes:
        """Return the predicted digests, in an array of their own."""
        return (swapped(self.values) if self.swapped else self.values) ^ self.mask


class Guesses:
    """The digests known so far of pictures whose replies have the same runs."""

    def __init__(self) -> None:
        self._renderings: dict[bytes, dict[int, Bytes]] = {}
        """Digests by turn, for each rendering."""
        self._pictures: dict[bytes, Bytes] = {}
        """First digest of the unturned picture."""

    def learn(self, head: bytes, turn: int, values: Bytes) -> None:
        """Add digests of one turn of the run with this head, shape (n, size); they must not change."""
        if values.shape[1] != SIZE:
            return
        self._renderings.setdefault(_rendering(head), {}).setdefault(turn, values)
        if not turn:
            self._pictures.setdefault(_picture(head), values)

    def of(self, head: bytes, turn: int) -> Guess | None:
        """Return the prediction for a turn of the run with this head, if there is one."""
        if turn >= ALL_TURNS:
            return None
        own = self._renderings.get(_rendering(head), {})
        for known in (_partner(turn), 0):
            if known in own:
                return Guess(own[known], *_between(known, turn))
        first = self._pictures.get(_picture(head))
        return None if first is None else Guess(first, *_between(0, turn))


def swapped(values: Bytes) -> Bytes:
    """Return digests with the axes of their frequencies swapped, shape (n, 32)."""
    bits = np.unpackbits(values, axis=1).reshape(-1, _SIDE, _SIDE)
    return np.packbits(bits.transpose(0, 2, 1).reshape(-1, _SIDE * _SIDE), axis=1)


def _picture(head: bytes) -> bytes:
    """Return number and kind of the picture, and the algorithm."""
    return head[:5] + head[_ALGORITHM : _ALGORITHM + 1]


def _rendering(head: bytes) -> bytes:
    """Return number and kind of the picture, the rendering, and the algorithm."""
    return head[:6] + head[_ALGORITHM : _ALGORITHM + 1]


@cache
def _between(known: int, turn: int) -> tuple[bool, Bytes]:
    """Return how the digest of one turn is predicted from that of another: axes swapped, bits flipped."""
    before, after = _of_turn(known), _of_turn(turn)
    swaps = before[0] != after[0]
    mask = before[1][None]
    return swaps, (swapped(mask) if swaps else mask)[0] ^ after[1]


@cache
def _of_turn(turn: int) -> tuple[bool, Bytes]:
    """Return True if `likely_turned` swaps the axes of a digest, and the bits it flips after that."""
    mask = likely_turned(bytes(SIZE), (turn,))[0]
    one = bytes((0x40, *bytes(SIZE - 1)))
    (moved,) = likely_turned(one, (turn,)) ^ mask
    return moved.tobytes() != one, mask


@cache
def _partner(turn: int) -> int:
    """Return the turn that differs only by swapped axes; the turn itself where there is none."""
    alike = (
        other for other in range(ALL_TURNS) if _between(other, turn)[0] and not _between(other, turn)[1].any()
    )
    return next(alike, turn)
