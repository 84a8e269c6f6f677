"""Pack and check the records that a decoder sends about what is in a container: one for each member.

A member is a file in an archive, a part of a mail, a picture in a document or a frame of a video. Everything
that opens containers has this form, and knows nothing of the sandbox:

    def members(file: PreadFile, limits: MemberLimits) -> Iterator[Member]

It yields one `Member` at a time and holds no more than that in memory. The sandbox sends some records
together, and does not ask for the next ones before the socket has room: this is the back-pressure. Trouble
with one member is the member's `reason`, trouble with the rest of the container ends the iteration by
`ContainerError`. Another exception, except MemoryError, costs the part that it comes from, which is a member
with `Reason.PART_FAILED` (see `openers.guarded`). A container within a container is opened by
`archives.members`, with the member's bytes as its file.

The decoder's answer about a container is a sequence of messages of one or more records: any number of
members, and an end with the totals. What precedes a picture or a nested container is sent before that is
decoded or opened, so that what ends the decoder hides no member before it. The worker takes one message after
another and checks each field, since the container may have taken control of the decoder. It stops the decoder
after too many records, and where the totals of the end differ from what was received. All numbers are
little-endian.

A member's record:

| bytes | content |
| --- | --- |
| 1 | 1 |
| 1 | 0, or 1 plus the index in `MEMBER_REASONS` of the reason why it was not checked in full |
| 1 | 0, or 1 plus the index of its picture's format in `formats.FORMATS` |
| 1 | 1 if exact digests follow, as for all but frames; 2 more if it is of a video that is the file itself |
| 2, 4 | lengths of its place and of its picture's reply |
| 8 | its length in bytes; 0 for a frame |
| | for `Reason.PART_FAILED` alone: a byte with a length, and the name of an exception's type |
| | exact digests, in the order of the requested algorithms |
| | its place |
| | the reply for its picture, as in `records`; empty where there is none |

A record of frames of a video, sampled for vPDQ; a video has many of them:

| bytes | content |
| --- | --- |
| 1 | 3 |
| 1 | the frames' borders, as in `Borders` |
| 1, 1, 2 | numbers of turns and of frames, and length of the video's place |
| | the turns, as indices in `variants.TURNS`, each once |
| | the video's place |
| | the digests: of each frame, those of all turns |

The record at the end:

| bytes | content |
| --- | --- |
| 1 | 2 |
| 1 | 0, or 1 plus the index in `MEMBER_REASONS` of the reason why the rest of the container was not read |
| 8, 8 | members, and their bytes together |
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import (
    DECODE_REASONS,
    FAULT_MAX,
    REPLY_MAX,
    DecodedPicture,
    pack_fault,
    unpack_fault,
    unpack_reply,
)
from hashscan.hashing.variants import TURNS
from hashscan.model import ALGORITHMS, CONTAINER_REASONS, Reason

PLACE_MAX = 4096
"""Maximum length of a place in bytes; a longer name is cut, so that a record has a bounded length."""

MEMBER_REASONS: tuple[Reason, ...] = (
    *DECODE_REASONS,
    *(reason for reason in Reason if reason in CONTAINER_REASONS.difference(DECODE_REASONS)),
    Reason.PARTIAL,
    Reason.AMBIGUOUS,
    Reason.NAMED,
)
"""Reasons why a member, or the rest of a container, was not checked in full."""

_MEMBER, _END, _FRAMES = 1, 2, 3
_MEMBER_HEAD = struct.Struct("<BBBBHIQ")
_FRAMES_HEAD = struct.Struct("<BBBBH")
_END_HEAD = struct.Struct("<BBQQ")

FRAME_SIZE = ALGORITHMS["vpdq"].size
"""Length of a frame's digest in bytes."""
FRAMES_MAX = 64
"""Maximum number of frames in a record."""

RECORD_MAX = _MEMBER_HEAD.size + 1 + FAULT_MAX + 256 + PLACE_MAX + REPLY_MAX
"""Maximum length of a record in bytes; exact digests have 256 at most. No message is longer."""
_SENT_FROM = 16 << 10
"""Bytes of records from which they are sent."""


