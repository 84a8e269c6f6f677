"""Compress a decoder's reply: a turned picture's digests are predicted from each other, but for some bits.

Two turns that mirror a picture in the same way differ only by swapped axes, so that one digest follows from
the other. Any other digest is predicted from the unturned picture, of the same rendering or else of the first
one.

A reply (see `records`) is split into the first digest, which is stored in a column of its own, the heads of
its runs, which are equal for thousands of pictures and are stored once, and the rest: its own head, then for
each further digest the difference from the prediction that `Guesses` makes from the digests before it. A
first digest of more than 255 bytes is in the rest, too.

| first byte | followed by |
| --- | --- |
| 0 to 28 | so many bytes, each the index of a bit that differs |
| 254 | the digest, where its algorithm has digests of eight bytes |
| 255 | the digest, where they have any other length |

Only digests of 32 bytes are predicted. How long a digest is follows from its algorithm, whose index is in
the head of its run. An algorithm whose digests get another length gets another version, so that the profile
of contents that were digested before marks them as opaque, and they are not unpacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.pdq_dihedral import likely_turned
from hashscan.matching.evaluation import FileTask
from hashscan.model import ALGORITHMS, Reason, StoredContentData

Bytes = NDArray[np.uint8]

SIZE, _SIDE = 32, 16
ALL_TURNS = 9
_ALGORITHM_AT = 7


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
    return head[:5] + head[_ALGORITHM_AT : _ALGORITHM_AT + 1]


def _rendering(head: bytes) -> bytes:
    """Return number and kind of the picture, the rendering, and the algorithm."""
    return head[:6] + head[_ALGORITHM_AT : _ALGORITHM_AT + 1]


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


HEAD, RUN_HEAD = 16, 12
"""Bytes of a reply's head, and of a run's."""
_ALGORITHM, _TURNS = 7, slice(10, 12)
MOST_BITS = 28
_SHORT_SIZE, _SHORT_MARK, _MARK = 8, 254, 255
_FIRST_MAX = 255
"""Maximum length in bytes of a digest that is stored before the rest; the length is stored in one byte."""


def size_in(head: bytes, algorithms: Sequence[str]) -> int:
    """Return the length in bytes of each digest of a run.

    Raises:
        ValueError: it is of another algorithm.
    """
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
    heads, first, pieces = [], b"", [reply[:HEAD]]
    guesses = Guesses()
    at = HEAD
    while at < len(reply):
        head = reply[at : at + RUN_HEAD]
        heads.append(head)
        at += RUN_HEAD
        size = size_in(head, algorithms)
        for turn in digests_in(head):
            value = reply[at : at + size]
            at += size
            guess = guesses.of(head, turn)
            if not first and len(pieces) == 1 and size <= _FIRST_MAX:
                first = value
            elif guess is None:
                pieces.append(_raw(value))
            else:
                pieces.append(_difference(guess.made().tobytes(), value))
            guesses.learn(head, turn, _row(value))
    return Packed(first, b"".join(heads), b"".join(pieces))


def unpack(packed: Packed, algorithms: Sequence[str]) -> bytes:
    """Return the reply.

    Args:
        algorithms: those that its decoder was asked for.

    Raises:
        ValueError: `packed` is not a result of `pack` with these algorithms.
    """
    first, heads, rest = packed
    if len(heads) % RUN_HEAD or len(first) != (size_before(heads, algorithms) if heads else 0):
        raise ValueError("a kept reply has impossible heads")
    pieces = [rest[:HEAD]]
    guesses = Guesses()
    at = HEAD
    for place in range(0, len(heads), RUN_HEAD):
        head = heads[place : place + RUN_HEAD]
        pieces.append(head)
        size = size_in(head, algorithms)
        for turn in digests_in(head):
            if first:
                value, first = first, b""
            else:
                value, at = _next(rest, at, guesses.of(head, turn), size)
            guesses.learn(head, turn, _row(value))
            pieces.append(value)
    if at < len(rest) or len(rest) < HEAD:
        raise ValueError("a kept reply is too long or too short")
    return b"".join(pieces)


def _next(rest: bytes, at: int, guess: Guess | None, size: int) -> tuple[bytes, int]:
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
    bits = np.unpackbits(guess.made())
    bits[np.frombuffer(found, np.uint8)] ^= 1
    return np.packbits(bits).tobytes(), end


def digests_in(head: bytes) -> list[int]:
    """Return the turns for which a run has digests."""
    bits = int.from_bytes(head[_TURNS], "little")
    return [turn for turn in range(16) if bits >> turn & 1]


def _row(value: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(value, np.uint8)[None]


def _raw(value: bytes) -> bytes:
    return bytes((mark_of(len(value)),)) + value


def _difference(guess: bytes, value: bytes) -> bytes:
    # Plain integers: for so few bits numpy would take more than twice as long.
    other = int.from_bytes(guess) ^ int.from_bytes(value)
    if other.bit_count() > MOST_BITS:
        return _raw(value)
    last = 8 * len(value) - 1
    places = []
    while other:
        bit = other.bit_length() - 1
        other ^= 1 << bit
        places.append(last - bit)
    return bytes((len(places), *places))


def to_keep(file: FileTask, pictures: Sequence[str]) -> StoredContentData | None:
    """Return the record that the state keeps of a file's content; None where the verdict depends on more."""
    if file.unreadable or not file.exact or not file.as_listed:
        return None
    if file.reason is Reason.COMPRESSED:
        # The store's metadata says so, not the content.
        return None
    decodable = file.kind is not None and file.kind.pillow is not None and bool(pictures)
    if decodable and not file.reply:
        return None
    kind = -1 if file.kind is None else FORMATS.index(file.kind)
    # Packed in the worker, so that the one process that writes the state does less.
    packed = pack(file.reply, pictures) if file.reply else None
    return StoredContentData(tuple(file.exact.values()), kind, packed, file.confirmed, file.ctime)
