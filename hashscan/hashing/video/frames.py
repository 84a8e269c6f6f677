"""Decode frames of a video and hash them: key frames in all variants, one each half second, or those of vPDQ.

PyAV decodes, by FFmpeg. It reads the file through the given object and can open nothing else: playlists
(HLS, DASH, concat) are no formats here, and no protocol is allowed. It starts no thread.
"""

from __future__ import annotations

import math
import re
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

from hashscan.hashing.formats import sniff
from hashscan.hashing.hash_algorithms import PictureHash
from hashscan.hashing.media.picture_opening import Frame
from hashscan.hashing.media.renderings import hash_frame
from hashscan.hashing.pread import PictureFile
from hashscan.hashing.variants import DigestRun, Kind, Part
from hashscan.hashing.video.luma import luma_by_colours, luma_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.subtitles.stream import SubtitleStream
    from av.video.stream import VideoStream

FORMATS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf", "ogg", "mpegts", "mpeg", "rm", "mxf"),
    *("dv", "nut", "ivf", "obu", "h264", "hevc", "m4v", "mpegvideo", "yuv4mpegpipe", "mp3", "flac"),
)
"""FFmpeg's names of the container formats that are opened; none refers to other files or addresses."""

VARIANTS = ("as-shown", "turned", "trimmed")
"""The variants in which key frames are hashed by default; see `hashing.variants`."""


class Sampling(StrEnum):
    """The frames that are hashed."""

    KEY_FRAMES = "key frames"
    """Each frame that is stored whole, of all video streams; the others are not decoded."""
    ALL = "all frames"
    """All frames of all video streams are decoded; key frames are hashed, and one every half second."""
    VPDQ = "vPDQ"
    """One frame a second of the first video stream, chosen as the reference implementation of vPDQ does."""


class Fault(StrEnum):
    """The reason why not everything of a video was looked at."""

    BROKEN = "broken"
    TRUNCATED = "truncated"
    TOO_LARGE = "over the pixel limit"
    TIMEOUT = "over the time limit"
    MEMORY = "over the memory limit"
    TOO_MANY = "more frames or streams than the limit"
    NO_CODEC = "codec not available"
    SUBTITLES = "subtitles that are pictures"
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
    width: int
    height: int
    """Size in pixels, as it is stored."""


class VideoCover(NamedTuple):
    """A picture file in a video or in a piece of music, such as its cover."""

    stream: int
    content: bytes


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
    longest_run: int
    """Largest number of frames, one after another in one stream, that were not looked at; the times may be
    false."""
    decoded: int
    """Number of decoded frames in the stream that has the fewest."""


def hash_video(
    file: PictureFile,
    hashes: Sequence[PictureHash],
    sampling: Sampling,
    limits: VideoLimits,
    variants: Collection[str] = VARIANTS,
    formats: Collection[str] = FORMATS,
) -> Iterator[VideoFrame | VideoCover | VideoEnd]:
    """Decode a video and yield a record for each hashed frame, then a `VideoEnd`.

    Of frames that follow one another with the same digest, only the first is yielded, except for vPDQ. Covers
    are yielded as they are stored, except for vPDQ. A file of sound alone has no frames, and no fault.

    Args:
        file: read and seek only; no other file is opened.
        hashes: the algorithms; for vPDQ, PDQ alone.
        variants: some of `variants.VARIANTS`.
        formats: some of `FORMATS`, of which the file must be.
    """
    yield from _Video(file, hashes, sampling, limits, variants, formats).records()


