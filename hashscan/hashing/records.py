"""Pack and check the requests and replies (records) that a worker and its decoder exchange.

The picture may have taken control of the decoder, so everything in a reply is checked before it is used.
Neither Pillow nor numpy is imported here: a worker does not need a decoder's libraries.

A request has the index of the recognised format in `formats.FORMATS`; 1 if the decoder may take more time
than usual, so that it gets at least as far as the decoder before it; and its memory limit in MiB if it has
more memory than usual, else 0 (a byte, a byte, four bytes). A reply has a header and runs. All numbers are
little-endian. Together the runs have the number of digests in the header, which have room in `ROOM`:

| bytes | content |
| --- | --- |
| 1 | 0, or 1 plus the index in `FAILURES` of the reason why a part or all of the file was not decoded |
| 1 | index of the format in `formats.FORMATS` |
| 4, 4 | width and height in pixels |
| 2 | number of digests |
| 4 | number of digests that were left out, because there was no room for them |
| | for `Reason.PART_FAILED` alone: a byte with a length, and the name of an exception's type |

Each run is for one rendering of one picture by one algorithm. It has a head and the digests of its turns,
concatenated:

| bytes | content |
| --- | --- |
| 4 | number of the frame, page or preview; 0 for pictures without a number |
| 1, 1 | kind of picture and rendering (see `variants`) |
| 1 | the turn that the EXIF orientation requires; 0 for none |
| 1 | index of the algorithm among the requested ones |
| 1, 1 | quality 0 to 100, and doubt (see `variants`) |
| 2 | a bit for each turn, the lowest for the first; or for each restoration or section |

The first runs are for the file's first picture as it is stored, by each requested algorithm, in that order.
If that picture couldn't be decoded, they are for a preview or a later picture. If nothing was decoded, there
are no runs, and all bytes of the header but the first are 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.variants import (
    RENDERINGS,
    RESTORED,
    SIMILARITY_DOUBTS,
    TURNS,
    WHOLE,
    DigestRun,
    Kind,
    Part,
    PictureDigest,
    turns_of,
)
from hashscan.model import ALGORITHMS, Digest, Picture, Reason

DECODE_REASONS: tuple[Reason, ...] = (
    Reason.TRUNCATED,
    Reason.BROKEN,
    Reason.TOO_LARGE,
    Reason.MEMORY,
    Reason.UNSUPPORTED,
    Reason.TOO_MANY,
    Reason.TIMEOUT,
    Reason.DECODER_DIED,
    Reason.CONTAINER,
    Reason.HASH_FAILED,
    Reason.PART_FAILED,
)
"""Reasons why a picture was decoded in part or not at all. That of a decoder that died is for no reply; that
of a container is for a picture that was decoded, and is one, too. The state stores their places."""


DIGESTS_MAX = 1280
"""Maximum number of digests in a reply. It limits the time that a decoder can cost its worker in queries to
the index: a tenth of a second with ten million entries. A still picture has 8 to 46 digests."""

_REQUEST = struct.Struct("<BBI")
_HEADER = struct.Struct("<BBIIHI")
_HEAD = struct.Struct("<I6BH")
_MAX_SIDE = 2**31 - 1
_LEFT_OUT_MAX = 2**32 - 1

_USUAL_SIZE = 32
_QUADRANTS_ROOM = 1
"""Room that is counted for the digest of quadrants: a reply has at most one, and others keep their room."""
ROOM = DIGESTS_MAX * (_HEAD.size + _USUAL_SIZE) + _QUADRANTS_ROOM
"""Room in bytes for the digests of a reply: that of `DIGESTS_MAX` of usual length, each with a head."""
FAULT_MAX = 64
"""Maximum length in bytes of the name of an exception's type."""
REPLY_MAX = _HEADER.size + 1 + FAULT_MAX + ROOM - _QUADRANTS_ROOM + _HEAD.size + 128
"""Maximum length in bytes of a reply; the sandbox allows no reply to be much longer."""


def room_of(algorithm: str) -> int:
    """Return the room in bytes that a digest takes: a head, and at least the length of most digests."""
    if ALGORITHMS[algorithm].metric == "quadrants":
        return _QUADRANTS_ROOM
    return _HEAD.size + max(ALGORITHMS[algorithm].size, _USUAL_SIZE)


def fault_of(error: BaseException) -> str:
    """Return the name of an exception's type, as records hold it: a defect of ours remains visible by it."""
    return type(error).__name__.encode("ascii", "replace")[:FAULT_MAX].decode()


def pack_fault(reason: Reason | None, fault: str) -> bytes:
    """Pack the name of an exception's type, which follows `Reason.PART_FAILED` and no other reason."""
    return bytes((len(fault),)) + fault.encode("ascii") if reason is Reason.PART_FAILED else b""


