"""The records that a worker and its decoder exchange.

The decoder may have been taken over by the picture it decodes, so nothing in its reply is believed before it
was checked. Neither Pillow nor numpy is imported here: a worker has no need of a decoder.

A request is two bytes, the place of the sniffed format in `formats.FORMATS`, and 1 where the decoder may take
more time than usual, so that it comes at least as far as the one before it. A reply is, little-endian, a
header and as many records as it says, at most `RECORDS_MAX`:

| bytes | what |
| --- | --- |
| 1 | 0, or one more than the place in `FAILURES` of the reason why all or a part was not decoded |
| 1 | the place of the format in `formats.FORMATS` |
| 4, 4 | width and height in pixels |
| 2 | number of records |
| 4 | digests that were left out, because there were more than `RECORDS_MAX` |

Each record is one digest:

| bytes | what |
| --- | --- |
| 4 | number of the frame, page or preview; 0 for what is not counted |
| 1, 1, 1 | kind of picture, rendering and turn (see `variants`) |
| 1 | 1 where the turn is the one that EXIF orientation asks for, else 0 |
| 1 | the place of the algorithm among those asked for |
| 1, 1 | quality 0 to 100, and doubt (see `variants`) |
| 32 | the digest, with zeros behind it where it is shorter |

The first records are the file's first picture as it is stored, by each algorithm asked for, in that order;
but where that one couldn't be decoded, those of a preview or a later one.
Where nothing was decoded there are none, and all of the header but the first byte is 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hashscan.hashing.formats import FORMATS, PictureFormat
from hashscan.hashing.variants import DOUBTS, RENDERINGS, TURNS, WHOLE, DigestRun, Kind, Part, PictureDigest
from hashscan.model import ALGORITHMS, COMPUTED, Digest, Picture, Reason

FAILURES: tuple[Reason, ...] = (
    Reason.TRUNCATED,
    Reason.BROKEN,
    Reason.TOO_LARGE,
    Reason.MEMORY,
    Reason.UNSUPPORTED,
    Reason.TOO_MANY,
    Reason.TIMEOUT,
)
"""What a decoder can say of a picture of which all or a part is missing."""


RECORDS_MAX = 1024
"""It holds what a decoder can cost its worker in queries to the index: a tenth of a second at ten million
entries. A still picture has 8 to 32."""

_HEADER = struct.Struct("<BBIIHI")
_DIGEST_MAX = max(ALGORITHMS[name].size for name in COMPUTED if ALGORITHMS[name].of_picture)
_HEAD = struct.Struct("<I7B")
_RECORD = struct.Struct(f"<I7B{_DIGEST_MAX}s")
_HALVES = struct.Struct(f"{_HEAD.size}s{_DIGEST_MAX}s")
_PIECES = 4
"""Of which a record is put together."""
_MAX_SIDE = 2**31 - 1
_LEFT_OUT_MAX = 2**32 - 1

REPLY_MAX = _HEADER.size + RECORDS_MAX * _RECORD.size
"""Length in bytes of the longest reply."""


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """What a decoder found out about a picture."""

    picture: Picture
    digests: tuple[PictureDigest, ...]
    """First those of the picture as it is stored, in the order in which the algorithms were asked for."""
    damage: Reason | None = None
    """Why the digests are of a part of the picture only; None where they are of all of it."""
    left_out: int = 0
    """Digests that found no room."""

    def stored(self, algorithms: Sequence[str]) -> dict[str, Digest]:
        """The digests of the picture as it is stored, by algorithm."""
        # Only algorithms that are matched from some quality on have the notion of it.
        return {
            name: Digest(name, found.value, found.quality if ALGORITHMS[name].min_quality else None)
            for name, found in zip(algorithms, self.digests, strict=False)
            if found.plain
        }


def pack_request(picture_format: PictureFormat, *, patient: bool = False) -> bytes:
    """Ask for a file to be decoded as a picture of this format and no other."""
    return bytes((FORMATS.index(picture_format), patient))


def unpack_request(request: bytes) -> tuple[PictureFormat, bool]:
    """The format asked for, and whether to take more time."""
    index, patient = request
    return FORMATS[index], bool(patient)


def pack_picture(
    picture_format: PictureFormat,
    width: int,
    height: int,
    algorithms: Sequence[str],
    runs: Iterable[DigestRun],
    damage: Reason | None = None,
) -> bytes:
    """A reply for a decoded picture.

    Args:
        picture_format: its format.
        width: as stored, in pixels.
        height: as stored, in pixels.
        algorithms: those asked for.
        runs: first those of the picture as it is stored, by each algorithm in its order. What is beyond
            `RECORDS_MAX` is counted, and is a damage where there is no other.
        damage: why only a part of it was decoded.
    """
    pieces = [b""]
    count = 0
    for part, rendering, turns, shown, algorithm, values, quality, doubt in runs:
        number = part.number.to_bytes(4, "little")
        judged = bytes((quality, doubt))
        size = len(values) // len(turns)
        for place, head in enumerate(_heads(part.kind, rendering, turns, shown, algorithms.index(algorithm))):
            value = values[place * size : (place + 1) * size]
            pieces += (
                number,
                head,
                judged,
                value if size == _DIGEST_MAX else value.ljust(_DIGEST_MAX, b"\0"),
            )
        count += len(turns)
    left_out = max(0, min(count - RECORDS_MAX, _LEFT_OUT_MAX))
    if left_out:
        del pieces[1 + _PIECES * RECORDS_MAX :]
        damage = Reason.TOO_MANY if damage is None else damage
    status = 0 if damage is None else 1 + FAILURES.index(damage)
    pieces[0] = _HEADER.pack(
        status, FORMATS.index(picture_format), width, height, min(count, RECORDS_MAX), left_out
    )
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _heads(kind: int, rendering: int, turns: tuple[int, ...], shown: int, place: int) -> list[bytes]:
    """What is the same in each picture's records of some turns."""
    return [bytes((kind, rendering, turn, turn == shown != 0, place)) for turn in turns]


