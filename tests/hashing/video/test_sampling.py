"""Videos are decoded once for key frames and vPDQ, and once for each where that could hide a frame."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest

from hashscan.hashing.archives.openers import DRAWN, HashedPicture, Stopped
from hashscan.hashing.formats import sniff
from hashscan.hashing.member_records import FRAME_SIZE, SampledFrames
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import DecodedPicture, unpack_reply
from hashscan.hashing.video import frames, opening
from hashscan.hashing.video.opening import VideoOpener
from hashscan.hashing.video.streams import Sampling
from hashscan.model import MemberLimits, Reason
from tests.hashing.video import drawn
from tests.hashing.video.drawn import RATE, digest, scenes, video, with_edits
from tests.hashing.video.test_frames import with_cover
from tests.pictures import scene

NEAR = 31


class Found:
    """All that opening a video gave."""

    def __init__(self, records: list[Any], passes: list[Sampling]) -> None:
        self.passes = passes
        """The samplings with which the video was read, in turn."""
        self.members = [record for record in records if isinstance(record, HashedPicture)]
        self.reasons = [record.reason for record in records if isinstance(record, Stopped)]
        self.others = len(records) - len(self.members) - len(self.reasons)
        self.sampled = [
            int.from_bytes(record.values[place : place + FRAME_SIZE])
            for record in records
            if isinstance(record, SampledFrames)
            for place in range(0, len(record.values), len(record.turns) * FRAME_SIZE)
        ]

    def shows(self, seed: int) -> bool:
        """Return True if a key frame shows a scene."""
        wanted = digest(scene(seed, 160, 120))
        pictures = [unpack_reply(member.reply, DRAWN, ("pdq",)) for member in self.members]
        return any(
            (int.from_bytes(each.value) ^ wanted).bit_count() <= NEAR
            for picture in pictures
            if isinstance(picture, DecodedPicture)
            for each in picture.digests
        )

    def samples(self, seed: int) -> bool:
        """Return True if a frame of vPDQ shows a scene."""
        wanted = digest(scene(seed, 160, 120))
        return any((value ^ wanted).bit_count() <= NEAR for value in self.sampled)


Read = Callable[..., Found]


@pytest.fixture(scope="module")
def opener() -> VideoOpener:
    return VideoOpener([PDQ()], ("as-shown", "turned", "trimmed"), 1 << 26, samples=True)


@pytest.fixture
def read(opener: VideoOpener, monkeypatch: pytest.MonkeyPatch) -> Read:
    passes: list[Sampling] = []
    hash_video = opening.hash_video

    def noted(file: PreadFile, hashes: list[PDQ], sampling: Sampling, *others: Any) -> Iterator[Any]:
        passes.append(sampling)
        return hash_video(file, hashes, sampling, *others)

    def read(content: bytes, **limits: Any) -> Found:
        passes.clear()
        kind = sniff(content)
        assert kind is not None
        records = list(opener.frames(PreadFile(content), kind, MemberLimits(**limits)))
        return Found(records, list(passes))

    monkeypatch.setattr(opening, "hash_video", noted)
    return read


@pytest.mark.parametrize("form", ["mp4", "matroska", "mpegts", "avi"])
def test_a_video_is_decoded_once(read: Read, form: str) -> None:
    codec = "mpeg4" if form == "avi" else "libx264"
    found = read(video(scenes(range(3)), form=form, codec=codec))
    assert (found.passes, found.reasons) == ([Sampling.BOTH], [])
    assert [found.shows(number) for number in range(4)] == [True, True, True, False]
    assert [found.samples(number) for number in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("edits", "sampled"),
    [
        ([(2.3, 0.6)], [False, False, True]),
        ([(0.3, 0.6), (2.3, 0.6)], [True, False, True]),
        ([(1.3, 0.6)] * 3, [False, True, False]),
    ],
)
def test_an_edit_list_hides_no_key_frame(
    read: Read, edits: list[tuple[float, float]], sampled: list[bool]
) -> None:
    content = with_edits(video(scenes(range(3)), form="mp4"), *edits)
    # The number of frames that the index claims is the attacker's, too.
    lying = bytearray(content)
    struct.pack_into(">I", lying, content.index(b"stts") + 12, 10 * len(edits))
    for changed in (content, bytes(lying)):
        found = read(changed)

        edited = [Sampling.EDITED] if len(edits) > 1 else []
        assert found.passes == [Sampling.KEY_FRAMES, Sampling.VPDQ, *edited]
        assert [found.shows(number) for number in range(3)] == [True, True, True]
    assert [read(content).samples(number) for number in range(3)] == sampled


def fragmented(content: bytes) -> bytes:
    """Return the same frames in a fragmented MP4 whose edit list leaves out two seconds."""
    output = io.BytesIO()
    options = {"movflags": "frag_keyframe+delay_moov"}
    with av.open(io.BytesIO(content)) as source, av.open(output, "w", "mp4", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    changed = bytearray(output.getvalue())
    media = struct.unpack_from(">I", changed, changed.index(b"mdhd") + 16)[0]
    struct.pack_into(">i", changed, changed.index(b"elst") + 16, 2 * media)
    return bytes(changed)


def test_an_edit_list_of_fragments_hides_no_key_frame(read: Read) -> None:
    content = fragmented(video(scenes(range(3)), form="mp4"))
    found = read(content)
    assert [found.shows(number) for number in range(3)] == [True, True, True]
    # FFmpeg heeds no edit list here.
    _, end = drawn.read(content, Sampling.VPDQ)
    assert (found.passes, len(found.sampled), end.hashed) == ([Sampling.BOTH], 3, 3)


def test_key_frames_of_a_second_stream_are_found(read: Read) -> None:
    output = io.BytesIO()
    with av.open(output, "w", format="matroska") as container:
        streams = [container.add_stream("libx264", rate=RATE) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            stream.codec_context.thread_count = 1
            stream.gop_size = RATE
        for stream, seeds in zip(streams, (range(3), range(5, 8)), strict=True):
            for picture in scenes(seeds):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), "rgb24")))
            container.mux(stream.encode(None))
    found = read(output.getvalue())
    assert (found.passes, found.reasons) == ([Sampling.BOTH], [])
    assert all(found.shows(number) for number in (0, 1, 2, 5, 6, 7))
    assert len(found.sampled) == 3
    assert all(found.samples(number) for number in range(3))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_key_frames_come_first_where_time_is_short(
    read: Read, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(frames, "_SHARE_ALONE", share)
    monkeypatch.setattr(frames, "_SHARE_MAX", share)
    found = read(with_cover())
    assert found.passes == [Sampling.BOTH, *([] if share else [Sampling.KEY_FRAMES])]
    assert (found.others - bool(found.sampled), found.reasons) == (1, [])
    assert all(found.shows(number) and found.samples(number) for number in (9, 10))


def test_too_many_key_frames_leave_the_frames_of_vpdq(read: Read) -> None:
    found = read(video(scenes(range(3)), gop=RATE), members=3)
    assert found.passes == [Sampling.BOTH]
    changing = [scene(seed, 160, 120) for seed in range(2 * RATE)]
    found = read(video(changing, gop=1), members=3)
    assert found.passes == [Sampling.BOTH, Sampling.KEY_FRAMES]
    assert found.reasons == [Reason.CONTAINER_MEMBERS]
    assert len(found.sampled) == 2


def test_packets_without_a_frame_make_key_frames_be_decoded_alone(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = frames._Video._decoded
    content = video(scenes(range(3)))
    lost = iter([True])

    def lossy(self: Any, packet: av.Packet[Any], *others: Any) -> Any:
        given = decoded(self, packet, *others)
        return () if self._sampling is Sampling.BOTH and given and next(lost, False) else given

    monkeypatch.setattr(frames._Video, "_decoded", lossy)
    found = read(content)
    assert (found.passes, found.reasons) == ([Sampling.BOTH, Sampling.KEY_FRAMES], [])
    assert all(found.shows(number) for number in range(3))
