"""Opening videos as containers: frames with their times, and what says that not all was looked at."""

from __future__ import annotations

import hashlib
import io
import itertools
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.archives.members import MemberReader
from hashscan.hashing.container_kinds import seconds_to_open
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS, sniff
from hashscan.hashing.media.quadrants import PDQQuadrants
from hashscan.hashing.member_records import (
    BEFORE_RISK,
    FRAME_SIZE,
    Borders,
    ContainerEnd,
    Member,
    SampledFrames,
)
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import DecodedPicture
from hashscan.hashing.variants import DIHEDRAL, TURNS, VARIANTS
from hashscan.hashing.video import opening, streams
from hashscan.hashing.video.frames import Fault, KeyFramesLeft, VideoCover, VideoEnd, VideoFrame
from hashscan.hashing.video.opening import VideoOpener
from hashscan.hashing.video.streams import Sampling
from hashscan.model import QUADRANTS, MemberLimits, Reason
from tests.hashing.documents.conftest import Open, made, opened, records_of, sandbox
from tests.hashing.video.drawn import RATE, digest, scenes, video, with_edits
from tests.hashing.video.test_frames import of_codec, with_cover
from tests.pictures import scene
from tests.sandbox.attempts import ATTEMPTS
from tests.sandbox.runner import drive
from tests.sandbox.test_confine import refused

__all__ = ["opened", "sandbox"]  # fixtures

NEAR = 31
Look = Callable[..., tuple[list[Member], Reason | None, str]]


def bits_from(member: Member, picture: Image.Image) -> int:
    """The least distance of the digests of a frame from a picture's, in bits."""
    found = member.decoded(("pdq",))
    if not isinstance(found, DecodedPicture):
        return 256
    wanted = digest(picture)
    return min((int.from_bytes(each.value) ^ wanted).bit_count() for each in found.digests)


def places_of(members: Sequence[Member], seed: int) -> list[str]:
    """The places of the frames that show a scene."""
    return [member.place.decode() for member in members if bits_from(member, scene(seed, 160, 120)) <= NEAR]


@pytest.fixture(scope="module")
def opener() -> VideoOpener:
    return VideoOpener([PDQ()], ("as-shown", "turned", "trimmed"), 1 << 26)


@pytest.fixture
def look(opener: VideoOpener) -> Look:
    """Opens a video in this process; returns its frames, why it was not looked at in full, and to when."""

    def look(content: bytes, kind: FileFormat | None = None, **limits: object) -> object:
        kind = kind or sniff(content[: 256 * 1024])
        assert kind is not None
        within = MemberLimits(**limits)  # type: ignore[arg-type]
        reader = MemberReader(None, len(content), [], None, within, {}, opener.frames)
        records = reader.records(PreadFile(content), kind)
        *members, end = (record for record in records if record is not BEFORE_RISK)
        assert isinstance(end, ContainerEnd)
        frames = [member for member in members if isinstance(member, Member)]
        assert end.members == len(frames)
        reasons = [member.reason for member in frames if member.reason]
        return (
            [member for member in frames if member.reply],
            end.reason or (reasons[0] if reasons else None),
            frames[-1].place.decode() if reasons else "",
        )

    return look


@pytest.mark.integration
def test_the_sandbox_is_as_tight_as_for_pictures() -> None:
    order = {
        "mode": "required",
        "names": list(ATTEMPTS),
        "program": "tests.hashing.video.program:load_hostile",
    }
    found = drive(order)
    assert found["word"] == "full"
    assert list(found["outcomes"]) == list(ATTEMPTS)
    assert [name for name, outcome in found["outcomes"].items() if not refused(outcome)] == []


@pytest.mark.integration
@pytest.mark.parametrize(
    "file",
    [("mp4", "libx264", "yuv420p"), ("webm", "libvpx-vp9", "yuv420p"), ("mp4", "libsvtav1", "yuv420p")],
)
def test_a_still_is_found_with_its_time(opened: Open, file: tuple[str, str, str]) -> None:
    content = of_codec(*file)
    members, end = opened(content)
    assert end.reason is None
    assert not any(member.reason for member in members)
    for number in range(3):
        assert f"00:00:{number:02}" in places_of(members, number)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("dir/film.mp4", content)
        archive.writestr("text", b"words")
    members, end = opened(packed.getvalue())
    assert end.reason is None
    assert "dir/film.mp4@00:00:01" in places_of(members, 1)
    (film, *_) = [member for member in members if member.place == b"dir/film.mp4"]
    assert film.exact[2] == hashlib.sha256(content).digest()


