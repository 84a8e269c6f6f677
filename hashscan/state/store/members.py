"""Store what is in an opened container: the digests of all its members, in one record beside its content.

Equal containers are one content, so they have one record. It holds what the verdict is derived from, and is
matched with new entries as contents are (`queries.retro_match`). A container with too many members has none,
and is read again by each scan.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from msgspec import MsgspecError, Struct, msgpack

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.member_records import Borders, Member, OpenedContainer, SampledFrames, check_frames
from hashscan.matching.evaluation import FileTask
from hashscan.model import Reason, StoredContentData
from hashscan.state.store.packing import Packed, pack, unpack

RECORD_MAX = 16 << 20
"""Longest record in bytes; the frames of nine hours of a video with borders are as long."""
_UNPACKED_MAX = 64 << 20


class _StoredMember(Struct, frozen=True, array_like=True):
    place: bytes
    size: int
    exact: tuple[bytes, ...]
    kind: int
    """Index of its picture's format; -1 where it has none."""
    packed: tuple[bytes, bytes, bytes] | None
    reason: Reason | None
    fault: str
    of_video: bool


class _StoredFrames(Struct, frozen=True, array_like=True):
    place: bytes
    borders: int
    turns: bytes
    values: bytes


class _StoredContainer(Struct, frozen=True, array_like=True):
    members: list[_StoredMember]
    reason: Reason | None
    """The reason why the rest was not read."""
    sampled: list[_StoredFrames]


def pack_members(found: OpenedContainer, pictures: Sequence[str]) -> bytes | None:
    """Return the record of a container; None if it would be too long."""
    members = [
        _StoredMember(
            member.place,
            member.size,
            member.exact,
            -1 if member.kind is None else FORMATS.index(member.kind),
            pack(member.reply, pictures) if member.reply else None,
            member.reason,
            member.fault,
            member.of_video,
        )
        for member in found.members
    ]
    sampled = [_StoredFrames(some.place, some.borders, some.turns, some.values) for some in found.sampled]
    document = msgpack.encode(_StoredContainer(members, found.reason, sampled))
    record = zlib.compress(document, 1)
    return record if len(record) <= RECORD_MAX and len(document) <= _UNPACKED_MAX else None


def to_keep(file: FileTask, pictures: Sequence[str]) -> StoredContentData | None:
    """Return the record that the state keeps of a file's content; None where the verdict depends on more."""
    if file.unreadable or not file.exact:
        return None
    members = None if file.members is None else pack_members(file.members, pictures)
    if file.looked_into and members is None:
        # A new entry could match a member whose digests are not kept.
        return None
    if file.reason in {Reason.COMPRESSED, Reason.PARTIAL, Reason.NAMED}:
        # The store's metadata or the name says so, not the content.
        return None
    decodable = file.kind is not None and file.kind.pillow is not None and bool(pictures)
    if decodable and not file.reply:
        return None
    kind = -1 if file.kind is None else FORMATS.index(file.kind)
    # Packed in the worker, so that the one process that writes the state does less.
    packed = pack(file.reply, pictures) if file.reply else None
    return StoredContentData(
        tuple(file.exact.values()), kind, packed, file.confirmed, file.ctime, not file.as_listed, members
    )


def unpack_members(record: bytes, pictures: Sequence[str]) -> OpenedContainer:
    """Return the members of a container.

    Args:
        pictures: the algorithms that its decoder was asked for, in that order.

    Raises:
        ValueError: it is not a result of `pack_members` with these algorithms.
    """
    unpacking = zlib.decompressobj()
    try:
        document = unpacking.decompress(record, _UNPACKED_MAX)
        if not unpacking.eof:
            raise ValueError("a record of members is cut short, or too long")
        stored = msgpack.decode(document, type=_StoredContainer)
    except (zlib.error, MsgspecError) as error:
        raise ValueError(f"a record of members is damaged: {error}") from error
    return OpenedContainer(list(_members(stored, pictures)), stored.reason, list(_sampled(stored)))


def _sampled(stored: _StoredContainer) -> Iterator[SampledFrames]:
    for one in stored.sampled:
        frames = SampledFrames(one.place, Borders(one.borders), one.turns, one.values)
        if not check_frames(frames):
            raise ValueError("the frames of a video have an impossible number")
        yield frames


def _members(stored: _StoredContainer, pictures: Sequence[str]) -> Iterator[Member]:
    for one in stored.members:
        if not -1 <= one.kind < len(FORMATS):
            raise ValueError("a member has a format that isn't known")
        yield Member(
            one.place,
            one.size,
            one.exact,
            None if one.kind < 0 else FORMATS[one.kind],
            b"" if one.packed is None else unpack(Packed(*one.packed), pictures),
            one.reason,
            one.fault,
            one.of_video,
        )
