"""The match rule of vPDQ over an index, beside a plain reading of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.lists.index import video_matching
from hashscan.lists.index.compiled_index import CompiledIndex
from hashscan.lists.index.video_matching import VideoIndex, VideoMatch, VideoRule
from hashscan.lists.storage.columns import ListHandle
from hashscan.lists.storage.video_frames import FrameId
from hashscan.model import CATEGORIES, Entry
from tests.examples import examples
from tests.lists.storage.test_column_writer import written

Video = list[bytes]
"""PDQ of each frame."""


def near(value: int, bits: int) -> bytes:
    """A digest that differs from `near(value, 0)` in so many bits."""
    plain = int.from_bytes(np.random.default_rng(value).bytes(32))
    return (plain ^ ((1 << bits) - 1)).to_bytes(32)


FRAMES = st.builds(near, st.integers(0, 6), st.sampled_from([0, 0, 1, 16, 31, 32, 60]))
VIDEOS = st.lists(FRAMES, max_size=12)


def entries_of(name: str, video: Video) -> list[Entry]:
    frames = list(dict.fromkeys(video))
    return [
        Entry(str(FrameId(name, number, len(frames))), "vpdq", value, "A1")
        for number, value in enumerate(frames)
    ]


def share(of: Sequence[bytes], other: Sequence[bytes], distance: int) -> float:
    found = sum(
        any((int.from_bytes(a) ^ int.from_bytes(b)).bit_count() <= distance for b in other) for a in of
    )
    return found * 100 / len(of)


def plainly(listed: dict[str, Video], scanned: Video, rule: VideoRule) -> list[VideoMatch]:
    """Compare each listed video with the scanned one as python-threatexchange does."""
    query = list(dict.fromkeys(scanned))
    found = []
    for name, video in listed.items():
        if (frames := list(dict.fromkeys(video))) and query:
            match = VideoMatch(
                "ours", name, "A1", share(frames, query, rule.distance), share(query, frames, rule.distance)
            )
            enough = (
                match.listed_percent >= rule.listed_percent and match.scanned_percent >= rule.scanned_percent
            )
            # The index names no video without a near frame, so a rule of 0 % for both is left out.
            if enough and match.listed_percent:
                found.append(match)
    return sorted(found, key=lambda match: (-match.listed_percent, -match.scanned_percent, *match[:3]))


_RULE = VideoRule()


def matches(folder: Path, entries: list[Entry], scanned: Video, rule: VideoRule = _RULE) -> list[VideoMatch]:
    handle = ListHandle("ours", 1, folder, CATEGORIES, written(folder, entries) if entries else ())
    index = VideoIndex(CompiledIndex.open([handle], algorithms=["vpdq"]))
    return index.matches(np.frombuffer(b"".join(scanned), np.uint8).reshape(-1, 32), rule)


@given(
    listed=st.lists(VIDEOS, max_size=5),
    scanned=VIDEOS,
    rule=st.builds(
        VideoRule,
        distance=st.sampled_from([0, 16, 31, 40]),
        listed_percent=st.sampled_from([0.0, 1.0, 50.0, 80.0, 100.0]),
        scanned_percent=st.sampled_from([0.0, 50.0, 100.0]),
    ),
    together=st.sampled_from([1, 3, 64]),
)
@settings(deadline=None, max_examples=examples(150))
def test_videos_are_found_as_by_comparing_each_with_each(
    listed: list[Video], scanned: Video, rule: VideoRule, together: int
) -> None:
    named = {f"v{number}": video for number, video in enumerate(listed)}
    entries = [entry for name, video in named.items() for entry in entries_of(name, video)]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_matching, "_TOGETHER", together)
        assert matches(Path(folder), entries, scanned, rule) == plainly(named, scanned, rule)


def test_an_entry_whose_id_names_no_frame_is_a_video_of_one(tmp_path: Path) -> None:
    (found,) = matches(tmp_path, [Entry("odd", "vpdq", near(1, 0), "B1")], [near(1, 31), near(2, 0)])
    assert found == VideoMatch("ours", "odd", "B1", 100.0, 50.0)


def test_withdrawn_frames_make_the_share_no_larger_than_all(tmp_path: Path) -> None:
    entries = [Entry(f"v@{n}/1", "vpdq", near(n, 0), "A1") for n in range(3)]
    (found,) = matches(tmp_path, entries, [near(n, 0) for n in range(3)])
    assert found.listed_percent == 100.0


def test_the_index_of_files_has_no_videos(tmp_path: Path) -> None:
    handle = ListHandle("ours", 1, tmp_path, CATEGORIES, written(tmp_path, entries_of("v", [near(1, 0)])))
    assert not CompiledIndex.open([handle]).algorithms
