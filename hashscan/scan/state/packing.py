"""Makes a decoder's reply small: the digests of a turned picture follow from one another, but for some bits.

A reply is taken apart into the first digest, which goes to a column of its own, the heads of its records,
which are the same for thousands of pictures and are kept once, and the rest: the reply's own head, then for
each further digest how it differs from what `likely_turned` guesses from the first one of the same picture.

| first byte | what follows |
| --- | --- |
| 0 to 28 | so many bytes, each the place of a bit that differs |
| 254 | eight bytes: the digest, with zeros behind it |
| 255 | 32 bytes: the digest |
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hashscan.hashing.pdq_turns import likely_turned

_HEAD, _RECORD_HEAD, _VALUE = 16, 11, 32
_RECORD = _RECORD_HEAD + _VALUE
_MOST_BITS = 28
_SHORT, _WHOLE = 254, 255
_SHORT_BYTES = 8
_TURN = 6
_TURNS = 9


class Packed(NamedTuple):
    """A reply taken apart."""

    first: bytes
    """The first digest; empty where there is none."""
    heads: bytes
    """Of all records."""
    rest: bytes


def pack(reply: bytes) -> Packed:
    """Take a reply apart, that was found to make sense."""
    records = np.frombuffer(reply, np.uint8, offset=_HEAD).reshape(-1, _RECORD)
    if not len(records):
        return Packed(b"", b"", reply)
    heads = [bytes(head) for head in records[:, :_RECORD_HEAD]]
    values = [bytes(value) for value in records[:, _RECORD_HEAD:]]
    guesses = _Guesses(heads[0], values[0])
    pieces = [reply[:_HEAD]]
    for head, value in zip(heads[1:], values[1:], strict=True):
        guess = guesses.of(head)
        if guess is None:
            pieces.append(_raw(value))
        else:
            other = np.frombuffer(guess, np.uint8) ^ np.frombuffer(value, np.uint8)
            places = np.flatnonzero(np.unpackbits(other))
            few = len(places) <= _MOST_BITS
            pieces.append(bytes((len(places), *places.tolist())) if few else _raw(value))
        guesses.learn(head, value)
    return Packed(values[0], b"".join(heads), b"".join(pieces))


def unpack(packed: Packed) -> bytes:
    """The reply.

    Raises:
        ValueError: it is not what `pack` made.
    """
    first, heads, rest = packed
    if not heads:
        return rest
    if len(heads) % _RECORD_HEAD or len(first) != _VALUE or max(heads[_TURN::_RECORD_HEAD]) >= _TURNS:
        raise ValueError("a kept reply has impossible heads")
    split = [heads[at : at + _RECORD_HEAD] for at in range(0, len(heads), _RECORD_HEAD)]
    guesses = _Guesses(split[0], first)
    pieces = [rest[:_HEAD], split[0], first]
    at = _HEAD
    try:
        for head in split[1:]:
            mark = rest[at]
            at += 1
            if mark in {_SHORT, _WHOLE}:
                size = _SHORT_BYTES if mark == _SHORT else _VALUE
                value = rest[at : at + size].ljust(_VALUE, b"\0")
            else:
                size = mark
                guess = guesses.of(head)
                if guess is None:
                    raise ValueError("a kept reply refers to a digest that it hasn't")
                bits = np.unpackbits(np.frombuffer(guess, np.uint8))
                bits[np.frombuffer(rest, np.uint8, size, at)] ^= 1
                value = np.packbits(bits).tobytes()
            at += size
            guesses.learn(head, value)
            pieces += (head, value)
    except IndexError as error:
        raise ValueError("a kept reply is cut short") from error
    if at != len(rest):
        raise ValueError("a kept reply is too long")
    return b"".join(pieces)


class _Guesses:
    """What the digests of one picture are likely to be, given the first of them."""

    def __init__(self, head: bytes, value: bytes) -> None:
        self._by_picture: dict[bytes, list[bytes]] = {}
        self.learn(head, value)

    def learn(self, head: bytes, value: bytes) -> None:
        """Take the first digest of a picture that was not turned."""
        picture = _picture(head)
        if picture not in self._by_picture and not head[_TURN] and any(value[_SHORT_BYTES:]):
            turned = likely_turned(value, range(_TURNS))
            self._by_picture[picture] = [row.tobytes() for row in turned]

    def of(self, head: bytes) -> bytes | None:
        """The guess, where there is one."""
        guesses = self._by_picture.get(_picture(head))
        return None if guesses is None else guesses[head[_TURN]]


def _picture(head: bytes) -> bytes:
    """Number and kind of the picture, and the algorithm."""
    return head[:5] + head[8:9]


def _raw(value: bytes) -> bytes:
    if any(value[_SHORT_BYTES:]):
        return bytes((_WHOLE,)) + value
    return bytes((_SHORT,)) + value[:_SHORT_BYTES]
