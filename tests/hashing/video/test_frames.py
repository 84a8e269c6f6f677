"""Frames of videos: which are hashed, at which time, and what becomes of hostile and damaged files."""

from __future__ import annotations

import io
import os
import struct
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hashscan.hashing.pdq import PDQ
from hashscan.hashing.video import streams
from hashscan.hashing.video.frames import (
    Fault,
    VideoCover,
    VideoEnd,
    VideoLimits,
    hash_video,
)
from hashscan.hashing.video.streams import Sampling
from tests.examples import examples
from tests.hashing.video.drawn import RATE, Content, digest, nearest, read, scenes, video
from tests.pictures import scene

NEAR = 31

FILES = [
    ("mp4", "libx264", "yuv420p"),
    ("matroska", "libx265", "yuv420p10le"),
    ("webm", "libvpx-vp9", "yuv420p"),
    ("webm", "libvpx", "yuv420p"),
    ("mp4", "libsvtav1", "yuv420p"),
    ("avi", "mpeg4", "yuv420p"),
    ("flv", "flv", "yuv420p"),
    ("mpegts", "mpeg2video", "yuv420p"),
    ("mov", "mjpeg", "yuvj420p"),
    ("asf", "wmv2", "yuv420p"),
    ("mov", "prores_ks", "yuv422p10le"),
]
OPTIONS = {
    "libx265": {"x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
}


@cache
def of_codec(form: str, codec: str, pixels: str, seeds: range = range(3)) -> bytes:
    return video(scenes(seeds), form=form, codec=codec, pixels=pixels, options=OPTIONS.get(codec, {}))


@pytest.mark.parametrize(("form", "codec", "pixels"), FILES)
def test_key_frames_are_hashed_with_their_times(form: str, codec: str, pixels: str) -> None:
    found, end = read(of_codec(form, codec, pixels))
    assert end.fault is None
    assert end.until == pytest.approx(2.9, abs=0.11)
    for number in range(3):
        near = [frame for frame in found if nearest(frame, scene(number, 160, 120)) <= NEAR]
        assert near
        assert min(abs(frame.seconds - number) for frame in near) <= 0.5
    assert all(any(nearest(frame, scene(n, 160, 120)) <= NEAR for n in range(3)) for frame in found)


def test_encoding_leaves_the_priority_of_the_process_as_it_is() -> None:
    before = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    of_codec("mp4", "libsvtav1", "yuv420p", range(1))
    assert (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)) == before


@pytest.mark.parametrize(("form", "codec", "pixels"), FILES)
def test_vpdq_takes_a_frame_a_second(form: str, codec: str, pixels: str) -> None:
    found, end = read(of_codec(form, codec, pixels), Sampling.VPDQ)
    assert (end.fault, end.hashed) == (None, 3)
    assert [(frame.number, frame.seconds) for frame in found] == [(RATE * n, float(n)) for n in range(3)]
    for number, frame in enumerate(found):
        assert nearest(frame, scene(number, 160, 120), plain=True) <= 20


def test_few_key_frames_show_as_a_long_gap() -> None:
    content = video(scenes([1]) * 3 + scenes([2]) * 3, gop=1000, options={"sc_threshold": "0"})
    found, end = read(content)
    assert len(found) == 1
    assert end.longest_gap == end.until == pytest.approx(5.9)
    assert read(content, Sampling.VPDQ)[1].longest_gap < 0.2


def test_equal_frames_are_yielded_once() -> None:
    content = video(scenes([1, 1, 1, 2, 1]), codec="ffv1", form="matroska", pixels="yuv420p")
    found, _ = read(content)
    assert [frame.number for frame in found] == [0, 30, 40]
    assert len(read(content, Sampling.VPDQ)[0]) == 5


def test_a_codec_of_whole_frames_is_not_decoded_in_full() -> None:
    pictures = [scene(seed, 160, 120) for seed in range(30)]
    found, end = read(video(pictures, form="avi", codec="mjpeg", pixels="yuvj420p"))
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.5, 2.9])
    assert end.fault is None


