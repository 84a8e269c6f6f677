"""Decode frames of a video and hash them: key frames in all variants, or those that vPDQ samples.

PyAV decodes, by FFmpeg. It reads the file through the given object and can open nothing else: playlists
(HLS, DASH, concat) are no formats here, and no protocol is allowed. It starts no thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import av
import av.subtitles.codeccontext
import av.subtitles.stream
from av.stream import Discard, Disposition
from msgspec import Struct

from hashscan.hashing.hash_algorithms import PictureHash
from hashscan.hashing.media.picture_opening import Frame
from hashscan.hashing.media.renderings import hash_frame
from hashscan.hashing.pread import PictureFile
from hashscan.hashing.variants import TRIMMED, TURNS, DigestRun, Kind, Part
from hashscan.hashing.video.luma import luma_by_colours, luma_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

FORMATS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf", "ogg", "mpegts", "mpeg", "rm", "mxf"),
    *("dv", "nut", "ivf", "obu", "h264", "hevc", "m4v", "mpegvideo", "yuv4mpegpipe", "swf", "wtv", "nsv"),
)
"""FFmpeg's names of the container formats that are opened; none refers to other files or addresses."""

VARIANTS = ("as-shown", "turned", "trimmed")
"""The variants in which key frames are hashed by default; see `hashing.variants`."""


class Sampling(StrEnum):
    """The frames that are hashed."""

    KEY_FRAMES = "key frames"
    """Each frame that is stored whole, of all video streams; the others are not decoded."""
    VPDQ = "vPDQ"
    """One frame a second of the first video stream, chosen as the reference implementation of vPDQ does."""


class Fault(StrEnum):
    """The reason why not everything of a video was looked at."""

    BROKEN = "broken"
    TRUNCATED = "truncated"
    TOO_LARGE = "over the pixel limit"
    TIMEOUT = "over the time limit"
    TOO_MANY = "more frames or streams than the limit"
    NO_CODEC = "codec not available"
    NO_VIDEO = "no video in it"
    UNSUPPORTED = "format not supported"


class VideoLimits(Struct, frozen=True):
    """Limits for one video."""

    seconds: float = 60.0
    """Processor time."""
    frames: int = 20_000
    """Frames that are hashed."""
    pixels: int = 1 << 26
    """Pixels of one frame; 8K has half of them."""
    streams: int = 8
    """Video streams that are decoded."""


class VideoFrame(NamedTuple):
    """A frame that was hashed."""

    stream: int
    """Number of its stream in the file, from 0."""
    number: int
    """Number among the decoded frames of its stream, from 0."""
    seconds: float
    """Time at which it is shown, from 0."""
    runs: tuple[DigestRun, ...]
    """Its digests; first those of the frame as it is stored."""


class VideoEnd(NamedTuple):
    """The last record of a video."""

    fault: Fault | None
    """The reason why not everything was looked at; None if there is none."""
    until: float
    """Time in seconds up to which it was looked at."""
    duration: float
    """Length in seconds, as the file says; 0 if it doesn't."""
    hashed: int
    """Number of frames."""
    longest_gap: float
    """Longest time in seconds, in one stream, in which no frame was looked at: with key frames, a video that
    has few of them was hardly looked at."""


def hash_video(
    file: PictureFile,
    hashes: Sequence[PictureHash],
    sampling: Sampling,
    limits: VideoLimits,
    variants: Collection[str] = VARIANTS,
) -> Iterator[VideoFrame | VideoEnd]:
    """Decode a video and yield a record for each hashed frame, then a `VideoEnd`.

    Of frames that follow one another with the same digest, only the first is yielded, except for vPDQ.

    Args:
        file: read and seek only; no other file is opened.
        hashes: the algorithms; for vPDQ, PDQ alone.
        variants: some of `variants.VARIANTS`.

    Raises:
        MemoryError: a frame needs more memory than there is.
    """
    yield from _Video(file, hashes, sampling, limits, variants).records()


def sequences(frames: Sequence[VideoFrame]) -> Iterator[tuple[str, bytes, list[int]]]:
    """Yield the digests of a whole video in each variant: mirrored, turned, borders trimmed.

    A video is compared with listed ones once for each, since all its frames are altered in the same way.

    Args:
        frames: those of one stream, hashed by one algorithm; at least one.

    Yields:
        The variant's name, empty for the video as it is stored; the frames' digests, concatenated; and their
        qualities. A frame without borders has the same digests in both.
    """
    whole = [frame.runs[0] for frame in frames]
    trimmed = [
        next((run for run in frame.runs if run.rendering == TRIMMED), frame.runs[0]) for frame in frames
    ]
    ways = {"": whole, "borders trimmed": trimmed} if trimmed != whole else {"": whole}
    for way, runs in ways.items():
        size = len(whole[0].values) // len(whole[0].turns)
        for place, turn in enumerate(whole[0].turns):
            name = ", ".join(filter(None, (way, TURNS[turn])))
            part = slice(place * size, (place + 1) * size)
            yield name, b"".join(run.values[part] for run in runs), [run.quality for run in runs]