def unpack_fault(reason: Reason | None, record: bytes, at: int) -> tuple[str, int]:
    """Return the name of an exception's type at a place of a record, and the place behind it.

    Raises:
        ValueError: our decoder could not have sent it.
    """
    if reason is not Reason.PART_FAILED:
        return "", at
    end = at + 1 + record[at] if at < len(record) else at + 1
    fault = record[at + 1 : end]
    if end > len(record) or len(fault) > FAULT_MAX or not fault.isascii():
        raise ValueError("record with an impossible fault")
    text = fault.decode("ascii")
    if not text.isprintable():
        raise ValueError("record with an impossible fault")
    return text, end


def fault_in(reply: bytes) -> str:
    """Return the name of the type of the exception that a valid reply is about; empty if there is none."""
    reason = DECODE_REASONS[reply[0] - 1] if reply[0] else None
    return unpack_fault(reason, reply, _HEADER.size)[0]


def _room_left(runs: Iterable[DigestRun]) -> int:
    return ROOM - sum(len(run.turns) * room_of(run.algorithm) for run in runs)


class DecodedPicture(Struct, frozen=True):
    """The checked result of decoding a picture."""

    picture: Picture
    runs: tuple[DigestRun, ...]
    """The digests; first those of the picture as it is stored, in the order of the requested algorithms."""
    damage: Reason | None = None
    """Reason why only a part of the picture has digests; None if it was decoded completely."""
    left_out: int = 0
    """Number of digests that did not fit into the reply."""

    @property
    def digests(self) -> tuple[PictureDigest, ...]:
        """Return the single digests of all runs."""
        return tuple(digest for run in self.runs for digest in run.digests())

    def stored(self, algorithms: Sequence[str]) -> dict[str, Digest]:
        """Return the digests of the picture as it is stored, by algorithm."""
        # Only algorithms with a minimum quality for matches compute a quality.
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
        """Return True if the picture as it is stored has too low a quality to be matched by an algorithm."""
        least = ALGORITHMS[algorithm].min_quality
        return any(run.quality < least and run.algorithm == algorithm and run.plain for run in self.runs)


def pack_request(picture_format: FileFormat, *, patient: bool = False, memory_bytes: int = 0) -> bytes:
    """Pack a request to decode a file as a picture of this format and no other."""
    return _REQUEST.pack(FORMATS.index(picture_format), patient, memory_bytes >> 20)


class Request(NamedTuple):
    """A request to a decoder."""

    picture_format: FileFormat
    patient: bool
    """True if the decoder may take more time."""
    memory_bytes: int
    """Memory limit, if it is larger than usual; else 0."""


def unpack_request(request: bytes) -> Request:
    """Return the request of which `pack_request` made these bytes."""
    index, patient, mebibytes = _REQUEST.unpack(request)
    return Request(FORMATS[index], bool(patient), mebibytes << 20)


