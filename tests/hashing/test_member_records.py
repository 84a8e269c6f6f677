"""Records of members of containers: packed, checked, and hostile."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.member_records import (
    MEMBER_REASONS,
    PLACE_MAX,
    ContainerEnd,
    Member,
    pack_end,
    pack_member,
    pack_record,
    unpack_record,
)
from hashscan.hashing.records import pack_failure
from hashscan.model import Reason

EXACT, PICTURES = ("md5", "sha256"), ("pdq",)
DIGESTS = (hashlib.md5(b"").digest(), hashlib.sha256(b"").digest())

reasons = st.none() | st.sampled_from(MEMBER_REASONS)
members = st.builds(
    Member,
    st.binary(max_size=PLACE_MAX),
    st.integers(0, 2**64 - 1),
    st.sampled_from([(), DIGESTS]),
    reason=reasons,
)
ends = st.builds(ContainerEnd, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), reasons)


@given(members | ends)
def test_what_is_packed_is_unpacked(record: Member | ContainerEnd) -> None:
    assert unpack_record(pack_record(record), EXACT, PICTURES) == record


def test_a_picture_that_was_not_decoded() -> None:
    member = Member(b"a.png", 5, DIGESTS, FORMATS[1], pack_failure(Reason.BROKEN))
    found = unpack_record(pack_member(member), EXACT, PICTURES)
    assert isinstance(found, Member)
    assert found.decoded(PICTURES) is Reason.BROKEN


def test_a_long_place_is_cut() -> None:
    found = unpack_record(pack_member(Member(b"a" * 70_000)), EXACT, PICTURES)
    assert isinstance(found, Member)
    assert found.place == b"a" * PLACE_MAX


@given(st.one_of(st.binary(max_size=200), st.builds(bytes.__add__, members.map(pack_member), st.binary())))
def test_any_bytes(record: bytes) -> None:
    try:
        found = unpack_record(record, EXACT, PICTURES)
    except ValueError:
        return
    assert pack_record(found) == record


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\0",
        b"\3" + pack_end(ContainerEnd(0, 0))[1:],
        pack_end(ContainerEnd(0, 0)) + b"x",
        pack_end(ContainerEnd(0, 0))[:1] + b"\xff" + pack_end(ContainerEnd(0, 0))[2:],
        pack_member(Member(b"a"))[:-1],
        pack_member(Member(b"a", kind=FORMATS[-1], reply=b"x" * 16)),
        pack_member(Member(b"a", kind=FORMATS[0], reply=b"x")),
        pack_member(Member(b"a"))[:3] + b"\2" + pack_member(Member(b"a"))[4:],
    ],
)
def test_hostile_records(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|reply"):
        unpack_record(record, EXACT, PICTURES)