class Member(Struct, frozen=True):
    """The data of one member."""

    place: bytes
    """Its place in the container, of any bytes: `dir/pic.jpg`, `inner.zip!pic.jpg`, `00:01:07`."""
    size: int = 0
    exact: tuple[bytes, ...] = ()
    """Digests of its bytes in the order of the requested algorithms; empty where there are none."""
    kind: FileFormat | None = None
    """The format of its picture."""
    reply: bytes = b""
    """The reply for its picture, as `records.pack_picture` makes it."""
    reason: Reason | None = None
    """The reason why it was not checked in full."""
    fault: str = ""
    """The name of the exception's type, for `Reason.PART_FAILED`."""
    of_video: bool = False
    """True for a frame or cover of a video that is not within another container."""

    def decoded(self, pictures: Sequence[str]) -> DecodedPicture | Reason | None:
        """Return its picture, or the reason why it has no digests; None if it is no picture.

        Raises:
            ValueError: our decoder could not have sent this reply.
        """
        if self.kind is None or not self.reply:
            return None
        return unpack_reply(self.reply, self.kind, pictures)


class Borders(IntEnum):
    """The uniform borders of frames."""

    NONE = 0
    WHOLE = 1
    """They have borders, and are hashed with them; the same frames without them are `TRIMMED`."""
    TRIMMED = 2
    """They are hashed without them."""


class SampledFrames(Struct, frozen=True):
    """Frames of a video, sampled for vPDQ; those of too low quality to be matched are left out."""

    place: bytes
    """Place of the video in the container, with the separator behind it; empty for the container itself."""
    borders: Borders
    turns: bytes
    """Indices in `variants.TURNS`."""
    values: bytes
    """Digests, `FRAME_SIZE` bytes each: of each frame, those of all turns."""

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.values) // (FRAME_SIZE * len(self.turns))


class ContainerEnd(Struct, frozen=True):
    """The totals of a container."""

    members: int
    size: int
    """Bytes of all members together."""
    reason: Reason | None = None
    """The reason why the rest was not read."""


class OpenedContainer(NamedTuple):
    """The members that were found in a container."""

    members: Sequence[Member]
    reason: Reason | None
    """The reason why the rest of it was not read."""
    sampled: Sequence[SampledFrames] = ()
    """Frames of the videos among them, or of the container itself."""


class ContainerError(Exception):
    """The error that the rest of a container can't be read."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def pack_member(member: Member) -> bytes:
    """Pack the record of a member; a place that is too long is cut."""
    place = member.place[:PLACE_MAX]
    head = _MEMBER_HEAD.pack(
        _MEMBER,
        _status(member.reason),
        0 if member.kind is None else 1 + FORMATS.index(member.kind),
        bool(member.exact) | member.of_video << 1,
        len(place),
        len(member.reply),
        member.size,
    )
    fault = pack_fault(member.reason, member.fault)
    return b"".join((head, fault, *member.exact, place, member.reply))


def pack_frames(frames: SampledFrames) -> bytes:
    """Pack a record of frames; a place that is too long is cut."""
    place = frames.place[:PLACE_MAX]
    head = _FRAMES_HEAD.pack(_FRAMES, frames.borders, len(frames.turns), frames.frames, len(place))
    return b"".join((head, frames.turns, place, frames.values))


def pack_end(end: ContainerEnd) -> bytes:
    """Pack the record at the end of a container."""
    return _END_HEAD.pack(_END, _status(end.reason), end.members, end.size)


def pack_record(record: Member | SampledFrames | ContainerEnd) -> bytes:
    """Pack any record."""
    if isinstance(record, SampledFrames):
        return pack_frames(record)
    return pack_member(record) if isinstance(record, Member) else pack_end(record)


BEFORE_RISK = Member(b"")
"""Stands before a member that may end the decoder: what precedes it is to be sent. It is no member."""


def pack_messages(records: Iterable[Member | SampledFrames | ContainerEnd]) -> Generator[bytes, None, bytes]:
    """Pack records, several in a message; the last message is the generator's value."""
    waiting = bytearray()
    for record in records:
        if record is BEFORE_RISK:
            packed = b""
        else:
            packed = pack_record(record)
            if len(waiting) + len(packed) <= _SENT_FROM:
                waiting += packed
                continue
        if waiting:
            yield bytes(waiting)
        waiting[:] = packed
    return bytes(waiting)


