"""Compress a decoder's reply: a turned picture's digests are predicted from each other, but for some bits.

Two turns that mirror a picture in the same way differ only by swapped axes, so that one digest follows from
the other. Any other digest is predicted from the unturned picture, of the same rendering or else of the first
one.

A reply (see `records`) is split into the first digest, which is stored in a column of its own, the heads of
its runs, which are equal for thousands of pictures and are stored once, and the rest: its own head, then for
each further digest the difference from the prediction that `steps_of` describes. A
first digest of more than 255 bytes is in the rest, too.

| first byte | followed by |
| --- | --- |
| 0 to 28 | so many bytes, each the index of a bit that differs |
| 254 | the digest, where its algorithm has digests of eight bytes |
| 255 | the digest, where they have any other length |

Only digests of 32 bytes are predicted, but for those of restored pictures and of sections, which differ too
much. How long a digest is follows from its algorithm, whose index is in the head of its run. An algorithm
whose digests get another length gets another version, so that the profile of contents that were digested
before marks them as opaque, and they are not unpacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.pdq_reduction import likely_turned
from hashscan.hashing.records import DECODE_REASONS
from hashscan.hashing.variants import RESTORED
from hashscan.model import ALGORITHMS, Reason

Bytes = NDArray[np.uint8]

SIZE, _SIDE = 32, 16
ALL_TURNS = 9


class Guess(NamedTuple):
    """A rule that predicts digests from others."""

    values: Bytes
    """The others, shape (n, 32)."""
    swapped: bool
    """True if the axes of the frequencies are swapped."""
    mask: Bytes
    """Bits that are flipped after that, shape (32,)."""

    def made(self) -> Bytes:
        return (swapped(self.values) if self.swapped else self.values) ^ self.mask


class Step(NamedTuple):
    """One digest of a reply, and the earlier one that predicts it."""

    run: int
    """Index of its run."""
    turn: int
    size: int
    """In bytes."""
    known: int | None
    """Index of the step that predicts it; None if none does."""
    swapped: bool
    mask: int
    """Bits that are flipped, as a number; the first bit is the most significant one."""

    def guess(self, values: Sequence[Bytes]) -> Guess | None:
        """Return the prediction for many replies by the digests of all earlier steps, each of shape (n,
        size)."""
        if self.known is None:
            return None
        mask = np.frombuffer(self.mask.to_bytes(SIZE), np.uint8)
        return Guess(values[self.known], self.swapped, mask)

    def guessed(self, values: Sequence[int]) -> int | None:
        """Return the prediction for one reply, whose digests are given as numbers."""
        if self.known is None:
            return None
        return (_swapped(values[self.known]) if self.swapped else values[self.known]) ^ self.mask


def steps_of(heads: bytes, algorithms: Sequence[str]) -> tuple[Step, ...]:
    """Return the digests of a reply in order, by the heads of all runs."""
    # Cached without the qualities and doubts, which make no difference to how digests are predicted.
    runs = [heads[at : at + RUN_HEAD] for at in range(0, len(heads), RUN_HEAD)]
    return _steps(tuple(run[:_QUALITY] + run[_TURNS] for run in runs), tuple(algorithms))


@lru_cache(maxsize=1024)
def _steps(runs: tuple[bytes, ...], algorithms: tuple[str, ...]) -> tuple[Step, ...]:
    steps: list[Step] = []
    of_rendering: dict[bytes, dict[int, int]] = {}
    """For each rendering, the first step of each turn."""
    of_picture: dict[bytes, int] = {}
    """For each picture, the first step of the unturned one."""
    for number, run in enumerate(runs):
        size = size_in(run, algorithms)
        own, picture = of_rendering.setdefault(_rendering(run), {}), _picture(run)
        for turn in _turns_in(run[-2:]):
            known, base = None, 0
            turned = size == SIZE and turn < ALL_TURNS and run[_RENDERING] < RESTORED
            if turned:
                base = next((one for one in (_partner(turn), 0) if one in own), 0)
                known = own.get(base, of_picture.get(picture))
            swaps, mask = (False, 0) if known is None else _between(base, turn)
            steps.append(Step(number, turn, size, known, swaps, mask))
            if turned:
                own.setdefault(turn, len(steps) - 1)
                if not turn:
                    of_picture.setdefault(picture, len(steps) - 1)
    return tuple(steps)


def swapped(values: Bytes) -> Bytes:
    """Return digests with the axes of their frequencies swapped, shape (n, 32)."""
    bits = np.unpackbits(values, axis=1).reshape(-1, _SIDE, _SIDE)
    return np.packbits(bits.transpose(0, 2, 1).reshape(-1, _SIDE * _SIDE), axis=1)


def _swapped(value: int) -> int:
    """Return what `swapped` does for a digest that is given as a number.

    Blocks of 8, 4, 2 bits and single bits are exchanged across the diagonal: for one digest this is ten times
    as fast as numpy.
    """
    for distance, mask in _EXCHANGES:
        differ = (value ^ (value >> distance)) & mask
        value ^= differ ^ (differ << distance)
    return value


_EXCHANGES = tuple(
    (
        side * (_SIDE - 1),
        sum(
            1 << (row * _SIDE + column)
            for row in range(_SIDE)
            for column in range(_SIDE)
            if column & side and not row & side
        ),
    )
    for side in (8, 4, 2, 1)
)


def _picture(head: bytes) -> bytes:
    """Return number and kind of the picture, and the algorithm."""
    return head[:5] + head[_ALGORITHM : _ALGORITHM + 1]


def _rendering(head: bytes) -> bytes:
    """Return number and kind of the picture, the rendering, and the algorithm."""
    return head[:6] + head[_ALGORITHM : _ALGORITHM + 1]


@cache
def _between(known: int, turn: int) -> tuple[bool, int]:
    """Return how the digest of one turn is predicted from that of another: axes swapped, bits flipped."""
    before, after = _of_turn(known), _of_turn(turn)
    swaps = before[0] != after[0]
    return swaps, (_swapped(before[1]) if swaps else before[1]) ^ after[1]


@cache
def _of_turn(turn: int) -> tuple[bool, int]:
    """Return True if `likely_turned` swaps the axes of a digest, and the bits it flips after that."""
    mask = likely_turned(bytes(SIZE), (turn,))[0]
    one = bytes((0x40, *bytes(SIZE - 1)))
    (moved,) = likely_turned(one, (turn,)) ^ mask
    return moved.tobytes() != one, int.from_bytes(mask.tobytes())


@cache
def _partner(turn: int) -> int:
    """Return the turn that differs only by swapped axes; the turn itself where there is none."""
    alike = (other for other in range(ALL_TURNS) if _between(other, turn)[0] and not _between(other, turn)[1])
    return next(alike, turn)


HEAD, RUN_HEAD = 16, 12
"""Bytes of a reply's head, and of a run's."""
_FAILED = 1 + DECODE_REASONS.index(Reason.PART_FAILED)
_RENDERING, _ALGORITHM, _QUALITY, _TURNS = 5, 7, 8, slice(10, 12)
MOST_BITS = 28
_SHORT_SIZE, _SHORT_MARK, _MARK = 8, 254, 255
_FIRST_BIT = 1 << (8 * SIZE - 1)
_FIRST_MAX = 255
"""Maximum length in bytes of a digest that is stored before the rest; the length is stored in one byte."""


def size_in(head: bytes, algorithms: Sequence[str]) -> int:
    """Return the length in bytes of each digest of a run."""
    try:
        return ALGORITHMS[algorithms[head[_ALGORITHM]]].size
    except LookupError as error:
        raise ValueError("a kept reply has a digest of an unknown algorithm") from error


def size_before(head: bytes, algorithms: Sequence[str]) -> int:
    """Return the length of the first digest, in the first run; 0 if it is in the rest."""
    size = size_in(head, algorithms)
    return size if size <= _FIRST_MAX else 0


def mark_of(size: int) -> int:
    """Return the byte before a whole digest of this length."""
    return _SHORT_MARK if size == _SHORT_SIZE else _MARK


class Packed(NamedTuple):
    """A reply in its compressed parts."""

    first: bytes
    """The first digest; empty where there is none, or where it is too long."""
    heads: bytes
    """Heads of all runs."""
    rest: bytes


NO_REPLY = Packed(b"", b"", b"")


def pack(reply: bytes, algorithms: Sequence[str]) -> Packed:
    """Compress a reply that was validated."""
    begin = _begin_of_runs(reply)
    heads, digests, at = [], [], begin
    while at < len(reply):
        head = reply[at : at + RUN_HEAD]
        heads.append(head)
        at += RUN_HEAD
        size = size_in(head, algorithms)
        end = at + size * int.from_bytes(head[_TURNS]).bit_count()
        digests += [reply[place : place + size] for place in range(at, end, size)]
        at = end
    all_heads = b"".join(heads)
    first, pieces, known = b"", [reply[:begin]], list[int]()
    for step, digest in zip(steps_of(all_heads, algorithms), digests, strict=True):
        value = int.from_bytes(digest)
        guess = step.guessed(known)
        if not known and step.size <= _FIRST_MAX:
            first = digest
        elif guess is None:
            pieces.append(_raw(digest))
        else:
            pieces.append(_difference(guess ^ value, digest))
        known.append(value)
    return Packed(first, all_heads, b"".join(pieces))


def unpack(packed: Packed, algorithms: Sequence[str]) -> bytes:
    """Return the reply of a decoder that was asked for these algorithms; ValueError unless `pack` has made it
    with them."""
    first, heads, rest = packed
    if len(heads) % RUN_HEAD or len(first) != (size_before(heads, algorithms) if heads else 0):
        raise ValueError("a kept reply has impossible heads")
    begin = _begin_of_runs(rest)
    pieces, known, at, run = [rest[:begin]], list[int](), begin, -1
    for step in steps_of(heads, algorithms):
        while run < step.run:
            run += 1
            pieces.append(heads[run * RUN_HEAD : (run + 1) * RUN_HEAD])
        if first:
            digest, first = first, b""
            if len(digest) != step.size:
                raise ValueError("a kept reply has a digest of another length")
        else:
            digest, at = _next(rest, at, step.guessed(known), step.size)
        known.append(int.from_bytes(digest))
        pieces.append(digest)
    pieces.append(heads[(run + 1) * RUN_HEAD :])
    if at < len(rest) or len(rest) < begin:
        raise ValueError("a kept reply is too long or too short")
    return b"".join(pieces)


def _begin_of_runs(reply: bytes) -> int:
    """Return the length of a reply's head with the name of the exception that some have behind it."""
    return HEAD + (1 + reply[HEAD] if len(reply) > HEAD and reply[0] == _FAILED else 0)


