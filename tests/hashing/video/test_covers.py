"""Covers that players find by their content, whatever the file says that they are."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable
from functools import cache

import av
import numpy as np
import pytest

from hashscan.hashing.archives.openers import Stopped
from hashscan.hashing.containers import UNRECOGNISED
from hashscan.hashing.formats import FORMATS, sniff
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.video import covers, opening
from hashscan.hashing.video.opening import VideoOpener
from hashscan.model import MemberLimits, Reason
from tests.hashing.documents.conftest import Open, opened, sandbox
from tests.hashing.video.test_opening import NEAR, bits_from, sound
from tests.pictures import scene

__all__ = ["opened", "sandbox"]  # fixtures


@cache
def picture() -> bytes:
    output = io.BytesIO()
    scene(8, 160, 120).save(output, "JPEG", quality=90)
    return output.getvalue()


def seven_bits(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def id3(*frames: tuple[bytes, bytes], footer: bool = False) -> bytes:
    body = b"".join(name + seven_bits(len(content)) + b"\0\0" + content for name, content in frames)
    rest = b"\4\0\x10" + seven_bits(len(body))
    return b"ID3" + rest + body + b"3DI" + rest if footer else b"ID3\4\0\0" + seven_bits(len(body)) + body


def apic() -> tuple[bytes, bytes]:
    return b"APIC", b"\0image/jpeg\0\3\0" + picture()


def ape(content: bytes) -> bytes:
    item = struct.pack("<II", len(content) + 6, 2) + b"Cover Art (Front)\0" + b"c.jpg\0" + content
    head = struct.pack("<III", 2000, len(item) + 32, 1)
    return b"".join(
        (
            *(b"APETAGEX", head, struct.pack("<I", 0xA0000000), bytes(8)),
            item,
            *(b"APETAGEX", head, struct.pack("<I", 0x80000000), bytes(8)),
        )
    )


@cache
def mp3() -> bytes:
    content = sound("mp3", "libmp3lame")
    return content[content.index(b"\xff\xfb") :]


def with_chunk(content: bytes, name: bytes, data: bytes, order: str) -> bytes:
    data += bytes(len(data) % 2)
    size = struct.pack(order + "I", len(content) + len(data))
    return content[:4] + size + content[8:] + name + struct.pack(order + "I", len(data)) + data


def attached(form: str, codec: str, layout: str, mime: str = "", **metadata: str) -> bytes:
    output = io.BytesIO()
    with av.open(output, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        stream.metadata.update(metadata)
        if mime:
            container.add_attachment("notes", mime, picture())
        for number in range(20):
            size = stream.codec_context.frame_size or 1024
            samples = np.zeros((1, size), np.int16 if layout == "s16" else np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format=layout, layout="mono")
            frame.sample_rate, frame.pts = 48000, number * size
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return output.getvalue()


def of_another_type() -> bytes:
    content = bytearray(sound("mp4", "aac", "fltp", scene(8, 160, 120)))
    place = content.index(b"data", content.index(b"covr"))
    content[place + 4 : place + 8] = bytes((0, 0, 0, 77))
    return bytes(content)


MUSIC: dict[str, Callable[[], bytes]] = {
    "MP3, ID3 behind a large frame": lambda: id3((b"PRIV", b"o\0" + bytes(300_000)), apic()) + mp3(),
    "MP3, a second ID3 tag": lambda: id3((b"TIT2", b"\0x")) + id3(apic()) + mp3(),
    "MP3, APE": lambda: id3((b"TIT2", b"\0x")) + mp3() + ape(picture()),
    "MP3, APE before ID3v1": lambda: mp3() + ape(picture()) + b"TAG" + bytes(125),
    "WAV, ID3": lambda: with_chunk(sound("wav", "pcm_s16le", "s16"), b"id3 ", id3(apic()), "<"),
    "AIFF, ID3": lambda: with_chunk(sound("aiff", "pcm_s16be", "s16"), b"ID3 ", id3(apic()), ">"),
    "WavPack, APE": lambda: sound("wv", "wavpack", "s16p") + ape(picture()),
    "TTA, APE": lambda: sound("tta", "tta", "s16p") + ape(picture()),
    "AAC, ID3": lambda: id3(apic()) + sound("adts", "aac"),
    "MP4, type 77": of_another_type,
    "Ogg, COVERART": lambda: attached("ogg", "flac", "s16", COVERART=base64.b64encode(picture()).decode()),
    "Matroska, octet-stream": lambda: attached("matroska", "aac", "fltp", "application/octet-stream"),
    "Matroska, font": lambda: attached("matroska", "aac", "fltp", "font/ttf"),
    "Matroska, video": lambda: attached("matroska", "aac", "fltp", "video/x-m4v"),
}


@pytest.mark.integration
@pytest.mark.parametrize("name", MUSIC)
def test_a_cover_is_found_whatever_its_type(opened: Open, name: str) -> None:
    content = MUSIC[name]()
    members, end = opened(content, sniff(content[: 256 * 1024]) or UNRECOGNISED)
    assert [member.place for member in members if bits_from(member, scene(8, 160, 120)) <= NEAR]
    assert end.reason is None


@pytest.mark.integration
def test_an_id3_tag_at_the_end_is_not_passed_over(opened: Open) -> None:
    members, _ = opened(mp3() + id3(apic(), footer=True), UNRECOGNISED)
    assert [member.reason for member in members] == [Reason.CONTAINER]
    assert opened(mp3() + id3((b"TIT2", b"\0x"), footer=True), UNRECOGNISED)[0] == []


def test_tags_and_indexes_that_are_too_long_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    formats = {known.name: known for known in FORMATS}
    opener = VideoOpener([PDQ()], (), 1 << 26)

    def reasons(content: bytes, kind: str) -> list[Reason]:
        found = opener.frames(PreadFile(content), formats[kind], MemberLimits())
        return [each.reason for each in found if isinstance(each, Stopped)]

    tagged, film = mp3() + ape(picture()), of_another_type()
    index = len(film) - film.index(b"moov") + 4
    for name, content, module, length in (
        ("music with a picture", tagged, covers, len(ape(picture())) - 32),
        ("MP4 or QuickTime", film, opening, index),
    ):
        limit = "TAG_MAX" if module is covers else "INDEX_MAX"
        monkeypatch.setattr(module, limit, length)
        assert reasons(content, name) == []
        monkeypatch.setattr(module, limit, length - 1)
        assert reasons(content, name) == [Reason.CONTAINER_MEMBER]