def pack_failure(reason: Reason) -> bytes:
    """A reply for a picture that gave no digests."""
    return bytes((1 + FAILURES.index(reason),)).ljust(_HEADER.size, b"\0")


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
    if len(reply) < _HEADER.size:
        raise ValueError("reply of wrong length")
    status: int
    status, index, width, height, count, left_out = _HEADER.unpack_from(reply)
    if count > RECORDS_MAX or len(reply) != _HEADER.size + count * _RECORD.size:
        raise ValueError("reply of wrong length")
    damage = None
    if status:
        if status > len(FAILURES):
            raise ValueError("reply with an unknown failure")
        damage = FAILURES[status - 1]
        if not any(reply[1:]):
            return damage
    if index >= len(FORMATS) or FORMATS[index] != picture_format:
        raise ValueError("reply for another format")
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError("reply with an impossible size")
    if left_out and (damage is None or count < RECORDS_MAX):
        raise ValueError("reply that leaves out what it has room for")
    digests = tuple(_unpacked(reply, tuple(algorithms)))
    first = [digest.algorithm for digest in digests[: len(algorithms)] if digest.plain]
    # Only of a picture with a damage the others may be all there is.
    if first != list(algorithms) and (first or damage is None):
        raise ValueError("reply without the picture as it is stored")
    return DecodedPicture(Picture(picture_format.name, width, height), digests, damage, left_out)


def _unpacked(reply: bytes, algorithms: tuple[str, ...]) -> Iterable[PictureDigest]:
    """The records of a reply, each checked.

    Raises:
        ValueError: one is not of the kind that our decoder gives.
    """
    for head, value in _HALVES.iter_unpack(memoryview(reply)[_HEADER.size :]):
        before, behind, size = _described(head, algorithms)
        if size < _DIGEST_MAX and any(value[size:]):
            raise ValueError("reply with a digest that is too long")
        yield PictureDigest(*before, value[:size], *behind)


# Most pictures have digests of the same kinds, and most of their qualities come again, too.
@lru_cache(maxsize=4096)
def _described(
    head: bytes, algorithms: tuple[str, ...]
) -> tuple[tuple[Part, int, int, bool, str], tuple[int, int], int]:
    """What stands in a record before the digest, and the digest's length.

    Raises:
        ValueError: see `_unpacked`.
    """
    number, kind, rendering, turn, shown, place, quality, doubt = _HEAD.unpack(head)
    kinds = tuple(Kind)
    if kind >= len(kinds) or rendering >= len(RENDERINGS) or turn >= len(TURNS) or shown > 1:
        raise ValueError("reply with an unknown variant")
    if number and kind == Kind.PICTURE:
        raise ValueError("reply with a number for what is not counted")
    if place >= len(algorithms):
        raise ValueError("reply with an algorithm that was not asked for")
    if quality > 100:
        raise ValueError("reply with an impossible quality")
    if doubt >= len(DOUBTS):
        raise ValueError("reply with an unknown doubt")
    part = Part(kinds[kind], number) if kind or number else WHOLE
    name = algorithms[place]
    return (part, rendering, turn, bool(shown), name), (quality, doubt), ALGORITHMS[name].size