@pytest.mark.integration
def test_a_cover_is_a_picture_file(opened: Open) -> None:
    content = with_cover()
    members, end = opened(content)
    (cover,) = [member for member in members if member.place == b"cover=1"]
    assert (len(cover.exact), cover.reason, end.reason) == (3, None, None)
    assert bits_from(cover, scene(8, 160, 120)) <= NEAR
    assert places_of(members, 9) == ["00:00:00"]


@pytest.mark.integration
def test_a_large_frame_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    content = of_codec("matroska", "mpeg4", "yuv420p")
    with made("max-pixels=10000") as small:
        members, _ = records_of(small, tmp_path / "video", content)
    assert [(member.place, member.reason) for member in members] == [(b"00:00:00", Reason.TOO_LARGE)]


def test_a_video_with_few_key_frames_is_decoded_in_full(look: Look) -> None:
    options = {"sc_threshold": "0"}
    long = video(scenes(range(7), 2 * RATE), gop=10_000, options=options)
    members, reason, _ = look(long)
    assert reason is None
    assert all(places_of(members, number) for number in range(7))
    _, reason, _ = look(long, seconds=0.001)
    assert reason is Reason.TIMEOUT
    # The first frame is often black.
    short = video([Image.new("RGB", (160, 120))] * RATE + scenes(range(3)), gop=10_000, options=options)
    members, reason, _ = look(short)
    assert reason is None
    assert all(places_of(members, number) for number in range(3))


def test_false_times_hide_no_key_frames_that_lack(look: Look) -> None:
    pictures = [picture for seed in range(2) for picture in [scene(seed, 160, 120)] * 350]
    content = video(
        pictures,
        form="nut",
        codec="mpeg4",
        gop=10_000,
        options={"sc_threshold": "1000000000"},
        times=[0] * 700,
    )
    members, reason, _ = look(content)
    assert all(places_of(members, number) for number in range(2))
    assert reason is None


def test_the_frames_of_vpdq_are_sampled_besides() -> None:
    boxed = [Image.new("RGB", (160, 200)) for _ in range(2)]
    for number, picture in enumerate(boxed):
        picture.paste(scene(number, 160, 120), (0, 40))
    plain = [scene(number, 160, 200) for number in range(2, 74)]
    black = [Image.new("RGB", (160, 200))]
    content = video([picture for picture in (*boxed, *plain, *black) for _ in range(RATE)], gop=1000)
    opener = VideoOpener([PDQ()], ("turned", "trimmed"), 1 << 26, samples=True)
    kind = sniff(content)
    assert kind is not None
    for limits, reason in (MemberLimits(), None), (MemberLimits(members=70), Reason.CONTAINER_MEMBERS):
        reader = MemberReader(None, len(content), [], None, limits, {}, opener.frames)
        *records, end = reader.records(PreadFile(content), kind)
        assert isinstance(end, ContainerEnd)
        members = [record for record in records if isinstance(record, Member) and record is not BEFORE_RISK]
        assert end.members == len(members)
        assert end.reason == reason or members[-1].reason == reason
        sampled = [record for record in records if isinstance(record, SampledFrames)]
        assert all((frames.place, frames.turns) == (b"", bytes(range(8))) for frames in sampled)
        numbers = [(frames.borders, frames.frames) for frames in sampled]
        if reason is None:
            assert numbers == [
                (Borders.NONE, 64), (Borders.WHOLE, 2), (Borders.TRIMMED, 2), (Borders.NONE, 8)
            ]  # fmt: skip
            first = int.from_bytes(sampled[0].values[:FRAME_SIZE])
            assert (first ^ digest(plain[0])).bit_count() <= NEAR


