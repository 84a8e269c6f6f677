"""libavformat's probing: what FFmpeg plays is a video for us, wherever it begins."""

from __future__ import annotations

import io
import random
from functools import cache

import av
import pytest

from hashscan.hashing.container_kinds import OTHER_VIDEO, VIDEOS
from hashscan.hashing.containers import UNRECOGNISED
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition import demuxers
from hashscan.hashing.recognition.video_probe import VideoProbe, load
from hashscan.model import ContainerKind, Reason
from tests.hashing.documents.conftest import Open, made, opened, records_of, sandbox
from tests.hashing.recognition.disguises import disguised
from tests.hashing.video.drawn import scenes, video
from tests.hashing.video.test_opening import bits_from
from tests.pictures import scene

__all__ = ["opened", "sandbox"]  # fixtures

MPEG4 = dict.fromkeys(("avi", "matroska", "mp4", "asf", "nut", "m4v"), "mpeg4")
MPEG2 = dict.fromkeys(("mpegts", "mxf"), "mpeg2video")
CODECS = {
    **MPEG4,
    **MPEG2,
    **dict.fromkeys(("mpeg", "mpeg1video"), "mpeg1video"),
    "flv": "flv",
    "h264": "libx264",
    "hevc": "libx265",
    "ivf": "libvpx",
    "mjpeg": "mjpeg",
}
"""Muxers of FFmpeg, and a codec for each."""
NEAR = 31


@cache
def encoded(form: str) -> bytes:
    codec = CODECS[form]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return video(scenes([1], 3), form=form, codec=codec, pixels=pixels, rate=25)


@cache
def probe() -> VideoProbe:
    return load()  # type: ignore[return-value]


def is_played(content: bytes) -> bool:
    """Return True if FFmpeg shows a frame of the scene."""
    try:
        with av.open(io.BytesIO(content)) as container:
            return next(container.decode(video=0), None) is not None
    except (av.FFmpegError, IndexError, TypeError):
        return False


def test_the_function_of_the_library_is_found() -> None:
    assert probe().by_library


@pytest.mark.integration
@pytest.mark.parametrize("form", CODECS)
def test_a_video_that_ffmpeg_plays_is_never_clean(form: str, opened: Open) -> None:
    played = shown = 0
    for each in disguised(encoded(form), (1, 1000, 64 << 10)):
        members, end = opened(each.content, UNRECOGNISED)
        reasons = [end.reason, *(member.reason for member in members)]
        found = any(bits_from(member, scene(1, 160, 120)) <= NEAR for member in members)
        shown += found
        if is_played(each.content):
            played += 1
            assert found or any(reasons), each.how
    assert played > 9
    assert shown > 9


@pytest.mark.integration
@pytest.mark.parametrize("version", range(6))
def test_flash_videos_of_other_versions(version: int, opened: Open) -> None:
    content = encoded("flv")
    altered = content[:3] + bytes((version,)) + content[4:]
    members, _ = opened(altered, UNRECOGNISED)
    assert bool(members) is is_played(altered) is (version < 5)


@pytest.mark.integration
def test_a_video_behind_an_id3_tag_is_not_passed_over(opened: Open) -> None:
    tag = b"ID3\4\0\0\0\0\7\x76" + bytes(1014)
    members, end = opened(tag + encoded("matroska"), UNRECOGNISED)
    assert members or end.reason


def test_what_the_begin_is_taken_for_counts_though_the_rest_lowers_the_score() -> None:
    packs = encoded("mpeg")
    # Thousands of codes that no program stream has.
    behind = packs + b"\0\0\1\x47" * (100 << 10)
    names = {kind.name for kind, *_ in probe()(PreadFile(behind))}
    assert is_played(behind)
    assert names & {"MPEG", OTHER_VIDEO}


@pytest.mark.integration
def test_random_bytes_are_no_video(sandbox: object, opened: Open) -> None:
    chance = random.Random(35)
    for _ in range(40):
        content = chance.randbytes(chance.choice((1000, 10_000, 60_000)))
        # As H.263 begins, which decodes anything.
        members, end = opened(b"\0\0\x80\2" + content, UNRECOGNISED)
        assert [member.reason for member in members if member.reason] == []
        assert end.reason is None


@pytest.mark.integration
@pytest.mark.parametrize("junk", [b"", b"\0"])
def test_a_disguised_video_is_not_opened_where_none_are(junk: bytes, tmp_path: object) -> None:
    with made(kinds=(ContainerKind.ARCHIVE,)) as sandbox:
        for form in ("avi", "mpegts"):
            members, end = records_of(sandbox, tmp_path / "video", junk + encoded(form), UNRECOGNISED)  # type: ignore[operator]
            assert Reason.CONTAINER in [end.reason, *(member.reason for member in members)]
            assert not any(member.reply for member in members)


def test_a_file_that_names_the_key_of_mxf_is_none() -> None:
    key = bytes.fromhex("060e2b34020501010d010201010204000000")
    rules = bytes(10) + b"[50:application/mxf]\n>0=\0\x0e" + key[:14] + b"\n[50:audio/ogg]\n" * 100
    assert list(load()(PreadFile(rules))) == []
    video = rules + key + b"\x83\0\0\x58" + bytes(88) + bytes.fromhex("060e2b34010201010d01030115010500")
    assert [probed.by for probed in load()(PreadFile(video))] == ["libavformat: mxf"]


def test_excluded_demuxers_are_none() -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://localhost/a.ts\n"
    lyrics = b"[ti:Song]\n[00:01.00]Words\n[00:02.00]More\n" * 20
    concat = b"ffconcat version 1.0\nfile /etc/passwd\n"
    for content in (playlist, lyrics, concat):
        assert list(probe()(PreadFile(content))) == []


def test_each_demuxer_is_of_one_format_at_most() -> None:
    names = [name for kind in VIDEOS for name in demuxers.whitelist(kind, av.formats_available)]
    assert not set(names) & demuxers.EXCLUDED
    assert {*demuxers.PICTURES.values()} <= {known.name for known in FORMATS if known.pillow}


def test_without_the_function_files_are_opened() -> None:
    (found,) = VideoProbe(None)(PreadFile(encoded("nut")))
    assert (found.kind.name, found.certain) == (OTHER_VIDEO, False)
