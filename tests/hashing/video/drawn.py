"""Videos for tests, drawn by code and encoded by PyAV; small, and of few frames."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from benchmarks.video.drawn import unchanged_scheduling
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.video.frames import VideoCover, VideoEnd, VideoFrame, VideoLimits, hash_video
from hashscan.hashing.video.streams import Sampling
from tests.pictures import scene

RATE = 10


def scenes(seeds: Iterable[int], frames: int = RATE, size: tuple[int, int] = (160, 120)) -> list[Image.Image]:
    """Frames of scenes, each shown for some frames."""
    return [picture for seed in seeds for picture in [scene(seed, *size)] * frames]


def video(
    frames: Sequence[Image.Image],
    *,
    form: str = "matroska",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    gop: int = RATE,
    options: Mapping[str, str] = {},
    turned: int = 0,
    times: Sequence[int] | None = None,
    shown: Sequence[int] | None = None,
    tracks: int = 1,
    full_range: bool = False,
    rate: int = RATE,
) -> bytes:
    """A video's content.

    Args:
        turned: angle that players turn it by, counterclockwise.
        times: time of each packet in frames, where each frame is a packet; None for one after the other.
        shown: time at which each picture is shown, in frames; None for one after the other.
        full_range: True for brightness from 0 to 255 instead of 16 to 235.
    """
    output = io.BytesIO()
    with unchanged_scheduling(), av.open(output, "w", format=form) as container:
        streams = []
        for _ in range(tracks):
            stream = container.add_stream(codec, rate=rate, options=dict(options))
            stream.width, stream.height = frames[0].size
            stream.pix_fmt = pixels
            stream.gop_size = gop
            stream.codec_context.time_base = Fraction(1, rate)
            stream.codec_context.thread_count = 1
            if full_range:
                stream.codec_context.color_range = 2
            if turned:
                stream.set_display_rotation(turned)
            streams.append(stream)
        for number, picture in enumerate(frames):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(np.asarray(picture), "rgb24")
                frame = frame.reformat(format=pixels, dst_color_range=2 if full_range else 1)
                frame.pts = number if shown is None else shown[number]
                frame.time_base = Fraction(1, rate)
                for packet in stream.encode(frame):
                    if times is not None:
                        packet.pts = packet.dts = times[number]
                    container.mux(packet)
        for stream in streams:
            container.mux(stream.encode(None))
    return output.getvalue()


def with_edits(content: bytes, *edits: tuple[float, float]) -> bytes:
    """An MP4 whose edit list, of one entry, is replaced by others: each a begin and a length in seconds."""
    at = content.index(b"edts") - 4
    (size,) = struct.unpack_from(">I", content, at)
    film = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    media = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)[0]
    rows = b"".join(
        struct.pack(">iiI", int(length * film), int(start * media), 1 << 16) for start, length in edits
    )
    elst = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(edits)) + rows
    edts = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    changed = bytearray(content)
    changed[at : at + size] = edts
    # The index lies behind the frames, so that their positions stay.
    for name in (b"moov", b"trak"):
        place = content.index(name) - 4
        (before,) = struct.unpack_from(">I", content, place)
        struct.pack_into(">I", changed, place, before + len(edts) - size)
    return bytes(changed)


class Content(io.BytesIO):
    """A file in memory."""

    ran_out = False

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.size = len(content)


_LIMITS = VideoLimits(seconds=30)


def read(
    content: bytes, sampling: Sampling = Sampling.KEY_FRAMES, limits: VideoLimits = _LIMITS
) -> tuple[list[VideoFrame], VideoEnd]:
    """The frames of a video, and its end."""
    *frames, end = hash_video(Content(content), [PDQ()], sampling, limits)
    assert isinstance(end, VideoEnd)
    found = [frame for frame in frames if isinstance(frame, VideoFrame)]
    assert len(found) == end.hashed
    assert all(isinstance(frame, VideoFrame | VideoCover) for frame in frames)
    assert all(0 <= frame.seconds <= 1e7 for frame in found)
    assert 0 <= end.longest_gap <= 1e7
    return found, end


def digest(picture: Image.Image) -> int:
    """The picture's PDQ."""
    return int.from_bytes(PDQ().digest(np.asarray(picture.convert("L")))[0])


def nearest(frame: VideoFrame, picture: Image.Image, *, plain: bool = False) -> int:
    """The least distance of a frame's digests, or of the first of them, from a picture's, in bits."""
    wanted = digest(picture)
    values = [int.from_bytes(each.value) for run in frame.runs for each in run.digests()]
    return min((value ^ wanted).bit_count() for value in (values[:1] if plain else values))