_TIME_MAX = 1e7
"""Latest time in seconds that is believed; a third of a year."""
_RATE = 25
"""Frames a second, where the file doesn't say."""
_RATE_MAX = 240
"""Largest number of frames that vPDQ passes over: a file may say that it has a million a second."""
_INTRA_SECONDS = 0.5
"""Time between hashed frames of a codec that stores each frame whole (MJPEG, ProRes), and of all frames."""
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
        self._sampling = sampling
        self.duration = _duration_of(stream)
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
        self._unseen = self.run = 0
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
        self._unseen = 0

    def wants(self, packet: av.Packet[Any]) -> bool:
        """Return True if a packet is to be decoded; most of FFmpeg's decoders find key frames themselves."""
        if packet.size == 0:
            # The end: frames that the decoder holds back follow.
            return True
        time = float(packet.pts * packet.time_base) if packet.pts is not None and packet.time_base else None
        seconds = self._believed(time)
        if seconds is not None:
            self.until = max(self.until, seconds)
        self._unseen += 1
        self.run = max(self.run, self._unseen)
        if self._sampling is not Sampling.KEY_FRAMES:
            return True
        if self._vp9:
            return _is_vp9_key(memoryview(packet)[0])
        return not self._intra or self._is_due(seconds)

    def samples(self, *, key_frame: bool) -> bool:
        """Return True if the frame that was seen last is to be hashed."""
        if self._sampling is Sampling.VPDQ:
            return not (self.number - 1) % self.step
        return key_frame or (self._sampling is Sampling.ALL and self._is_due(self.shown))

    def _is_due(self, seconds: float | None) -> bool:
        """Return True if enough time has passed since the frame for which this was True before."""
        if seconds is not None and 0 <= seconds - self._fed < _INTRA_SECONDS and self._passed < _INTRA_FRAMES:
            self._passed += 1
            return False
        self._fed, self._passed = -math.inf if seconds is None else seconds, 0
        return True

    def _believed(self, time: float | None) -> float | None:
        seconds = -1.0 if time is None else time - self._start
        return seconds if 0 <= seconds <= _TIME_MAX else None


