"""The output of the reference implementation of vPDQ as entries."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import ListFormatError
from hashscan.lists.formats import vpdq
from hashscan.lists.storage.video_frames import FrameId, parse_id
from tests.examples import examples
from tests.lists.formats.reading import new, read

Video = list[tuple[int, int, int]]
"""Frame number, quality and value of each frame."""

VIDEOS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 10**9 - 1), st.integers(0, 100), st.integers(0, 5)),
        min_size=1,
        max_size=12,
        unique_by=lambda frame: frame[0],
    ).map(sorted),
    max_size=4,
)


def written(video: Video) -> str:
    return "".join(f"{frame},{quality},{value:064x},{frame / 25:.3f}\n" for frame, quality, value in video)


@given(videos=VIDEOS)
@settings(deadline=None, max_examples=examples(100))
def test_entries_are_the_frames_that_the_match_rule_compares(videos: list[Video]) -> None:
    # A video that begins after the last frame of the former would continue it.
    videos = [[(0, *video[0][1:]), *video[1:]] for video in videos]
    found: dict[str, list[tuple[FrameId, int]]] = {}
    for entry in read("vpdq", "".join(map(written, videos)).encode()):
        parsed = parse_id(entry.id)
        assert parsed is not None
        found.setdefault(parsed.video, []).append((parsed, int.from_bytes(entry.value)))
    expected = {}
    for video in videos:
        first: dict[int, int] = {}
        for frame, quality, value in video:
            if quality >= 50:
                first.setdefault(value, frame)
        if first:
            expected[tuple((frame, len(first), value) for value, frame in first.items())] = True
    frames = {
        tuple(dict.fromkeys((parsed.frame, parsed.frames, value) for parsed, value in each))
        for each in found.values()
    }
    assert frames == set(expected)


def test_frames_that_are_no_entries_are_counted() -> None:
    reader = new("vpdq")
    text = written([(0, 49, 1), (1, 50, 1), (2, 100, 1), (3, 0, 2)])
    (block,) = reader.blocks(io.BytesIO(text.encode()), "file")
    assert block.ids[0].endswith(b"@1/1")
    assert sorted(reader.left_out.values()) == [1, 2]


def test_a_video_has_one_id_however_often_it_is_given() -> None:
    video = written([(0, 90, 1), (30, 90, 2)])
    once, twice = read("vpdq", video.encode()), read("vpdq", (video * 2).encode())
    assert set(once) == set(twice)
    assert {entry.id for entry in once}.isdisjoint(
        entry.id for entry in read("vpdq", video.replace("30,", "29,").encode())
    )


def test_an_endless_video_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vpdq, "FRAMES_MAX", 3)
    assert len(read("vpdq", written([(n, 90, n) for n in range(3)]).encode())) == 3
    with pytest.raises(ListFormatError, match="line 4"):
        read("vpdq", written([(n, 90, n % 2) for n in range(4)]).encode())
