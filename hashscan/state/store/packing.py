"""Compress a decoder's reply: a turned picture's digests can be predicted from each other, but for some bits.

A reply (see `records`) is split into the first digest, which is stored in a column of its own, the heads of
its runs, which are equal for thousands of pictures and are stored once, and the rest: its own head, then for
each further digest the difference from the prediction that `Guesses` makes from the digests before it.

| first byte | followed by |
| --- | --- |
| 0 to 28 | so many bytes, each the index of a bit that differs |
| 254 | eight bytes: the digest, of an algorithm with digests of that length |
| 255 | 32 bytes: the digest |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.formats import FORMATS
from hashscan.matching.file_task import FileTask
from hashscan.model import ALGORITHMS, Reason, StoredContentData
from hashscan.state.store.pdq_prediction import Guess, Guesses

HEAD, RUN_HEAD = 16, 12
"""Bytes of a reply's head, and of a run's."""
_ALGORITHM, _TURNS = 7, slice(10, 12)
MOST_BITS = 28
_SHORT, _WHOLE = 254, 255
SIZES = {_SHORT: 8, _WHOLE: 32}


class Packed(NamedTuple):
    """A reply in its compressed parts."""

    first: bytes
    """The first digest; empty where there is none."""
    heads: bytes
    """Heads of all runs."""
    rest: bytes


NO_REPLY = Packed(b"", b"", b"")


def pack(reply: bytes, algorithms: Sequence[str]) -> Packed:
    """Compress a reply that was validated.

    Args:
        reply: of a decoder.
        algorithms: those it was asked for.
    """
    heads, first, pieces = [], b"", [reply[:HEAD]]
    guesses = Guesses()
    at = HEAD
    while at < len(reply):
        head = reply[at : at + RUN_HEAD]
        heads.append(head)
        at += RUN_HEAD
        size = ALGORITHMS[algorithms[head[_ALGORITHM]]].size
        for turn in digests_in(head):
            value = reply[at : at + size]
            at += size
            guess = guesses.of(head, turn)
            if not first:
                first = value
            elif guess is None:
                pieces.append(_raw(value))
            else:
                pieces.append(_difference(guess.made().tobytes(), value))
            guesses.learn(head, turn, _row(value))
    return Packed(first, b"".join(heads), b"".join(pieces))


def unpack(packed: Packed) -> bytes:
    """Return the reply.

    Raises:
        ValueError: `packed` is not a result of `pack`.
    """
    first, heads, rest = packed
    if len(heads) % RUN_HEAD or bool(heads) != bool(first):
        raise ValueError("a kept reply has impossible heads")
    pieces = [rest[:HEAD]]
    guesses = Guesses()
    at = HEAD
    for place in range(0, len(heads), RUN_HEAD):
        head = heads[place : place + RUN_HEAD]
        pieces.append(head)
        for turn in digests_in(head):
            if first:
                value, first = first, b""
            else:
                value, at = _next(rest, at, guesses.of(head, turn))
            guesses.learn(head, turn, _row(value))
            pieces.append(value)
    if at < len(rest) or len(rest) < HEAD:
        raise ValueError("a kept reply is too long or too short")
    return b"".join(pieces)


def _next(rest: bytes, at: int, guess: Guess | None) -> tuple[bytes, int]:
    """Return the digest that is stored at an offset, and the next offset."""
    if at >= len(rest):
        raise ValueError("a kept reply is cut short")
    mark = rest[at]
    at += 1
    end = at + SIZES.get(mark, mark)
    found = rest[at:end]
    if len(found) != end - at:
        raise ValueError("a kept reply is cut short")
    if mark in SIZES:
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
    return bytes((_SHORT if len(value) == SIZES[_SHORT] else _WHOLE,)) + value


def _difference(guess: bytes, value: bytes) -> bytes:
    if len(value) != len(guess):
        return _raw(value)
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
    """Return the record that the state keeps of a file's content; None where the verdict depends on more.

    Args:
        file: that was read.
        pictures: algorithms by which pictures were to be hashed.
    """
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
