"""Each bound within videos at its edge: met, all frames are looked at; beyond it the video is in doubt."""

from __future__ import annotations

import itertools

import pytest

from hashscan.hashing.pread import PreadFile
from hashscan.hashing.video import covers, opening, streams
from hashscan.model import Reason
from tests.hashing.video.drawn import scenes, video
from tests.hashing.video.test_covers import ape, mp3, picture
from tests.hashing.video.test_opening import Look, look, opener, places_of

__all__ = ["look", "opener"]  # fixtures


@pytest.mark.parametrize(("tracks", "reason"), [(8, None), (9, Reason.CONTAINER_MEMBERS)])
def test_video_streams(look: Look, tracks: int, reason: Reason | None) -> None:
    content = video(scenes([1], frames=2), codec="mpeg4", tracks=tracks)
    members, found, _ = look(content)
    assert (bool(places_of(members, 1)), found) == (True, reason)


@pytest.mark.parametrize(("members", "reason"), [(3, None), (2, Reason.CONTAINER_MEMBERS)])
def test_frames_that_differ(look: Look, members: int, reason: Reason | None) -> None:
    content = video(scenes([1, 1, 1, 2, 3]), codec="ffv1")
    assert look(content, members=members)[1] is reason


@pytest.mark.parametrize("compared", [1, 2])
def test_a_frame_is_kept_again_if_too_many_others_are_between(
    look: Look, monkeypatch: pytest.MonkeyPatch, compared: int
) -> None:
    monkeypatch.setattr(opening, "_COMPARED", compared)
    members, reason, _ = look(video(scenes([1, 2, 1]), codec="mjpeg", pixels="yuvj420p"))
    assert (len(places_of(members, 1)), len(places_of(members, 2)), reason) == (3 - compared, 1, None)


@pytest.mark.parametrize("reordered", [1, 2, 64])
def test_frames_that_are_stored_before_earlier_ones_hide_none_that_is_shown_long(
    look: Look, monkeypatch: pytest.MonkeyPatch, reordered: int
) -> None:
    monkeypatch.setattr(streams, "_REORDERED", reordered)
    seeds = [1, 1, 1, 1, 2, 1, 1, 1, 1]
    shown = list(itertools.accumulate((20 if seed == 2 else 1 for seed in seeds), initial=0))[:-1]
    options = {"sc_threshold": "0", "bf": "3", "b-adapt": "0"}
    content = video(scenes(seeds, frames=1), form="mp4", gop=30, options=options, shown=shown)
    members, reason, _ = look(content)
    assert (bool(places_of(members, 2)), reason) == (True, None)


@pytest.mark.parametrize("more", [0, 1])
def test_a_tag_is_looked_for_at_the_end(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """As by players, which expect other tags behind it alone."""
    monkeypatch.setattr(covers, "_TAIL", 4096)
    content = mp3() + ape(picture()) + bytes(4096 - 32 + more)
    assert len(list(covers.tags_behind(PreadFile(content)))) == 1 - more


def test_the_tail_holds_other_tags() -> None:
    """Lyrics3v2 and ID3v1 are the tags that may follow one of APE; the former has 99,999 bytes at most."""
    content = mp3() + ape(picture()) + b"LYRICSBEGIN".ljust(99_999) + b"099999LYRICS200" + b"TAG" + bytes(125)
    assert len(list(covers.tags_behind(PreadFile(content)))) == 1