def _next(rest: bytes, at: int, guess: int | None, size: int) -> tuple[bytes, int]:
    if at >= len(rest):
        raise ValueError("a kept reply is cut short")
    mark = rest[at]
    whole = mark > MOST_BITS
    if whole and mark != mark_of(size):
        raise ValueError("a kept reply has a digest of another length")
    at += 1
    end = at + (size if whole else mark)
    found = rest[at:end]
    if len(found) != end - at:
        raise ValueError("a kept reply is cut short")
    if whole:
        return found, end
    if guess is None:
        raise ValueError("a kept reply refers to a digest that it hasn't")
    for place in found:
        guess ^= _FIRST_BIT >> place
    return guess.to_bytes(SIZE), end


def _turns_in(mask: bytes) -> list[int]:
    """Return the turns for which a run has digests, by the last field of its head."""
    bits = int.from_bytes(mask, "little")
    return [turn for turn in range(16) if bits >> turn & 1]


def _raw(value: bytes) -> bytes:
    return bytes((mark_of(len(value)),)) + value


def _difference(differ: int, value: bytes) -> bytes:
    """Return a digest as the bits by which it differs from its prediction."""
    if differ.bit_count() > MOST_BITS:
        return _raw(value)
    places = []
    while differ:
        bit = differ.bit_length() - 1
        differ ^= 1 << bit
        places.append(8 * SIZE - 1 - bit)
    return bytes((len(places), *places))
