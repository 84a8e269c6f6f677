"""The fixed-size records that a worker and its decoder exchange.

The decoder may have been taken over by the picture it decodes, so nothing in its reply is believed before it
was checked. Neither Pillow nor numpy is imported here: a worker has no need of a decoder.

A request is one byte, the place of the sniffed format in `formats.FORMATS`. A reply is, little-endian:

| bytes | what |
| --- | --- |
| 1 | 0, or one more than the place in `FAILURES` of the reason why all or a part was not decoded |
| 1 | the place of the format in `formats.FORMATS` |
| 4, 4 | width and height in pixels |
| 1 + n | for each algorithm asked for, in that order: quality 0 to 100, then the digest |

Where nothing was decoded, all but the first byte are 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from hashscan.hashing.formats import FORMATS, PictureFormat
from hashscan.model import ALGORITHMS, Digest, Picture, Reason

FAILURES: tuple[Reason, ...] = (
    Reason.TRUNCATED,
    Reason.BROKEN,
    Reason.TOO_LARGE,
    Reason.MEMORY,
    Reason.UNSUPPORTED,
)
"""What a decoder can say of a picture that it gave no digests for."""

DAMAGES = frozenset({Reason.TRUNCATED, Reason.BROKEN})
"""Reasons that leave a part of a picture to decode."""

_HEADER = struct.Struct("<BBII")
_MAX_SIDE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """What a decoder found out about a picture."""

    picture: Picture
    digests: tuple[Digest, ...]
    """In the order in which the algorithms were asked for."""
    damage: Reason | None = None
    """Why the digests are of a part of the picture only; None where they are of all of it."""


def pack_request(picture_format: PictureFormat) -> bytes:
    """Ask for a file to be decoded as a picture of this format and no other."""
    return bytes((FORMATS.index(picture_format),))


def unpack_request(request: bytes) -> PictureFormat:
    """The format asked for."""
    (index,) = request
    return FORMATS[index]


def reply_size(algorithms: Sequence[str]) -> int:
    """Length in bytes of every reply to a decoder that computes these algorithms."""
    return _HEADER.size + sum(1 + ALGORITHMS[name].size for name in algorithms)


def pack_picture(
    picture_format: PictureFormat,
    width: int,
    height: int,
    digests: Sequence[tuple[bytes, int]],
    damage: Reason | None = None,
) -> bytes:
    """A reply for a decoded picture.

    Args:
        picture_format: its format.
        width: as stored, in pixels.
        height: as stored, in pixels.
        digests: value and quality for each algorithm asked for, in that order.
        damage: why only a part of it was decoded.
    """
    status = 0 if damage is None else 1 + FAILURES.index(damage)
    return _HEADER.pack(status, FORMATS.index(picture_format), width, height) + b"".join(
        bytes((quality,)) + value for value, quality in digests
    )


def pack_failure(reason: Reason, algorithms: Sequence[str]) -> bytes:
    """A reply for a picture that gave no digests."""
    return bytes((1 + FAILURES.index(reason),)).ljust(reply_size(algorithms), b"\0")


def unpack_reply(
    reply: bytes, picture_format: PictureFormat, algorithms: Sequence[str]
) -> DecodedPicture | Reason:
    """Check a reply and read it.

    Args:
        reply: what the decoder sent, whatever it is.
        picture_format: the format that was asked for.
        algorithms: names of the algorithms the decoder computes, in its order.

    Returns:
        The picture with its digests, or the reason why there is none.

    Raises:
        ValueError: the reply is not one that our decoder gives.
    """
    if len(reply) != reply_size(algorithms):
        raise ValueError("reply of wrong length")
    status: int
    status, index, width, height = _HEADER.unpack_from(reply)
    damage = None
    if status:
        if status > len(FAILURES):
            raise ValueError("reply with an unknown failure")
        damage = FAILURES[status - 1]
        if not any(reply[1:]):
            return damage
        if damage not in DAMAGES:
            raise ValueError("reply with a picture and a failure")
    if index >= len(FORMATS) or FORMATS[index] != picture_format:
        raise ValueError("reply for another format")
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError("reply with an impossible size")
    digests = []
    offset = _HEADER.size
    for name in algorithms:
        algorithm = ALGORITHMS[name]
        quality = reply[offset]
        if quality > 100:
            raise ValueError("reply with an impossible quality")
        value = reply[offset + 1 : offset + 1 + algorithm.size]
        # Only algorithms that are matched from some quality on have the notion of it.
        digests.append(Digest(name, value, quality if algorithm.min_quality else None))
        offset += 1 + algorithm.size
    return DecodedPicture(Picture(picture_format.name, width, height), tuple(digests), damage)
