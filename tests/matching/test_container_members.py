"""Frames of videos from a decoder that may have been taken over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hashscan.hashing.member_records import (
    FRAME_SIZE,
    FRAMES_MAX,
    Borders,
    ContainerEnd,
    Member,
    SampledFrames,
    pack_record,
)
from hashscan.lists.storage.columns import ListHandle
from hashscan.lists.storage.video_frames import FrameId
from hashscan.matching import container_members
from hashscan.matching.container_members import MemberMatching
from hashscan.matching.evaluation import Matcher
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALWAYS_COMPUTED, CATEGORIES, Entry, FileStat, Item
from hashscan.sandbox.client import SandboxOptions
from tests.lists.storage.test_column_writer import written

ITEM = Item(b"film.mp4", FileStat(0, 0, 0, 0, 0, 0, 0))
NOTHING = bytes(16), bytes(20), bytes(32)


def digest(number: int) -> bytes:
    return np.random.default_rng(number).bytes(FRAME_SIZE)


def frames(
    *numbers: int, place: bytes = b"", borders: Borders = Borders.NONE, turns: bytes = b"\0"
) -> SampledFrames:
    return SampledFrames(place, borders, turns, b"".join(map(digest, numbers)))


@pytest.fixture
def matching(tmp_path: Path) -> MemberMatching:
    """A list of two videos of four and of two frames."""
    entries = [
        Entry(str(FrameId(name, number, len(of))), "vpdq", digest(number), "A1")
        for name, of in (("four", range(4)), ("two", range(10, 12)))
        for number in of
    ]
    handle = ListHandle("ours", 1, tmp_path, CATEGORIES, written(tmp_path, entries))
    setup = WorkerSetup((handle,), SandboxOptions("auto"), ALWAYS_COMPUTED, 1 << 20, keep=True)
    return MemberMatching(Matcher(setup.lists), ITEM, setup, "MP4 or QuickTime")


def found(
    matching: MemberMatching, *records: Member | SampledFrames | ContainerEnd
) -> list[tuple[str, str, int, int, str]]:
    for record in records:
        matching.take(pack_record(record))
    return [(m.entry_id, m.member, m.distance, m.scanned_share, m.variant) for m in matching.match()]


def test_the_frames_of_a_video_are_put_together(matching: MemberMatching) -> None:
    records = frames(0, 1), frames(2, 70), frames(3)
    assert found(matching, *records, ContainerEnd(0, 0)) == [("four", "", 0, 80, "as stored")]
    assert matching.opened is not None
    assert list(matching.opened.sampled) == list(records)


def test_frames_of_several_videos_are_not_put_together(matching: MemberMatching) -> None:
    records = (frames(0, 1, place=b"a@"), frames(2, 3, place=b"b@"), frames(2, 3, place=b"c@"))
    assert found(matching, *records, frames(10, 11, place=b"c@")) == [("two", "c", 0, 50, "as stored")]


def test_each_variant_is_a_sequence_of_its_own(matching: MemberMatching) -> None:
    whole, trimmed, plain = (
        frames(80, 0, 81, 1, borders=Borders.WHOLE, turns=b"\0\4"),
        frames(10, 82, 83, 84, borders=Borders.TRIMMED, turns=b"\0\4"),
        frames(11, 2, 85, 3, turns=b"\0\4"),
    )
    assert sorted(found(matching, whole, trimmed, plain)) == [
        ("four", "", 0, 100, "mirrored"),
        ("two", "", 0, 50, "borders trimmed"),
    ]


def test_an_intruder_can_fill_neither_memory_nor_the_state(
    matching: MemberMatching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_members, "_FRAMES_MAX", 3 * FRAMES_MAX)
    monkeypatch.setattr(container_members, "_KEPT_BYTES_MAX", 8 * FRAMES_MAX * FRAME_SIZE)
    many = range(FRAMES_MAX)
    for place in b"a@", b"b@", b"c@":
        for _ in range(3):
            matching.take(pack_record(frames(*many, place=place)))
    with pytest.raises(ValueError, match="more frames"):
        matching.take(pack_record(frames(1, place=b"c@")))
    matching.take(pack_record(ContainerEnd(0, 0)))
    assert matching.opened is None
    with pytest.raises(ValueError, match="after the end"):
        matching.take(pack_record(frames(1)))


def test_a_part_of_a_video_is_matched_where_the_decoder_is_lost(matching: MemberMatching) -> None:
    assert found(matching, frames(0, 1, 2, 3))[0][0] == "four"
    with pytest.raises(ValueError, match="no end"):
        matching.finish()


def test_a_member_between_its_frames_changes_nothing(matching: MemberMatching) -> None:
    member = Member(b"a", 3, NOTHING)
    records = frames(0, 1, place=b"a@"), Member(b"a@cover=1", 3, NOTHING), frames(2, 3, place=b"a@")
    assert found(matching, member, *records) == [("four", "a", 0, 100, "as stored")]