def test_the_time_up_to_which_vpdq_was_sampled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = video(scenes(range(5)))
    opener = VideoOpener([PDQ()], (), 1 << 26, samples=True)
    reader = MemberReader(None, len(content), [], None, MemberLimits(), {}, opener.frames)
    hash_video = opening.hash_video

    def without_time(
        file: PreadFile, hashes: list[PDQ], sampling: Sampling, *others: Any
    ) -> Iterator[VideoFrame | VideoCover | KeyFramesLeft | VideoEnd]:
        *frames, end = hash_video(file, hashes, sampling, *others)
        assert isinstance(end, VideoEnd)
        if sampling is Sampling.BOTH:
            yield from [frame for frame in frames if isinstance(frame, VideoFrame) and frame.sampled][:3]
            reader._deadline = 0.0
            end = end._replace(fault=Fault.TIMEOUT, until=2.0)
        yield end

    monkeypatch.setattr(opening, "hash_video", without_time)
    kind = sniff(content)
    assert kind is not None
    *_, frames, sent, last, end = reader.records(PreadFile(content), kind)
    assert sent is BEFORE_RISK
    assert isinstance(frames, SampledFrames)
    assert isinstance(last, Member)
    assert isinstance(end, ContainerEnd)
    assert (frames.frames, last.place, last.reason, end.reason) == (3, b"00:00:02", Reason.TIMEOUT, None)


def test_frames_that_repeat_are_kept_once(look: Look) -> None:
    members, _, _ = look(video(scenes([1, 2, 1, 2, 1, 2])))
    assert [member.place for member in members] == [b"00:00:00", b"00:00:01"]
    # Nothing can be matched with one that is black.
    assert look(video([Image.new("RGB", (160, 120))] * 30))[:2] == ([], None)


def test_frames_of_one_second_have_places_of_their_own(look: Look) -> None:
    members, _, _ = look(video(scenes([1, 2, 3], 4), gop=4))
    assert [member.place for member in members] == [b"00:00:00", b"00:00:00.400", b"00:00:00.800"]


@pytest.mark.parametrize("form", ["mp4", "matroska", "avi", "mpegts"])
def test_no_part_of_a_video_is_clean_unseen(look: Look, form: str) -> None:
    content = video(scenes(range(20), RATE), form=form)
    assert look(content)[1] is None
    for share in (0.3, 0.6):
        _, reason, _ = look(content[: int(share * len(content))])
        # A transport stream says nowhere how long it is, and may end at a frame.
        assert reason is Reason.CONTAINER_BROKEN or form == "mpegts"


@pytest.mark.parametrize(
    ("form", "codec", "begin"),
    [
        ("mp4", "libx264", b"mdat"),
        ("webm", "libvpx-vp9", b"\x1f\x43\xb6\x75"),  # Cluster
        ("avi", "mpeg4", b"movi"),
    ],
)
def test_a_short_video_that_is_cut_in_its_only_key_frame_or_in_its_index(
    look: Look, form: str, codec: str, begin: bytes
) -> None:
    content = video(scenes([1]), form=form, codec=codec)
    assert look(content)[1] is None
    lengths = range(content.index(begin) + 40, len(content), 97)
    assert ([], None) not in [look(content[:length])[:2] for length in lengths]