def pack_picture(
    picture_format: FileFormat,
    width: int,
    height: int,
    algorithms: Sequence[str],
    runs: Iterable[DigestRun],
    damage: Reason | None = None,
    fault: str = "",
) -> bytes:
    """Pack a reply for a decoded picture.

    Args:
        width: width as stored, in pixels.
        height: height as stored, in pixels.
        runs: the digests; first those of the picture as it is stored, by each algorithm in order. The turns
            of a run are in ascending order. Digests for which there is no room are counted and left out;
            this counts as damage if there is no other.
        damage: reason why only a part of the picture was decoded.
        fault: the name of the exception's type, for `Reason.PART_FAILED`.
    """
    pieces = [b""]
    count, left_out, room = 0, 0, ROOM
    for part, rendering, turns, shown, algorithm, values, quality, doubt, _ in runs:
        kept = turns[: room // room_of(algorithm)]
        count += len(kept)
        left_out += len(turns) - len(kept)
        room -= len(kept) * room_of(algorithm)
        if not kept:
            continue
        place = algorithms.index(algorithm)
        pieces.append(
            _HEAD.pack(part.number, part.kind, rendering, shown, place, quality, doubt, _bits_of(kept))
        )
        pieces.append(values if kept == turns else values[: len(values) // len(turns) * len(kept)])
    left_out = min(left_out, _LEFT_OUT_MAX)
    if left_out:
        damage = Reason.TOO_MANY if damage is None else damage
    status = 0 if damage is None else 1 + DECODE_REASONS.index(damage)
    header = _HEADER.pack(status, FORMATS.index(picture_format), width, height, count, left_out)
    pieces[0] = header + pack_fault(damage, fault)
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _bits_of(turns: tuple[int, ...]) -> int:
    if list(turns) != sorted(set(turns)):
        raise ValueError("turns are given once each, in ascending order")
    return sum(1 << turn for turn in turns)


def pack_failure(reason: Reason, fault: str = "") -> bytes:
    """Pack a reply for a picture without digests."""
    header = bytes((1 + DECODE_REASONS.index(reason),)).ljust(_HEADER.size, b"\0")
    return header + pack_fault(reason, fault)


def failure_in(reply: bytes) -> Reason | None:
    """Return the reason for which one of our own replies has no digests; None if it has some."""
    return DECODE_REASONS[reply[0] - 1] if reply[0] and not any(reply[1 : _HEADER.size]) else None


def unpack_reply(
    reply: bytes, picture_format: FileFormat, algorithms: Sequence[str]
) -> DecodedPicture | Reason:
    """Check and unpack a reply.

    Args:
        reply: the untrusted bytes from the decoder.
        algorithms: names of the algorithms that the decoder computes, in its order.

    Returns:
        The picture with its digests, or the reason why there are none.

    Raises:
        ValueError: our decoder could not have sent this reply.
    """
    if len(reply) < _HEADER.size:
        raise ValueError("reply of wrong length")
    status: int
    status, index, width, height, count, left_out = _HEADER.unpack_from(reply)
    algorithms = tuple(algorithms)
    if count > DIGESTS_MAX + 1:
        raise ValueError("reply of wrong length")
    damage = None
    if status:
        if status > len(DECODE_REASONS):
            raise ValueError("reply with an unknown failure")
        damage = DECODE_REASONS[status - 1]
    start = unpack_fault(damage, reply, _HEADER.size)[1]
    if damage is not None and len(reply) == start and not any(reply[1 : _HEADER.size]):
        return damage
    if index >= len(FORMATS) or FORMATS[index] is not picture_format:
        raise ValueError("reply for another format")
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError("reply with an impossible size")
    runs = tuple(_unpacked(reply, start, count, algorithms))
    if left_out and (damage is None or _room_left(runs) >= max(map(room_of, algorithms), default=0)):
        raise ValueError("reply that leaves out what it has room for")
    first = [run.algorithm for run in runs[: len(algorithms)] if run.plain]
    # Only a damaged picture may have other runs alone.
    if first != list(algorithms) and (first or damage is None):
        raise ValueError("reply without the picture as it is stored")
    return DecodedPicture(Picture(picture_format.name, width, height), runs, damage, left_out)


def _unpacked(reply: bytes, place: int, count: int, algorithms: tuple[str, ...]) -> Iterator[DigestRun]:
    """Yield the runs of a reply, which begin at a place, each checked."""
    room = ROOM
    while count:
        first = place + _HEAD.size
        if first > len(reply):
            raise ValueError("reply of wrong length")
        before, behind, digests, size = _described(reply[place:first], algorithms)
        place = first + size
        count -= digests
        room -= digests * room_of(before[-1])
        if count < 0 or room < 0 or place > len(reply):
            raise ValueError("reply of wrong length")
        yield DigestRun(*before, reply[first:place], *behind)
    if place != len(reply):
        raise ValueError("reply of wrong length")


# Cached: most pictures have runs of the same kinds, and many have the same quality.
@lru_cache(maxsize=4096)
def _described(
    head: bytes, algorithms: tuple[str, ...]
) -> tuple[tuple[Part, int, tuple[int, ...], int, str], tuple[int, int], int, int]:
    """Unpack a run's head.

    Returns:
        The fields of `DigestRun` before the digests, those after them, the number of digests, and their
        length in bytes together.
    """
    number, kind, rendering, shown, place, quality, doubt, bits = _HEAD.unpack(head)
    kinds = tuple(Kind)
    if kind >= len(kinds) or rendering >= len(RENDERINGS) or shown >= len(TURNS):
        raise ValueError("reply with an unknown variant")
    if bits >> turns_of(rendering) or (shown and rendering >= RESTORED):
        raise ValueError("reply with an unknown variant")
    if not bits:
        raise ValueError("reply with a run of nothing")
    if number and kind == Kind.PICTURE:
        raise ValueError("reply with a number for what is not counted")
    if place >= len(algorithms):
        raise ValueError("reply with an algorithm that was not asked for")
    if quality > 100:
        raise ValueError("reply with an impossible quality")
    if doubt >= len(SIMILARITY_DOUBTS):
        raise ValueError("reply with an unknown doubt")
    part = Part(kinds[kind], number) if kind or number else WHOLE
    turns = tuple(turn for turn in range(turns_of(rendering)) if bits >> turn & 1)
    name = algorithms[place]
    size = len(turns) * ALGORITHMS[name].size
    return (part, rendering, turns, shown, name), (quality, doubt), len(turns), size