def _duration_of(stream: VideoStream) -> float | None:
    """Return the length of a stream in seconds, as the file says; None if it doesn't."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska.
    if (tag := _DURATION.match(stream.metadata.get("DURATION", ""))) is not None:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    return None


_DURATION = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)\Z", re.ASCII)


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
        formats: Collection[str],
    ) -> None:
        self._file = file
        self._formats = formats
        self._hashes = hashes
        self._sampling = sampling
        self._limits = limits
        self._variants = variants
        self._processor_deadline = time.process_time() + limits.seconds
        self._fault: Fault | None = None
        self._streams: dict[int, _Stream] = {}
        self._hashed = 0
        self._duration = 0.0
        self._sound = False

    def records(self) -> Iterator[VideoFrame | VideoCover | VideoEnd]:
        ended = False
        try:
            with self._opened() as container:
                yield from self._frames(container)
        except _Ended:
            ended = True
        except MemoryError:
            # FFmpeg's own is one of its errors, too.
            ended = True
            self._note(Fault.MEMORY)
        except av.FFmpegError as error:
            self._note(_fault_of(error))
        # Decoders hold frames back, and may refuse packets.
        streams = self._streams.values()
        until = max((stream.shown if self._fault else stream.until for stream in streams), default=0.0)
        if not ended and any(map(self._is_cut, streams)):
            self._note(Fault.TRUNCATED)
        gap = max((stream.gap for stream in streams), default=0.0)
        run = max((stream.run for stream in streams), default=0)
        decoded = min((stream.number for stream in streams), default=0)
        yield VideoEnd(self._fault, until, self._duration, self._hashed, gap, run, decoded)

    def _is_cut(self, stream: _Stream) -> bool:
        """Return True if a stream that was read to its end is shorter than the file says."""
        # The sound of a video may be longer than its pictures.
        duration = stream.duration or (0.0 if self._sound else self._duration)
        return stream.until + max(_SLACK_SECONDS, _SLACK_SHARE * duration) < min(duration, _TIME_MAX)

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
            # For the frames that are decoded to find out what is in the file.
            options={"threads": "1", "max_pixels": str(self._limits.pixels)},
            container_options={
                "format_whitelist": ",".join(self._formats),
                "protocol_whitelist": "none",
                # Not every player leaves out what an MP4 says is to be left out.
                **({} if self._sampling is Sampling.VPDQ else {"ignore_editlist": "1"}),
            },
            metadata_errors="replace",
            buffer_size=1 << 16,
            io_open=_refuse,
        )

    def _frames(self, container: InputContainer) -> Iterator[VideoFrame | VideoCover]:
        covers, chosen = self._chosen(container)
        self._prepare(container, covers, chosen)
        wanted = {stream.index for stream in covers}
        for packet in container.demux([*covers, *chosen]) if covers or chosen else ():
            if time.process_time() > self._processor_deadline:
                self._note(Fault.TIMEOUT)
                raise _Ended
            index = packet.stream.index
            if (seen := self._streams.get(index)) is None:
                if packet.size:
                    wanted.discard(index)
                    yield self._cover(index, bytes(packet))
                if not (wanted or chosen):
                    # All else is sound.
                    return
                continue
            for frame in self._decoded(packet) if seen.wants(packet) else ():
                if isinstance(frame, av.VideoFrame) and self._samples(frame, seen):
                    yield from self._hashed_frame(frame, seen)

    def _cover(self, index: int, content: bytes) -> VideoCover:
        known = sniff(content)
        if known is None or known.pillow is None:
            # Players may know what it is.
            self._note(Fault.BROKEN)
        return VideoCover(index, content)

    def _prepare(
        self, container: InputContainer, covers: Sequence[VideoStream], chosen: Sequence[VideoStream]
    ) -> None:
        self._duration = max(0.0, (container.duration or 0) / av.time_base)
        start = (container.start_time or 0) / av.time_base
        for stream in container.streams:
            if stream not in chosen and stream not in covers:
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
        except MemoryError:
            raise
        except av.error.ArgumentError:
            # FFmpeg's answer to a size over `max_pixels`.
            self._note(Fault.TOO_LARGE)
        except av.FFmpegError as error:
            self._note(_fault_of(error))
        return ()

    def _chosen(self, container: InputContainer) -> tuple[list[VideoStream], list[VideoStream]]:
        """Return the streams that are pictures, and those to decode."""
        self._sound = bool(container.streams.audio)
        if any(_is_of_pictures(stream) for stream in container.streams.subtitles):
            self._note(Fault.SUBTITLES)
        covers = [stream for stream in container.streams.video if _is_cover(stream)]
        streams = [stream for stream in container.streams.video if stream not in covers]
        known = [stream for stream in streams if _has_codec(stream)]
        if len(known) < len(streams):
            self._note(Fault.NO_CODEC)
        small = [stream for stream in known if stream.width * stream.height <= self._limits.pixels]
        if len(small) < len(known):
            self._note(Fault.TOO_LARGE)
        if self._sampling is Sampling.VPDQ:
            return [], small[:1]
        if len(small) > self._limits.streams:
            self._note(Fault.TOO_MANY)
        return covers, small[: self._limits.streams]

    def _samples(self, frame: av.VideoFrame, seen: _Stream) -> bool:
        """Count a frame; return True if it is to be hashed."""
        seen.see(frame.time)
        if frame.is_corrupt:
            self._note(Fault.BROKEN)
        return seen.samples(key_frame=frame.key_frame)

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
        if self._sampling is not Sampling.VPDQ and first.values == seen.last:
            return
        seen.last = first.values
        if self._hashed == self._limits.frames:
            self._note(Fault.TOO_MANY)
            raise _Ended
        self._hashed += 1
        runs = (first, *found)
        seconds = number / seen.rate if self._sampling is Sampling.VPDQ else seen.shown
        yield VideoFrame(seen.index, number, seconds, runs, frame.width, frame.height)


def _has_codec(stream: VideoStream) -> bool:
    # The library's types don't say that it has none for a codec that this build can't decode.
    context: Any = stream.codec_context
    return context is not None


def _is_cover(stream: VideoStream) -> bool:
    """Return True for a picture that is stored beside the video."""
    # The pictures of chapters are a video.
    return bool(stream.disposition & Disposition.attached_pic) and not (
        stream.disposition & Disposition.timed_thumbnails
    )


def _is_of_pictures(stream: SubtitleStream) -> bool:
    context: Any = stream.codec_context
    return context is not None and bool(context.codec.bitmap_sub)


def _refuse(url: str, flags: int, options: object) -> NoReturn:
    raise PermissionError("a video opens no other file")


def _fault_of(error: av.FFmpegError) -> Fault:
    if isinstance(error, av.error.DecoderNotFoundError):
        return Fault.NO_CODEC
    if isinstance(error, av.error.PatchWelcomeError | av.error.DemuxerNotFoundError):
        return Fault.UNSUPPORTED
    return Fault.BROKEN
