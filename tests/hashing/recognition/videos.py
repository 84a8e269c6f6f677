"""Videos of one drawn scene, by each muxer of FFmpeg that can carry pictures, and their cheap edits."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from benchmarks.video.drawn import unchanged_scheduling
from hashscan.hashing.archives.members import MemberReader
from hashscan.hashing.containers import TAIL_SIZE, UNRECOGNISED, container_behind
from hashscan.hashing.formats import sniff
from hashscan.hashing.member_records import BEFORE_RISK, ContainerEnd, Member
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.hashing.recognition.recogniser import Recogniser
from hashscan.hashing.recognition.video_probe import load
from hashscan.hashing.records import DecodedPicture
from hashscan.hashing.video.opening import VideoOpener
from hashscan.model import MemberLimits
from tests.hashing.recognition.disguises import LENGTHS, Disguised, disguised
from tests.hashing.video.drawn import digest
from tests.pictures import scene

_PLAIN, _FULL = "yuv420p", "yuvj420p"


NEAR, SURELY_NEAR, ALIKE = 31, 24, 0.9
"""Bits of PDQ for us and for what FFmpeg shows, and the correlation, from which a frame shows the scene."""


CLEAN = "clean"


class Form(NamedTuple):
    """The properties of a video."""

    muxer: str
    codec: str
    pixels: str = _PLAIN
    size: tuple[int, int] = (176, 144)
    rate: int = 25


FORMS = (
    *(Form(muxer, "libx264") for muxer in ("mp4", "mov", "3gp", "3g2", "ipod", "ismv", "f4v", "h264")),
    *(Form(muxer, "libx264") for muxer in ("matroska", "flv", "mpegts", "avi", "nut")),
    *(Form(muxer, "mpeg4") for muxer in ("avi", "mp4", "matroska", "asf", "nut", "m4v")),
    *(
        Form(muxer, "mjpeg", _FULL)
        for muxer in ("avi", "mov", "matroska", "mjpeg", "mpjpeg", "smjpeg", "nut")
    ),
    *(Form(muxer, "mpeg2video") for muxer in ("mpegts", "mpeg2video", "vob", "dvd", "svcd", "mxf", "wtv")),
    *(Form(muxer, "mpeg1video") for muxer in ("mpeg", "vcd", "mpeg1video")),
    *(Form(muxer, "libx265") for muxer in ("mp4", "matroska", "hevc", "mpegts")),
    *(Form(muxer, "libvpx") for muxer in ("webm", "ivf")),
    *(Form(muxer, "libvpx-vp9") for muxer in ("webm", "mp4", "ivf")),
    *(Form(muxer, "libsvtav1") for muxer in ("mp4", "webm", "ivf", "obu")),
    *(Form(muxer, "rawvideo") for muxer in ("avi", "nut", "matroska")),
    *(Form("swf", codec, pixels) for codec, pixels in (("flv", _PLAIN), ("mjpeg", _FULL))),
    Form("gxf", "mpeg2video", size=(720, 576)),
    Form("dv", "dvvideo", "yuv420p", (720, 576)),
    Form("avi", "dvvideo", "yuv420p", (720, 576)),
    Form("flv", "flv"),
    Form("asf", "wmv2"),
    Form("avi", "msmpeg4"),
    Form("mov", "prores_ks", "yuv422p10le"),
    Form("mov", "qtrle", "rgb24"),
    Form("mov", "cinepak", "rgb24"),
    Form("mov", "png", "rgb24"),
    Form("mov", "svq1", "yuv410p", (160, 112)),
    Form("matroska", "ffv1"),
    Form("avi", "huffyuv", "yuv422p"),
    Form("avi", "utvideo", "yuv422p"),
    Form("avi", "zmbv", "bgr0"),
    Form("rm", "rv10"),
    Form("h263", "h263"),
    Form("h261", "h261"),
    Form("yuv4mpegpipe", "wrapped_avframe"),
    Form("roq", "roqvideo", "yuvj444p", (128, 128), 30),
    Form("gif", "gif", "rgb8"),
    Form("apng", "apng", "rgb24"),
)


@cache
def drawn(size: tuple[int, int]) -> Image.Image:
    return scene(4, *size)


@cache
def encoded(form: Form) -> bytes:
    """The scene for some frames.

    Raises:
        ValueError, av.FFmpegError: PyAV's FFmpeg has no such muxer or encoder.
    """
    output = io.BytesIO()
    with unchanged_scheduling(), av.open(output, "w", format=form.muxer) as container:
        stream = container.add_stream(form.codec, rate=form.rate)
        stream.width, stream.height = form.size
        stream.pix_fmt = form.pixels
        stream.codec_context.thread_count = 1
        stream.bit_rate = 2_000_000
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.asarray(drawn(form.size)), "rgb24")
            frame = frame.reformat(format=form.pixels)
            frame.pts, frame.time_base = number, Fraction(1, form.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return output.getvalue()


_HEADS = {
    "free box": struct.pack(">I4s", 16, b"free") + bytes(8),
    "uuid box": struct.pack(">I4s", 64, b"uuid") + bytes(range(56)),
    "unknown box": struct.pack(">I4s", 32, b"zzzz") + bytes(24),
    "long box": struct.pack(">I4sQ", 1, b"abcd", 48) + bytes(32),
    "Void element": b"\xec\x90" + bytes(16),
    "ID3 tag": b"ID3\4\0\0\0\0\1\0" + bytes(128),
    "ID3v1 and APE": b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0xA0000000) + bytes(8),
    "byte order mark": b"\xef\xbb\xbf",
    "JFIF": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xd9",
}


def altered(form: Form, content: bytes, lengths: tuple[int, ...] = LENGTHS) -> Iterator[Disguised]:
    """Yield a file after the edits of `disguises`, and after others of its head, versions and packets."""
    yield from disguised(content, lengths)
    for name, head in _HEADS.items():
        yield Disguised(f"{name} before", head + content)
    for place in (*range(12), 20, 24, 30, 40):
        changed = bytearray(content)
        changed[place] ^= 1 if place % 2 else 0x20
        yield Disguised(f"byte {place} changed", bytes(changed))
    if content[:4] == b"RIFF":
        junk = b"JUNK" + struct.pack("<I", 256) + bytes(256)
        yield Disguised("a chunk first", content[:12] + junk + content[12:])
        yield Disguised("RIFX", b"RIFX" + content[4:])
        for name in (b"ON2 ", b"AVIX", b"AVI\x19", b"AMV "):
            yield Disguised(f"type {name!r}", content[:8] + name + content[12:])
    if content[4:8] == b"ftyp":
        for brand in (b"zzzz", b"heic", b"avif", b"crx ", bytes(4)):
            yield Disguised(f"brand {brand!r}", content[:8] + brand + content[12:])
        size = int.from_bytes(content[:4])
        yield Disguised("without ftyp", struct.pack(">I4s", size, b"free") + content[8:])
        yield Disguised("ftyp of another name", content[:4] + b"styp" + content[8:])
    if form.muxer == "mpegts":
        packets = [content[at : at + 188] for at in range(0, len(content), 188)]
        yield Disguised("192 bytes", b"".join(bytes(4) + packet for packet in packets))
        yield Disguised("204 bytes", b"".join(packet + bytes(16) for packet in packets))
        stamped = b"".join(b"\1\2\3\4" + packet for packet in packets)
        for length in lengths:
            yield Disguised(f"192 bytes behind {length}", bytes(length) + stamped)
    if form.muxer == "flv":
        for version in range(6):
            yield Disguised(f"version {version}", content[:3] + bytes((version,)) + content[4:])
    if form.muxer in {"h264", "hevc"}:
        yield Disguised("start codes of 3 bytes", content.replace(b"\0\0\0\1", b"\0\0\1"))
        delimiter = b"\0\0\0\1\x09\x30" if form.muxer == "h264" else b"\0\0\0\1\x46\1\x50"
        yield Disguised("a delimiter first", delimiter + content)
        filler = b"\0\0\1\x0c\xff\xff\x80" if form.muxer == "h264" else b"\0\0\1\x4c\1\xff\x80"
        yield Disguised("filler first", filler * 3 + content)


def is_shown(content: bytes, size: tuple[int, int]) -> bool:
    """Return True if FFmpeg shows the scene in one of the first frames."""
    wanted = np.asarray(drawn(size).convert("L").resize((64, 64)), float)
    try:
        with av.open(io.BytesIO(content), container_options={"protocol_whitelist": "none"}) as container:
            for number, frame in enumerate(container.decode(video=0)):
                seen = Image.fromarray(frame.to_ndarray(format="rgb24")).convert("L").resize((64, 64))
                values = np.asarray(seen, float)
                alike = np.ptp(values) and np.corrcoef(values.ravel(), wanted.ravel())[0, 1] >= ALIKE
                # With faults that turn so many bits, no copy of it is found.
                if alike and (digest(frame.to_image()) ^ digest(drawn(size))).bit_count() <= SURELY_NEAR:
                    return True
                if number == 3:
                    return False
    except (av.FFmpegError, IndexError, TypeError, ValueError, AttributeError):
        pass
    return False


def distance(member: Member, picture: Image.Image) -> int:
    """Return the least distance of the digests of a frame from a picture's, in bits."""
    found = member.decoded(("pdq",))
    if not isinstance(found, DecodedPicture):
        return 256
    wanted = digest(picture)
    return min((int.from_bytes(each.value) ^ wanted).bit_count() for each in found.digests)


class Reader:
    """Opens files as a scan does, in this process."""

    def __init__(self) -> None:
        self._frames = VideoOpener([PDQ()], ("as-shown", "turned", "trimmed"), 1 << 26).frames
        self._recogniser = Recogniser(players=[load()])

    def outcome(self, content: bytes, size: tuple[int, int]) -> str:
        """Return "match", `CLEAN`, "picture" for one that is decoded as such, or why it is undecoded."""
        kind = sniff(content[:TAIL_SIZE]) or container_behind(content[-TAIL_SIZE:])
        if kind is None:
            if none_kind(PreadFile(content)):
                return CLEAN
            kind = UNRECOGNISED
        if not kind.container:
            return "picture"
        reader = MemberReader(
            None, len(content), [], None, MemberLimits(), {}, self._frames, self._recogniser
        )
        reasons = []
        for record in reader.records(PreadFile(content), kind):
            if isinstance(record, ContainerEnd):
                reasons.append(record.reason)
            elif isinstance(record, Member) and record is not BEFORE_RISK:
                reasons.append(record.reason)
                if distance(record, drawn(size)) <= NEAR:
                    return "match"
        return next((reason.name for reason in reasons if reason), CLEAN)