_TIME_MAX = 1e7
"""Latest time in seconds that is believed; a third of a year."""
_RATE = 25
"""Frames a second, where the file doesn't say."""
_RATE_MAX = 240
"""Largest number of frames that vPDQ passes over: a file may say that it has a million a second."""
_INTRA_SECONDS = 0.5
"""Time between hashed frames of a codec that stores each frame whole (MJPEG, ProRes)."""
_INTRA_FRAMES = 32
"""Frames passed over at most meanwhile, should their times be false."""
_SLACK_SECONDS = 5.0
_SLACK_SHARE = 0.02
"""Time before the stated end at which the last frame may be: sound may last longer than pictures."""

_ORIENTATIONS = {90: 8, -90: 6, 180: 3, -180: 3}
"""EXIF orientation by the angle of the display matrix, counterclockwise."""


class _Ended(Exception):
    """A limit is reached."""


class _Stream:
    """The state of one video stream."""

    def __init__(self, stream: VideoStream, sampling: Sampling, start: float) -> None:
        """Describe a stream of which no packet was read yet.

        Args:
            start: time in seconds, as the file counts, at which the video begins.
        """
        self.index = stream.index
        self._start = start
        self._key_frames = sampling is Sampling.KEY_FRAMES
        rate = stream.average_rate or stream.base_rate or Fraction(_RATE)
        self.rate = float(rate) if rate > 0 else float(_RATE)
        self.step = min(max(1, int(self.rate)), _RATE_MAX)
        codec = stream.codec_context.codec
        self._intra = codec.intra_only
        self._vp9 = codec.name == "vp9"
        self.number = 0
        self.until = 0.0
        """Time of the last packet."""
        self.shown = 0.0
        """Time of the last decoded frame."""
        self._seconds = 0.0
        self._gap = 0.0
        self._passed = 0
        self._fed = -math.inf
        self.last = b""
        """Digests of the last frame that was hashed."""

    @property
    def gap(self) -> float:
        """Longest time in which no frame was looked at."""
        return max(self._gap, self.until - self._seconds)

    def see(self, time: float | None) -> None:
        """Count a frame; `time` is that at which the file says it is shown."""
        seconds = self._believed(time)
        if seconds is None:
            seconds = self._seconds + 1 / self.rate if self.number else 0.0
        self._gap = max(self._gap, seconds - self._seconds)
        self._seconds = max(self._seconds, seconds)
        self.until = max(self.until, seconds)
        self.shown = seconds
        self.number += 1

    def wants(self, packet: av.Packet[Any]) -> bool:
        """Return True if a packet is to be decoded; most of FFmpeg's decoders find key frames themselves."""
        if packet.size == 0:
            # The end: frames that the decoder holds back follow.
            return True
        time = float(packet.pts * packet.time_base) if packet.pts is not None and packet.time_base else None
        seconds = self._believed(time)
        if seconds is not None:
            self.until = max(self.until, seconds)
        if not self._key_frames:
            return True
        if self._vp9:
            return _is_vp9_key(memoryview(packet)[0])
        if not self._intra:
            return True
        if seconds is not None and 0 <= seconds - self._fed < _INTRA_SECONDS and self._passed < _INTRA_FRAMES:
            self._passed += 1
            return False
        self._fed, self._passed = -math.inf if seconds is None else seconds, 0
        return True

    def _believed(self, time: float | None) -> float | None:
        seconds = -1.0 if time is None else time - self._start
        return seconds if 0 <= seconds <= _TIME_MAX else None


def _is_vp9_key(first: int) -> bool:
    """Return True if the header of a VP9 frame names it a key frame; what the container says may be false.

    Source: VP9 Bitstream & Decoding Process Specification, section 6.2.
    """
    if first & 0x30 == 0x30:
        first <<= 1
    return not first & 0x0C