def unpack_records(message: bytes, exact: Sequence[str]) -> Iterator[Member | SampledFrames | ContainerEnd]:
    """Check and unpack the records of a message, but not the replies for pictures: see `Member.decoded`.

    Args:
        message: the untrusted bytes from the decoder.
        exact: names of the algorithms over bytes, in the decoder's order.

    Raises:
        ValueError: our decoder could not have sent them.
    """
    split = _digests_struct(tuple(exact))
    at = 0
    if not message:
        raise ValueError("no record")
    while at < len(message):
        left = len(message) - at
        if message[at] == _END and left == _END_HEAD.size:
            _, status, members, size = _END_HEAD.unpack_from(message, at)
            yield ContainerEnd(members, size, _reason(status))
            return
        if message[at] == _FRAMES:
            found, at = _unpack_frames(message, at)
            yield found
            continue
        if message[at] != _MEMBER or left < _MEMBER_HEAD.size:
            raise ValueError("record of an unknown type")
        _, status, kind, flags, place_length, reply_length, size = _MEMBER_HEAD.unpack_from(message, at)
        has_exact = flags & 1
        if flags > 3 or kind > len(FORMATS) or place_length > PLACE_MAX:
            raise ValueError("record with an impossible number")
        reason = _reason(status)
        fault, at = unpack_fault(reason, message, at + _MEMBER_HEAD.size)
        reply_at = at + has_exact * split.size + place_length
        if reply_at + reply_length > len(message):
            raise ValueError("record of wrong length")
        digests = split.unpack_from(message, at) if has_exact else ()
        member = Member(
            message[reply_at - place_length : reply_at],
            size,
            digests,
            FORMATS[kind - 1] if kind else None,
            message[reply_at : reply_at + reply_length],
            reason,
            fault,
            bool(flags & 2),
        )
        at = reply_at + reply_length
        if member.reply and (member.kind is None or member.kind.pillow is None):
            raise ValueError("record with a picture of no format")
        yield member


@lru_cache(maxsize=16)
def _digests_struct(exact: tuple[str, ...]) -> struct.Struct:
    """Return what unpacks the digests of these algorithms."""
    return struct.Struct("<" + "".join(f"{ALGORITHMS[name].size}s" for name in exact))


def _unpack_frames(message: bytes, at: int) -> tuple[SampledFrames, int]:
    """Return the frames of the record at a place of a message, and the place behind it."""
    if len(message) - at < _FRAMES_HEAD.size:
        raise ValueError("record of wrong length")
    _, borders, turns, frames, place_length = _FRAMES_HEAD.unpack_from(message, at)
    start = at + _FRAMES_HEAD.size
    place = start + turns
    values = place + place_length
    end = values + FRAME_SIZE * turns * frames
    if end > len(message):
        raise ValueError("record of wrong length")
    found = SampledFrames(message[place:values], Borders(borders), message[start:place], message[values:end])
    if place_length > PLACE_MAX or frames > FRAMES_MAX or not check_frames(found):
        raise ValueError("record of frames with an impossible number")
    return found, end


def check_frames(frames: SampledFrames) -> bool:
    """Return True if there are frames, and each has a digest for each of the turns."""
    turns = frames.turns
    return (
        0 < len(turns) == len(set(turns))
        and max(turns) < len(TURNS)
        and bool(frames.values)
        and not len(frames.values) % (FRAME_SIZE * len(turns))
    )


def digests_of(member: Member, exact: Sequence[str]) -> dict[str, bytes]:
    """Return the digests of a member's bytes by algorithm; empty for a frame."""
    return dict(zip(exact, member.exact, strict=True)) if member.exact else {}


def _status(reason: Reason | None) -> int:
    return 0 if reason is None else 1 + MEMBER_REASONS.index(reason)


def _reason(status: int) -> Reason | None:
    if status > len(MEMBER_REASONS):
        raise ValueError("record with an unknown reason")
    return MEMBER_REASONS[status - 1] if status else None
