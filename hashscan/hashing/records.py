"""The records that a worker and its decoder exchange.

The decoder may have been taken over by the picture it decodes, so nothing in its reply is believed before it
was checked. Neither Pillow nor numpy is imported here: a worker has no need of a decoder.

A request is two bytes, the place of the sniffed format in `formats.FORMATS`, and 1 where the decoder may take
more time than usual, so that it comes at least as far as the one before it. A reply is, little-endian, a
header and runs, which hold as many digests as it says, at most `RECORDS_MAX`:

| bytes | what |
| --- | --- |
| 1 | 0, or one more than the place in `FAILURES` of the reason why all or a part was not decoded |
| 1 | the place of the format in `formats.FORMATS` |
| 4, 4 | width and height in pixels |
| 2 | number of digests |
| 4 | digests that were left out, because there were more than `RECORDS_MAX` |

Each run is of one rendering of one picture by one algorithm. It has a head and the digests of its turns, one
behind the other:

| bytes | what |
| --- | --- |
| 4 | number of the frame, page or preview; 0 for what is not counted |
| 1, 1 | kind of picture and rendering (see `variants`) |
| 1 | the turn that EXIF orientation asks for; 0 for none |
| 1 | the place of the algorithm among those asked for |
| 1, 1 | quality 0 to 100, and doubt (see `variants`) |
| 2 | a bit for each turn, the lowest for the first |

The first runs are the file's first picture as it is stored, by each algorithm asked for, in that order;
but where that one couldn't be decoded, those of a preview or a later one.
Where nothing was decoded there are none, and all of the header but the first byte is 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
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
    Reason.DECODER_DIED,
)
"""What a decoder can say of a picture of which all or a part is missing. The last stands for one that could
say nothing any more."""


RECORDS_MAX = 1024
"""It holds what a decoder can cost its worker in queries to the index: a tenth of a second at ten million
entries. A still picture has 8 to 32."""

_HEADER = struct.Struct("<BBIIHI")
_HEAD = struct.Struct("<I6BH")
_DIGEST_MAX = max(ALGORITHMS[name].size for name in COMPUTED if ALGORITHMS[name].of_picture)
_MAX_SIDE = 2**31 - 1
_LEFT_OUT_MAX = 2**32 - 1

REPLY_MAX = _HEADER.size + RECORDS_MAX * (_HEAD.size + _DIGEST_MAX)
"""Length in bytes of the longest reply."""


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """What a decoder found out about a picture."""

    picture: Picture
    runs: tuple[DigestRun, ...]
    """First those of the picture as it is stored, in the order in which the algorithms were asked for."""
    damage: Reason | None = None
    """Why the digests are of a part of the picture only; None where they are of all of it."""
    left_out: int = 0
    """Digests that found no room."""

    @property
    def digests(self) -> tuple[PictureDigest, ...]:
        """Each digest by itself."""
        return tuple(digest for run in self.runs for digest in run.digests())

    def stored(self, algorithms: Sequence[str]) -> dict[str, Digest]:
        """The digests of the picture as it is stored, by algorithm."""
        # Only algorithms that are matched from some quality on have the notion of it.
        return {
            name: Digest(
                name,
                run.values[: ALGORITHMS[name].size],
                run.quality if ALGORITHMS[name].min_quality else None,
            )
            for name, run in zip(algorithms, self.runs, strict=False)
            if run.plain
        }

    def is_poor(self, algorithm: str) -> bool:
        """Whether the picture as it is stored has too low a quality to be matched by an algorithm."""
        least = ALGORITHMS[algorithm].min_quality
        return any(run.quality < least and run.algorithm == algorithm and run.plain for run in self.runs)


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
        runs: first those of the picture as it is stored, by each algorithm in its order, with their turns in
            ascending order. What is beyond `RECORDS_MAX` is counted, and is a damage where there is no other.
        damage: why only a part of it was decoded.
    """
    pieces = [b""]
    count = 0
    for part, rendering, turns, shown, algorithm, values, quality, doubt, _ in runs:
        kept = turns[: max(0, RECORDS_MAX - count)]
        count += len(turns)
        if not kept:
            continue
        place = algorithms.index(algorithm)
        pieces.append(
            _HEAD.pack(part.number, part.kind, rendering, shown, place, quality, doubt, _bits_of(kept))
        )
        pieces.append(values if kept == turns else values[: len(values) // len(turns) * len(kept)])
    left_out = max(0, min(count - RECORDS_MAX, _LEFT_OUT_MAX))
    if left_out:
        damage = Reason.TOO_MANY if damage is None else damage
    status = 0 if damage is None else 1 + FAILURES.index(damage)
    pieces[0] = _HEADER.pack(
        status, FORMATS.index(picture_format), width, height, min(count, RECORDS_MAX), left_out
    )
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _bits_of(turns: tuple[int, ...]) -> int:
    if list(turns) != sorted(set(turns)):
        raise ValueError("turns are given once each, in ascending order")
    return sum(1 << turn for turn in turns)


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
    if count > RECORDS_MAX:
        raise ValueError("reply of wrong length")
    damage = None
    if status:
        if status > len(FAILURES):
            raise ValueError("reply with an unknown failure")
        damage = FAILURES[status - 1]
        if len(reply) == _HEADER.size and not any(reply[1:]):
            return damage
    if index >= len(FORMATS) or FORMATS[index] is not picture_format:
        raise ValueError("reply for another format")
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError("reply with an impossible size")
    if left_out and (damage is None or count < RECORDS_MAX):
        raise ValueError("reply that leaves out what it has room for")
    runs = tuple(_unpacked(reply, count, tuple(algorithms)))
    first = [run.algorithm for run in runs[: len(algorithms)] if run.plain]
    # Only of a picture with a damage the others may be all there is.
    if first != list(algorithms) and (first or damage is None):
        raise ValueError("reply without the picture as it is stored")
    return DecodedPicture(Picture(picture_format.name, width, height), runs, damage, left_out)


def _unpacked(reply: bytes, count: int, algorithms: tuple[str, ...]) -> Iterator[DigestRun]:
    """The runs of a reply, each checked.

    Raises:
        ValueError: one is not of the kind that our decoder gives, or they don't hold `count` digests.
    """
    place = _HEADER.size
    while count:
        first = place + _HEAD.size
        if first > len(reply):
            raise ValueError("reply of wrong length")
        before, behind, digests, size = _described(reply[place:first], algorithms)
        place = first + size
        count -= digests
        if count < 0 or place > len(reply):
            raise ValueError("reply of wrong length")
        yield DigestRun(*before, reply[first:place], *behind)
    if place != len(reply):
        raise ValueError("reply of wrong length")


# Most pictures have runs of the same kinds, and most of their qualities come again, too.
@lru_cache(maxsize=4096)
def _described(
    head: bytes, algorithms: tuple[str, ...]
) -> tuple[tuple[Part, int, tuple[int, ...], int, str], tuple[int, int], int, int]:
    """What `DigestRun` has before and behind the digests; their number, and their length in bytes together.

    Raises:
        ValueError: see `_unpacked`.
    """
    number, kind, rendering, shown, place, quality, doubt, bits = _HEAD.unpack(head)
    kinds = tuple(Kind)
    if kind >= len(kinds) or rendering >= len(RENDERINGS) or shown >= len(TURNS) or bits >> len(TURNS):
        raise ValueError("reply with an unknown variant")
    if not bits:
        raise ValueError("reply with a run of nothing")
    if number and kind == Kind.PICTURE:
        raise ValueError("reply with a number for what is not counted")
    if place >= len(algorithms):
        raise ValueError("reply with an algorithm that was not asked for")
    if quality > 100:
        raise ValueError("reply with an impossible quality")
    if doubt >= len(DOUBTS):
        raise ValueError("reply with an unknown doubt")
    part = Part(kinds[kind], number) if kind or number else WHOLE
    turns = tuple(turn for turn in range(len(TURNS)) if bits >> turn & 1)
    name = algorithms[place]
    size = len(turns) * ALGORITHMS[name].size
    return (part, rendering, turns, shown, name), (quality, doubt), len(turns), size