@pytest.mark.parametrize(
    "boxes",
    [struct.pack(">I4s", 8, b"free") * 9, struct.pack(">I4sQ", 1, b"free", 0)],
    ids=["many", "no length"],
)
def test_a_video_with_too_many_boxes_may_be_cut(
    look: Look, monkeypatch: pytest.MonkeyPatch, boxes: bytes
) -> None:
    content = video(scenes([1]), form="mp4")
    monkeypatch.setattr(opening, "_BOXES_MAX", 8)
    assert look(content)[1] is None
    assert look(content + boxes)[1] is Reason.CONTAINER_BROKEN


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9"])
def test_a_short_video_whose_only_key_frame_is_missing(look: Look, codec: str) -> None:
    whole = video(scenes([1, 2], RATE // 2), codec=codec, options={"sc_threshold": "1000000000"})
    output = io.BytesIO()
    with av.open(io.BytesIO(whole)) as source, av.open(output, "w", format="matroska") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[1:]:
            packet.stream = stream
            if packet.size:
                container.mux(packet)
    members, reason, _ = look(output.getvalue())
    assert reason is Reason.CONTAINER_BROKEN or members


def with_sound() -> bytes:
    """A video of a second behind a track of sound."""
    output = io.BytesIO()
    music, film = (
        av.open(io.BytesIO(made)) for made in (sound("mp4", "aac"), video(scenes([1]), form="mp4"))
    )
    with music, film, av.open(output, "w", format="mp4") as container:
        sources = [
            (source, container.add_stream_from_template(source.streams[0])) for source in (music, film)
        ]
        for source, stream in sources:
            for packet in source.demux(source.streams[0]):
                if packet.size:
                    packet.stream = stream
                    container.mux(packet)
    return output.getvalue()


def test_a_video_that_was_cut_off_behind_sound_is_not_sound_alone(look: Look) -> None:
    content = with_sound()
    assert look(content)[1] is None
    # Whatever comes behind the boxes is no part of the video.
    assert look(content + b"a camera's own data" * 9)[1] is None
    lengths = range(content.index(b"trak") + 4, len(content), 97)
    assert [look(content[:length])[1] for length in lengths].count(None) == 0


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [
        ("mp4", "libx264", {"sc_threshold": "0", "bf": "0"}),
        ("webm", "libvpx-vp9", {"lag-in-frames": "0", "deadline": "realtime"}),
        ("avi", "mpeg4", {"sc_threshold": "1000000000"}),
        ("matroska", "mjpeg", {}),
    ],
)
def test_a_frame_that_is_shown_long_is_hashed(
    look: Look, form: str, codec: str, options: dict[str, str]
) -> None:
    """Key frames are shown for 0.1 s each, and the other frames for 9.9."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    shown = [second * RATE + place for second in range(0, 60, 10) for place in range(2)]
    frames = [scene(2 if time % RATE else 1, 160, 120) for time in shown]
    content = video(frames, form=form, codec=codec, pixels=pixels, gop=2, options=options, shown=shown)
    members, reason, _ = look(content)
    assert reason is None
    assert all(places_of(members, seed) for seed in (1, 2))


@pytest.mark.parametrize("kept", [3, 2])
def test_more_times_than_are_kept_hide_no_frame(
    look: Look, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    shown = [0, 1, 100, 101, 200]
    frames = [scene(2 if time % RATE else 1, 160, 120) for time in shown]
    options = {"sc_threshold": "0", "bf": "0"}
    content = video(frames, form="mp4", gop=2, options=options, shown=shown)
    monkeypatch.setattr(streams, "_TIMES_MAX", kept)
    members, reason, _ = look(content)
    assert (bool(places_of(members, 2)), reason) == (True, None)


def test_a_frame_that_an_edit_list_shows_long_is_hashed(look: Look) -> None:
    options = {"sc_threshold": "0", "bf": "0"}
    pictures = [scene(2 if number == 15 else 1, 160, 120) for number in range(30)]
    content = video(pictures, form="mp4", options=options)
    assert places_of(look(content)[0], 2) == []
    members, reason, _ = look(with_edits(content, *[(1.5, 0.1)] * 20))
    assert (bool(places_of(members, 2)), reason) == (True, None)


def with_opacity(form: str, codec: str, pixels: str) -> bytes:
    """A video of two scenes of a second each, black, whose opacity is the picture."""
    output = io.BytesIO()
    options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
    with av.open(output, "w", format=form) as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, pixels
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(scenes([1, 2])):
            black = Image.new("RGBA", picture.size)
            black.putalpha(picture.convert("L"))
            frame = av.VideoFrame.from_ndarray(np.asarray(black), "rgba").reformat(format=pixels)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return output.getvalue()


@pytest.mark.parametrize(
    ("form", "codec", "pixels"),
    [
        ("webm", "libvpx-vp9", "yuva420p"),
        ("webm", "libvpx", "yuva420p"),
        ("mov", "prores_ks", "yuva444p10le"),
        ("mov", "qtrle", "argb"),
        ("mov", "png", "rgba"),
        ("avi", "rawvideo", "bgra"),
    ],
)
def test_a_picture_in_the_opacity_of_a_video(look: Look, form: str, codec: str, pixels: str) -> None:
    content = with_opacity(form, codec, pixels)
    members, reason, _ = look(content)
    assert reason is None
    assert [bool(places_of(members, seed)) for seed in (1, 2, 3)] == [True, True, False]
    sampling = VideoOpener([PDQ()], ("as-shown",), 1 << 26, samples=True).frames
    reader = MemberReader(None, len(content), [], None, MemberLimits(), {}, sampling)
    records = list(reader.records(PreadFile(content), sniff(content) or FORMATS[0]))
    found = [record for record in records if isinstance(record, Member)]
    assert all(places_of(found, seed) for seed in (1, 2))


def test_a_codec_whose_decoder_names_no_key_frames(look: Look) -> None:
    members, reason, _ = look(video(scenes(range(4)), form="mov", codec="qtrle", pixels="rgb24"))
    assert reason is None
    assert all(places_of(members, seed) for seed in range(4))


def test_a_truncated_video_with_few_key_frames_is_decoded_in_full(look: Look) -> None:
    options = {"sc_threshold": "0"}
    content = video(scenes(range(9), 2 * RATE), gop=10_000, options=options)
    members, reason, _ = look(content[: len(content) // 2])
    assert reason is Reason.CONTAINER_BROKEN
    assert all(places_of(members, number) for number in range(4))


def test_each_limit_has_a_reason(look: Look) -> None:
    content = video(scenes(range(6)))
    assert look(content, members=3)[1:] == (Reason.CONTAINER_MEMBERS, "00:00:03")
    assert look(content, seconds=-1.0)[1:] == (Reason.TIMEOUT, "00:00:00")
    assert look(video(scenes([1], 2), tracks=12))[1] is Reason.CONTAINER_MEMBERS


def test_a_large_video_has_more_time() -> None:
    formats = {known.name: known for known in FORMATS}
    limits = MemberLimits(seconds=10.0, more_seconds=30.0)
    assert seconds_to_open(formats["AVI"], 2 << 30, limits) == 70.0
    assert seconds_to_open(formats["ZIP"], 2 << 30, limits) == 10.0


def test_a_codec_that_is_not_known(look: Look) -> None:
    content = video(scenes([1], 2), form="mp4").replace(b"avc1", b"zzzz")
    assert look(content) == ([], Reason.METHOD, "00:00:00")


def test_a_file_that_players_take_for_another_format(look: Look) -> None:
    content = video(scenes([1], 2), form="mp4")
    assert look(content, sniff(video(scenes([1], 2), form="avi")))[:2] == ([], Reason.CONTAINER_BROKEN)


def sound(form: str, codec: str, layout: str = "fltp", cover: Image.Image | None = None) -> bytes:
    """Music, perhaps with a cover."""
    output = io.BytesIO()
    with av.open(output, "w", format=form) as container:
        stream = container.add_stream(codec, rate=44100, layout="mono")
        if cover is not None:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = *cover.size, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame.from_image(cover)))
            container.mux(picture.encode(None))
        for number in range(400):
            samples = np.zeros((1, stream.codec_context.frame_size or 1024), np.float32)
            kind = np.int16 if layout.startswith("s16") else np.float32
            frame = av.AudioFrame.from_ndarray(samples.astype(kind), format=layout, layout="mono")
            frame.sample_rate, frame.pts = 44100, number * samples.shape[1]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return output.getvalue()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("form", "codec", "layout"),
    [("mp3", "libmp3lame", "fltp"), ("flac", "flac", "s16"), ("mp4", "aac", "fltp")],
)
def test_the_cover_of_music(opened: Open, form: str, codec: str, layout: str) -> None:
    members, end = opened(sound(form, codec, layout, scene(8, 160, 120)))
    assert [(member.place, member.reason) for member in members] == [(b"cover=1", None)]
    assert end.reason is None
    assert bits_from(members[0], scene(8, 160, 120)) <= NEAR


@pytest.mark.parametrize(
    ("form", "codec", "layout"),
    [("mp4", "aac", "fltp"), ("ogg", "flac", "s16"), ("flac", "flac", "s16"), ("matroska", "aac", "fltp")],
)
def test_sound_alone_is_clean(look: Look, form: str, codec: str, layout: str) -> None:
    assert look(sound(form, codec, layout)) == ([], None, "")


def test_a_video_that_begins_long_after_its_sound_is_not_sound_alone(look: Look) -> None:
    output = io.BytesIO()
    with av.open(output, "w", format="flv") as container:
        music = container.add_stream("pcm_s16le", rate=44100, layout="stereo")
        film = container.add_stream("flv", rate=RATE)
        film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        film.codec_context.thread_count = 1
        for second in range(31):
            samples = np.zeros((1, 2 * 44100), np.int16)
            sound_of_it = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            sound_of_it.sample_rate, sound_of_it.pts = 44100, second * 44100
            container.mux(music.encode(sound_of_it))
        frame = av.VideoFrame.from_image(scene(1, 160, 120)).reformat(format="yuv420p")
        frame.pts, frame.time_base = 30 * RATE, Fraction(1, RATE)
        container.mux(film.encode(frame))
        container.mux(film.encode(None))
    with av.open(io.BytesIO(output.getvalue())) as opened:
        assert [stream.type for stream in opened.streams] == ["audio"]
    assert look(output.getvalue())[1] is Reason.CONTAINER_MEMBERS


PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def replaced(content: bytes, name: bytes, body: bytes, path: tuple[bytes, ...] = PATH) -> bytes:
    """Replace the body of a box in an MP4 of one track whose index lies at its end."""
    changed = bytearray(content)
    at = content.index(name, content.index(b"moov")) - 4
    (size,) = struct.unpack_from(">I", content, at)
    changed[at : at + size] = struct.pack(">I4s", 8 + len(body), name) + body
    for parent in path:
        place = content.index(parent, content.index(b"moov")) - 4
        (before,) = struct.unpack_from(">I", content, place)
        struct.pack_into(">I", changed, place, before + 8 + len(body) - size)
    return bytes(changed)


def endless(seconds_each: int = 1, frames: int = 200_000) -> bytes:
    """A video whose index names one frame again and again."""
    content = video(scenes([1], 3), form="mov", codec="mjpeg", pixels="yuvj420p")
    offset = content.index(b"\xff\xd8")
    length = content.index(b"\xff\xd9", offset) + 2 - offset
    content = replaced(content, b"stts", struct.pack(">4I", 0, 1, frames, 10240 * seconds_each))
    content = replaced(content, b"stsz", struct.pack(">3I", 0, length, frames))
    content = replaced(content, b"stsc", struct.pack(">5I", 0, 1, 1, 1, 1))
    return replaced(content, b"stco", struct.pack(">2I", 0, frames) + struct.pack(">I", offset) * frames)


def test_an_endless_video(look: Look) -> None:
    members, reason, until = look(endless(), seconds=0.5)
    assert reason is Reason.TIMEOUT
    assert places_of(members, 1) == ["00:00:00"]
    assert until


def test_absurd_times(look: Look) -> None:
    for times in ([0, 1, 2**40], [2**33, 2**33 + 1, 2**33 + 2], [-5, -4, -3]):
        content = video(scenes([1, 2, 3], 1), form="nut", codec="mpeg4", gop=1, times=times)
        members, _, _ = look(content)
        assert len(members) == 3


def test_frames_that_an_edit_list_leaves_out_are_looked_at(look: Look) -> None:
    content = video(scenes(range(3)), form="mp4")
    at = content.index(b"elst") + 12
    scale = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)[0]
    changed = bytearray(content)
    struct.pack_into(">i", changed, at + 4, 2 * scale)
    members, _, _ = look(bytes(changed))
    assert all(places_of(members, number) for number in range(3))


def with_subtitles(codec: str) -> bytes:
    """A video with an empty track of subtitles."""
    output = io.BytesIO()
    source = av.open(io.BytesIO(video(scenes([1]))))
    with source, av.open(output, "w", format="matroska") as container:
        film = container.add_stream_from_template(source.streams.video[0])
        container.add_mux_stream(codec)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = film
                container.mux(packet)
    return output.getvalue()


def test_subtitles_that_are_pictures_are_not_looked_at(look: Look) -> None:
    assert look(with_subtitles("subrip"))[1] is None
    assert look(with_subtitles("dvd_subtitle"))[1] is Reason.METHOD


def test_changed_bytes(look: Look) -> None:
    content = of_codec("mp4", "libx264", "yuv420p")
    for place in itertools.chain(range(64), range(len(content) - 600, len(content), 7)):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        look(bytes(changed), sniff(content))


def test_a_frame_has_these_variants_whatever_is_wanted() -> None:
    """As docs/containers.md says."""
    opener = VideoOpener([PDQ(), PDQQuadrants()], tuple(VARIANTS), 1 << 26)
    content = video(scenes([1]))
    kind = sniff(content)
    assert kind is not None
    reader = MemberReader(None, len(content), [], None, MemberLimits(), {}, opener.frames)
    records = reader.records(PreadFile(content), kind)
    (member,) = [record for record in records if isinstance(record, Member) and record.reply]
    found = member.decoded(("pdq", QUADRANTS))
    assert isinstance(found, DecodedPicture)
    turns = {name or "as stored" for name in TURNS[:DIHEDRAL]}
    assert {digest.variant for digest in found.digests if digest.algorithm == "pdq"} == turns
    assert {digest.variant for digest in found.digests if digest.algorithm == QUADRANTS} == {"as stored"}
