"""Records of members of containers: packed, checked, and hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.member_records import (
    BEFORE_RISK,
    FRAME_SIZE,
    FRAMES_MAX,
    MEMBER_REASONS,
    PLACE_MAX,
    RECORD_MAX,
    Borders,
    ContainerEnd,
    Member,
    SampledFrames,
    pack_end,
    pack_frames,
    pack_member,
    pack_messages,
    pack_record,
    unpack_records,
)
from hashscan.hashing.records import pack_failure
from hashscan.model import Reason

EXACT, PICTURES = ("md5", "sha256"), ("pdq",)
DIGESTS = (hashlib.md5(b"").digest(), hashlib.sha256(b"").digest())

FRAME = Borders.NONE, b"\0", bytes(FRAME_SIZE)

reasons = st.none() | st.sampled_from(MEMBER_REASONS)
members = st.builds(
    Member,
    st.binary(max_size=PLACE_MAX),
    st.integers(0, 2**64 - 1),
    st.sampled_from([(), DIGESTS]),
    reason=reasons,
    of_video=st.booleans(),
)
ends = st.builds(ContainerEnd, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), reasons)

frames = st.builds(
    lambda place, borders, turns, number: SampledFrames(
        place, borders, bytes(turns), bytes(FRAME_SIZE * len(turns) * number)
    ),
    st.binary(max_size=PLACE_MAX),
    st.sampled_from(Borders),
    st.lists(st.integers(0, 8), min_size=1, unique=True),
    st.integers(1, FRAMES_MAX),
)


def unpacked(message: bytes) -> list[Member | SampledFrames | ContainerEnd]:
    found = list(unpack_records(message, EXACT))
    for record in found:
        if isinstance(record, Member):
            record.decoded(PICTURES)
    return found


def messages(records: Sequence[Member | SampledFrames | ContainerEnd]) -> list[bytes]:
    packing, sent = pack_messages(records), []
    while True:
        try:
            sent.append(next(packing))
        except StopIteration as end:
            return [*sent, end.value]


@given(st.lists(members | frames, max_size=20), ends)
def test_records_are_sent_together_and_none_is_lost(
    found: list[Member | SampledFrames], end: ContainerEnd
) -> None:
    sent = messages([*found, end])
    assert all(0 < len(message) <= RECORD_MAX for message in sent)
    assert [record for message in sent for record in unpacked(message)] == [*found, end]


def test_records_before_a_picture_are_sent_before_it_is_decoded() -> None:
    text, picture, end = Member(b"a.txt"), Member(b"b.jpg"), ContainerEnd(2, 0)
    sent = messages([BEFORE_RISK, text, BEFORE_RISK, BEFORE_RISK, picture, end])
    assert list(map(unpacked, sent)) == [[text], [picture, end]]


@given(members | frames | ends)
def test_what_is_packed_is_unpacked(record: Member | SampledFrames | ContainerEnd) -> None:
    assert unpacked(pack_record(record)) == [record]


def test_a_picture_that_was_not_decoded() -> None:
    member = Member(b"a.png", 5, DIGESTS, FORMATS[1], pack_failure(Reason.BROKEN))
    (found,) = unpacked(pack_member(member))
    assert isinstance(found, Member)
    assert found.decoded(PICTURES) is Reason.BROKEN


def test_a_long_place_is_cut() -> None:
    (found,) = unpacked(pack_member(Member(b"a" * 70_000)))
    assert isinstance(found, Member)
    assert found.place == b"a" * PLACE_MAX
    (found,) = unpacked(pack_frames(SampledFrames(b"a" * 70_000, *FRAME)))
    assert isinstance(found, SampledFrames)
    assert found.place == b"a" * PLACE_MAX


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(bytes.__add__, (members | frames).map(pack_record), st.binary()),
        st.builds(bytes.__add__, st.just(b"\3"), st.binary(min_size=100, max_size=200)),
    )
)
def test_any_bytes(record: bytes) -> None:
    try:
        found = unpacked(record)
    except ValueError:
        return
    assert b"".join(map(pack_record, found)) == record


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\0",
        b"\3" + pack_end(ContainerEnd(0, 0))[1:],
        b"\4" + pack_end(ContainerEnd(0, 0))[1:],
        b"\3\0",
        pack_frames(SampledFrames(b"", *FRAME))[:-1],
        pack_frames(SampledFrames(b"", Borders.NONE, b"\0", b"")),
        b"\3\0\0\1\0\0" + bytes(32),
        pack_frames(SampledFrames(b"", Borders.NONE, b"\0\0", bytes(64))),
        pack_frames(SampledFrames(b"", Borders.NONE, b"\x09", bytes(32))),
        pack_frames(SampledFrames(b"", Borders.NONE, b"\0", bytes(32 * (FRAMES_MAX + 1)))),
        b"\3\3" + pack_frames(SampledFrames(b"", *FRAME))[2:],
        pack_end(ContainerEnd(0, 0)) + b"x",
        pack_end(ContainerEnd(0, 0))[:1] + b"\xff" + pack_end(ContainerEnd(0, 0))[2:],
        pack_member(Member(b"a"))[:-1],
        pack_member(Member(b"a", kind=FORMATS[-1], reply=b"x" * 16)),
        pack_member(Member(b"a", kind=FORMATS[0], reply=b"x")),
        pack_member(Member(b"a"))[:3] + b"\4" + pack_member(Member(b"a"))[4:],
    ],
)
def test_hostile_records(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|reply|Borders"):
        unpacked(record)