def test_false_times_hide_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_INTRA_FRAMES", 4)
    pictures = [scene(seed, 160, 120) for seed in range(20)]
    close = video(pictures, codec="mjpeg", pixels="yuvj420p", times=[n // 10 for n in range(20)])
    assert len(read(close)[0]) >= 4


@pytest.mark.parametrize("times", [[0, 1, 2**40], [2**33, 2**33 + 1, 2**33 + 2], [-5, -4, -3]])
def test_absurd_times(times: list[int]) -> None:
    found, end = read(video(scenes([1, 2, 3], 1), form="nut", codec="mpeg4", gop=1, times=times))
    assert len(found) == 3
    assert end.until <= 1e7


def test_a_stream_without_times() -> None:
    found, end = read(of_codec("h264", "libx264", "yuv420p"))
    assert len(found) == 3
    assert end.fault is None
    assert found[1].seconds > found[0].seconds


@pytest.mark.parametrize("turned", [90, -90, 180])
def test_a_turned_video_is_hashed_as_shown(turned: int) -> None:
    (frame, *_), _ = read(video(scenes([4]), form="mp4", turned=turned))
    upright = scene(4, 160, 120).rotate(turned, expand=True)
    shown = [each for each in frame.runs[0].digests() if each.shown]
    assert len(shown) == 1
    assert shown[0].variant.endswith("as shown")
    only = frame._replace(runs=(frame.runs[0].parted(range(9))[0].parted([shown[0].turn])[0],))
    assert nearest(only, upright) <= 12


def test_mirrored_and_letterboxed_videos_are_found() -> None:
    inside = ImageOps.mirror(scene(5, 160, 120))
    boxed = Image.new("RGB", (160, 200))
    boxed.paste(inside, (0, 40))
    (frame, *_), _ = read(video([boxed] * 5))
    assert nearest(frame, scene(5, 160, 120)) <= NEAR
    assert nearest(frame, scene(5, 160, 120), plain=True) > NEAR


def test_the_size_changes_in_mid_stream() -> None:
    parts = [video(scenes([n], size=size), form="h264") for n, size in enumerate([(160, 120), (320, 240)])]
    for sampling in set(Sampling) - {Sampling.LONG}:
        found, end = read(b"".join(parts), sampling)
        assert end.fault is None
        found = [frame for frame in found if frame.sampled is (sampling is Sampling.VPDQ)]
        assert {round(nearest(frame, scene(n, 160, 120)) / 40) for n, frame in enumerate(found[:2])} == {0}


def test_interlaced() -> None:
    options = {"flags": "+ildct+ilme"}
    found, _ = read(video(scenes([6, 7]), form="mpegts", codec="mpeg2video", options=options))
    assert nearest(found[0], scene(6, 160, 120)) <= NEAR


def with_cover() -> bytes:
    output = io.BytesIO()
    with av.open(output, "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 160, 120, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = container.add_stream("libx264", rate=RATE)
        film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_image(scene(8, 160, 120))))
        container.mux(cover.encode(None))
        for picture in scenes([9, 10]):
            container.mux(film.encode(av.VideoFrame.from_image(picture)))
        container.mux(film.encode(None))
    return output.getvalue()


def test_a_cover_is_yielded_as_it_is_stored() -> None:
    content = with_cover()
    records = hash_video(Content(content), [PDQ()], Sampling.KEY_FRAMES, VideoLimits())
    (cover,) = [record for record in records if isinstance(record, VideoCover)]
    assert cover.content in content
    found = digest(Image.open(io.BytesIO(cover.content)))
    assert (found ^ digest(scene(8, 160, 120))).bit_count() <= NEAR
    found, _ = read(content)
    assert len(found) == 2
    assert any(nearest(frame, scene(9, 160, 120)) <= NEAR for frame in found)
    found, _ = read(content, Sampling.VPDQ)
    assert nearest(found[0], scene(9, 160, 120), plain=True) <= NEAR


def test_limits() -> None:
    content = video(scenes(range(4)))
    found, end = read(content, limits=VideoLimits(frames=2))
    assert (len(found), end.fault) == (2, Fault.TOO_MANY)
    assert end.until < 3
    found, end = read(content, limits=VideoLimits(seconds=-1))
    assert (found, end.fault) == ([], Fault.TIMEOUT)
    for codec in ("libx264", "mpeg4", "mjpeg"):
        large = video(scenes(range(2)), codec=codec, pixels="yuvj420p" if codec == "mjpeg" else "yuv420p")
        found, end = read(large, limits=VideoLimits(pixels=1000))
        assert (found, end.fault) == ([], Fault.TOO_LARGE)


@pytest.mark.parametrize(
    ("form", "codec"), [("m4v", "mpeg4"), ("h264", "libx264"), ("mpeg2video", "mpeg2video")]
)
def test_a_stream_without_a_container_over_the_limit_of_pixels(form: str, codec: str) -> None:
    large = video(scenes(range(2), 4, (352, 288)), form=form, codec=codec, rate=25)
    found, end = read(large, limits=VideoLimits(pixels=1000))
    assert (found, end.fault) == ([], Fault.TOO_LARGE)


def test_a_frame_without_a_size_is_broken_and_not_too_large() -> None:
    """FFmpeg refuses both with the same error."""
    large = bytearray(video(scenes(range(2), 4, (352, 288)), form="h263", codec="h263", rate=25))
    # The format of its picture, which is reserved.
    large[4] &= 0xE3
    found, end = read(bytes(large[:60]) + bytes(3000), limits=VideoLimits(pixels=1000))
    assert (found, end.fault) == ([], Fault.BROKEN)


def test_many_tracks() -> None:
    content = video(scenes([1], 2), tracks=12)
    found, end = read(content)
    assert end.fault is Fault.TOO_MANY
    assert {frame.stream for frame in found} == set(range(8))
    assert read(content, Sampling.VPDQ)[1].fault is None


def boxes(content: bytes, name: bytes) -> tuple[int, int]:
    """Place and length of the first box of an MP4 with this name."""
    at = content.index(name) - 4
    return at, struct.unpack_from(">I", content, at)[0]


def test_ten_thousand_tracks() -> None:
    content = video(scenes([1], 2), form="mp4")
    (moov, moov_size), (trak, trak_size) = boxes(content, b"moov"), boxes(content, b"trak")
    more = content[trak : trak + trak_size] * 10_000
    hostile = bytearray(content[: trak + trak_size] + more + content[trak + trak_size :])
    struct.pack_into(">I", hostile, moov, moov_size + len(more))
    _, end = read(bytes(hostile))
    assert end.fault is not None


def test_a_codec_that_is_not_known() -> None:
    content = video(scenes([1], 2), form="mp4")
    found, end = read(content.replace(b"avc1", b"zzzz"))
    assert (found, end.fault) == ([], Fault.NO_CODEC)


def test_no_video() -> None:
    output = io.BytesIO()
    with av.open(output, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found, end = read(output.getvalue())
    assert (found, end.fault) == ([], None)


@pytest.mark.parametrize("name", ["hls", "concat", "dash", "dref"])
def test_no_other_file_is_opened(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(video(scenes([1, 2]), form="mp4"))
    if name == "dref":
        content = other.read_bytes().replace(b"url \0\0\0\1", b"url \0\0\0\0")
    else:
        content = {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile '{other}'\n",
            "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
            f"<AdaptationSet><Representation><BaseURL>{other}</BaseURL></Representation></AdaptationSet>"
            "</Period></MPD>",
        }[name].encode()
    found, end = read(content)
    if name != "dref":
        assert not found
        assert end.fault in {Fault.BROKEN, Fault.UNSUPPORTED}


@pytest.mark.parametrize("form", ["mp4", "matroska", "mpegts", "avi"])
def test_a_truncated_file_ends_with_a_fault(form: str) -> None:
    codec = "mpeg4" if form == "avi" else "libx264"
    options = {"x264-params": "keyint=10"} if codec == "libx264" else {}
    content = video(scenes(range(20)), form=form, codec=codec, options=options)
    found, end = read(content[: len(content) // 2])
    if form == "mp4":
        assert (found, end.fault) == ([], Fault.BROKEN), "its index is at its end"
    else:
        assert 5 <= len(found) < 20
        # A transport stream doesn't say how long it is.
        assert form == "mpegts" or end.fault in {Fault.TRUNCATED, Fault.BROKEN}
        assert end.until < 19


def test_corrupt_packets_lose_only_what_they_hold() -> None:
    content = bytearray(video(scenes(range(10)), form="matroska"))
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    found, _ = read(bytes(content))
    near = {n for n in range(10) for frame in found if nearest(frame, scene(n, 160, 120)) <= NEAR}
    assert {0, 9} <= near


class Endless(Content):
    """A transport stream that begins again for ever."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.served = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.served += 1
        if not (data := super().read(size)):
            super().seek(0)
            data = super().read(size)
        return data

    def seekable(self) -> bool:
        return False


def test_an_endless_stream_ends_at_a_limit() -> None:
    content = video(scenes(range(5)), form="mpegts", codec="mpeg2video")
    *found, end = hash_video(Endless(content), [PDQ()], Sampling.KEY_FRAMES, VideoLimits(frames=40))
    assert len(found) == 40
    assert isinstance(end, VideoEnd)
    assert end.fault is not None


BASES = [of_codec(*FILES[place], range(1)) for place in (0, 2, 5, 7)]


@given(base=st.sampled_from(BASES), data=st.data(), sampling=st.sampled_from(Sampling))
@settings(deadline=None, max_examples=examples(40), derandomize=True)
def test_any_bytes_give_frames_and_one_end(base: bytes, data: st.DataObject, sampling: Sampling) -> None:
    content = bytearray(base)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        junk = data.draw(st.binary(min_size=1, max_size=8))
        content[at : at + len(junk)] = junk
    read(bytes(content[: data.draw(st.integers(1, len(content)))]), sampling)