class _Video:
    """The steps of `hash_video`."""

    def __init__(
        self,
        file: PictureFile,
        hashes: Sequence[PictureHash],
        sampling: Sampling,
        limits: VideoLimits,
        variants: Collection[str],
    ) -> None:
        self._file = file
        self._hashes = hashes
        self._sampling = sampling
        self._limits = limits
        self._variants = variants
        self._processor_deadline = time.process_time() + limits.seconds
        self._fault: Fault | None = None
        self._streams: dict[int, _Stream] = {}
        self._hashed = 0
        self._duration = 0.0

    def records(self) -> Iterator[VideoFrame | VideoEnd]:
        ended = False
        try:
            with self._opened() as container:
                yield from self._frames(container)
        except _Ended:
            ended = True
        except av.FFmpegError as error:
            self._note(_fault_of(error))
        # Decoders hold frames back: up to a limit, packets tell nothing.
        streams = self._streams.values()
        until = max((stream.shown if ended else stream.until for stream in streams), default=0.0)
        if not ended and until + max(_SLACK_SECONDS, _SLACK_SHARE * self._duration) < self._duration:
            self._note(Fault.TRUNCATED)
        gap = max((stream.gap for stream in streams), default=0.0)
        yield VideoEnd(self._fault, until, self._duration, self._hashed, gap)

    def _note(self, fault: Fault) -> None:
        self._fault = self._fault or fault

    def _opened(self) -> InputContainer:
        try:
            return self._opened_as_listed()
        except av.error.ArgumentError as error:
            # Not one of these formats.
            self._note(Fault.UNSUPPORTED)
            raise _Ended from error

    def _opened_as_listed(self) -> InputContainer:
        return av.open(
            self._file,
            "r",
            options={"threads": "1"},
            container_options={"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"},
            metadata_errors="replace",
            buffer_size=1 << 16,
            io_open=_refuse,
        )

    def _frames(self, container: InputContainer) -> Iterator[VideoFrame]:
        chosen = self._chosen(container)
        self._prepare(container, chosen)
        for packet in container.demux(chosen) if chosen else ():
            if time.process_time() > self._processor_deadline:
                self._note(Fault.TIMEOUT)
                raise _Ended
            seen = self._streams[packet.stream.index]
            for frame in self._decoded(packet) if seen.wants(packet) else ():
                if isinstance(frame, av.VideoFrame) and self._samples(frame, seen):
                    yield from self._hashed_frame(frame, seen)

    def _prepare(self, container: InputContainer, chosen: Sequence[VideoStream]) -> None:
        self._duration = max(0.0, (container.duration or 0) / av.time_base)
        start = (container.start_time or 0) / av.time_base
        for stream in container.streams:
            if stream not in chosen:
                stream.discard = Discard.all
        for stream in chosen:
            context = stream.codec_context
            context.thread_count = 1
            context.options = {"max_pixels": str(self._limits.pixels)}
            if self._sampling is Sampling.KEY_FRAMES:
                context.skip_frame = "NONKEY"
            self._streams[stream.index] = _Stream(stream, self._sampling, start)

    def _decoded(self, packet: av.Packet[Any]) -> Sequence[object]:
        """Return the frames that a packet completes; none for a broken one, since later ones may be whole."""
        try:
            return packet.decode()
        except av.FFmpegError as error:
            self._note(_fault_of(error))
            return ()

    def _chosen(self, container: InputContainer) -> list[VideoStream]:
        """Return the streams to decode."""
        streams = list(container.streams.video)
        if not streams:
            self._note(Fault.NO_VIDEO)
        known = [stream for stream in streams if _has_codec(stream)]
        if len(known) < len(streams):
            self._note(Fault.NO_CODEC)
        small = [stream for stream in known if stream.width * stream.height <= self._limits.pixels]
        if len(small) < len(known):
            self._note(Fault.TOO_LARGE)
        if self._sampling is Sampling.VPDQ:
            moving = [stream for stream in small if not stream.disposition & Disposition.attached_pic]
            return (moving or small)[:1]
        if len(small) > self._limits.streams:
            self._note(Fault.TOO_MANY)
        return small[: self._limits.streams]

    def _samples(self, frame: av.VideoFrame, seen: _Stream) -> bool:
        """Count a frame; return True if it is to be hashed."""
        number = seen.number
        seen.see(frame.time)
        if frame.is_corrupt:
            self._note(Fault.BROKEN)
        return not number % seen.step if self._sampling is Sampling.VPDQ else frame.key_frame

    def _hashed_frame(self, frame: av.VideoFrame, seen: _Stream) -> Iterator[VideoFrame]:
        number = seen.number - 1
        picture = Frame(
            luma_by_colours(frame) if self._sampling is Sampling.VPDQ else luma_of(frame),
            frame.width,
            frame.height,
            orientation=_ORIENTATIONS.get(frame.rotation, 1),
            part=Part(Kind.FRAME, number + 1),
        )
        found = hash_frame(picture, self._hashes, self._variants)
        first = next(found)
        if self._sampling is Sampling.KEY_FRAMES and first.values == seen.last:
            return
        seen.last = first.values
        if self._hashed == self._limits.frames:
            self._note(Fault.TOO_MANY)
            raise _Ended
        self._hashed += 1
        runs = (first, *found)
        seconds = number / seen.rate if self._sampling is Sampling.VPDQ else seen.shown
        yield VideoFrame(seen.index, number, seconds, runs)


def _has_codec(stream: VideoStream) -> bool:
    # The library's types don't say that it has none for a codec that this build can't decode.
    context: Any = stream.codec_context
    return context is not None


def _refuse(url: str, flags: int, options: object) -> NoReturn:
    raise PermissionError("a video opens no other file")


def _fault_of(error: av.FFmpegError) -> Fault:
    if isinstance(error, av.error.DecoderNotFoundError):
        return Fault.NO_CODEC
    if isinstance(error, av.error.PatchWelcomeError | av.error.DemuxerNotFoundError):
        return Fault.UNSUPPORTED
    return Fault.BROKEN
