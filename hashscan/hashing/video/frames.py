"""Decode frames of a video and hash them: key frames in all variants, one each half second, or those of vPDQ.

PyAV decodes, by FFmpeg. It reads the file through the given object and can open nothing else: playlists
(HLS, DASH, concat) are no formats here, and no protocol is allowed. It starts no thread.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import av
import av.subtitles.codeccontext
import av.subtitles.stream
from av.stream import Discard, Disposition
from msgspec import Struct, structs

from hashscan.hashing.formats import sniff
from hashscan.hashing.hash_algorithms import PictureHash
from hashscan.hashing.media.picture_opening import Frame
from hashscan.hashing.media.renderings import hash_frame
from hashscan.hashing.media.views import views_of_alpha
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PictureFile
from hashscan.hashing.records import fault_of
from hashscan.hashing.variants import DigestRun, Kind, Part
from hashscan.hashing.video.covers import attachments
from hashscan.hashing.video.luma import colours_of, luma_by_colours, luma_of, opacity_of
from hashscan.hashing.video.streams import ALL, TIME_MAX, Ranges, Sampling, ShownFrame, StreamState

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.subtitles.stream import SubtitleStream
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

Record = TypeVar("Record")

FORMATS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf", "ogg", "mpegts", "mpeg", "rm", "mxf"),
    *("dv", "nut", "ivf", "obu", "h264", "hevc", "m4v", "mpegvideo", "yuv4mpegpipe", "mp3", "flac"),
)
"""FFmpeg's names of the container formats that are opened; none refers to other files or addresses."""

VARIANTS = ("as-shown", "turned", "trimmed")
"""The variants in which key frames are hashed by default; see `hashing.variants`."""


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
    FAILED = "unexpected error in a part"


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
    sampled: bool
    """True for a frame of vPDQ."""


class VideoCover(NamedTuple):
    """A picture file in a video or in a piece of music, such as its cover."""

    stream: int
    """Number of its stream; -1 for an attachment that FFmpeg does not take for a cover."""
    content: bytes


class KeyFramesLeft(NamedTuple):
    """The record after which the frames of vPDQ alone follow, though `BOTH` was asked for.

    To decode all frames takes too long to be sure of all key frames, or there are too many of them.
    """


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
    """Number of decoded frames in the stream that has the fewest; of `BOTH`, key frames."""
    lost: int
    """Number of packets of the stream that is sampled for vPDQ that gave no frame; 0 except with `BOTH`."""
    error: str = ""
    """The name of an exception's type, for `Fault.FAILED`."""
    unseen: Mapping[int, Ranges | None] = {}
    """By the number of the stream: the frames that are shown for half a second or longer and were not hashed;
    None where all must be decoded."""


def hash_video(
    file: PictureFile,
    hashes: Sequence[PictureHash],
    sampling: Sampling,
    limits: VideoLimits,
    variants: Collection[str] = VARIANTS,
    formats: Collection[str] = FORMATS,
    unseen: Mapping[int, Ranges | None] = {},
) -> Iterator[VideoFrame | VideoCover | KeyFramesLeft | VideoEnd]:
    """Decode a video and yield a record for each hashed frame, then a `VideoEnd`. The file must be of one of
    the formats (of `FORMATS`); no other file is opened. The hashes are those for frames that are not of vPDQ;
    `unseen` is, of `Sampling.LONG`, what `VideoEnd.unseen` has. Of frames that follow one another with the
    same digest, only the first is yielded, except for vPDQ. Covers are yielded as they are stored, except for
    vPDQ. A file of sound alone has no frames, and no fault."""
    yield from _Video(file, hashes, sampling, limits, variants, formats, unseen).records()


def has_same_packets(file: PictureFile, limits: VideoLimits, formats: Collection[str]) -> bool:
    """Return True if `KEY_FRAMES` and `VPDQ` read the same packets of the first video stream.

    The edit list of an MP4 may leave frames out, or show them twice; vPDQ heeds it.
    """
    if not _WITH_EDIT_LISTS.intersection(formats):
        return True
    found = []
    for sampling in (Sampling.KEY_FRAMES, Sampling.VPDQ):
        file.seek(0)
        found.append(_Video(file, (), sampling, limits, (), formats).index())
    return found[0] is not None and found[0] == found[1]


_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's names of the decoders that heed the opacity in a Matroska block's additions."""
_GROWING = frozenset(
    ("mpegts", "mpeg", "flv", "live_flv", "kux", "ogg", "nsv", "pva", "ty", "dhav", "wtv", "nuv")
)
"""FFmpeg's names of formats whose streams need not be named at the begin."""
_WITH_EDIT_LISTS = {FORMATS[0]}
_EDITED = {Sampling.VPDQ, Sampling.EDITED}
"""Samplings that heed the edit list."""
_INDEX_MAX = 1 << 19
"""Number of packets up to which two indexes are compared; six hours."""
_SHARE_ALONE, _SHARE_MAX = 1 / 16, 1 / 2
"""Shares of the processor time in which `BOTH` must have begun, and be at the end of the video: key frames
alone take much less, and must not be missing because there is no time for vPDQ."""
_SLACK_SECONDS = 5.0
_SLACK_SHARE = 0.02
"""Time before the stated end at which the last frame may be: sound may last longer than pictures."""

_ORIENTATIONS = {90: 8, -90: 6, 180: 3, -180: 3}
"""EXIF orientation by the angle of the display matrix, counterclockwise."""


class _Ended(Exception):
    """A limit is reached."""


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
        unseen: Mapping[int, Ranges | None] = {},
    ) -> None:
        self._file = file
        self._unseen = unseen
        self._formats = formats
        self._hashes = hashes
        self._sampling = sampling
        self._limits = limits
        self._variants = variants
        self._started = time.process_time()
        self._fault: Fault | None = None
        self._error = ""
        self._streams: dict[int, StreamState] = {}
        self._both: StreamState | None = None
        """The state for vPDQ of the stream that has another one for its key frames."""
        self._alpha: dict[int, av.VideoCodecContext] = {}
        """Decoders of the streams that store opacity beside the frames, by number."""
        self._key_frames_left = False
        self._pdq = [PDQ()]
        self._hashed: Counter[Sampling] = Counter()
        self._duration = 0.0
        self._sound = False

    def records(self) -> Iterator[VideoFrame | VideoCover | KeyFramesLeft | VideoEnd]:
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
        except Exception as error:
            self._note_error(error)
        # Decoders hold frames back, and may refuse packets.
        streams = self._streams.values()
        ends = streams if self._both is None else [self._both]
        until = max((stream.shown if self._fault else stream.until for stream in ends), default=0.0)
        if not ended and any(map(self._is_cut, streams)):
            self._note(Fault.TRUNCATED)
        gap = max((stream.gap for stream in streams), default=0.0)
        run = max((stream.run for stream in streams), default=0)
        decoded = min((stream.number for stream in streams), default=0)
        lost = 0 if self._both is None else abs(self._both.packets - self._both.number)
        ranges = {stream.index: stream.unseen(self._duration) for stream in streams}
        unseen = {index: each for index, each in ranges.items() if each != {}}
        counted = self._hashed.total(), gap, run, decoded, lost
        yield VideoEnd(self._fault, until, self._duration, *counted, self._error, unseen)

    def index(self) -> tuple[int, Fraction | None, array[int]] | None:
        """Return the number of the first video stream, its rate, and each packet that its index names.

        None if the file can't be opened, has no such stream, or too long an index.
        """
        # That it can't be opened is recorded when it is read.
        with suppress(Exception), self._opened() as container:
            for stream in self._chosen(container)[1]:
                entries = stream.index_entries
                if len(entries) > _INDEX_MAX:
                    return None
                fields = ((entry.pos, entry.size, entry.is_discard) for entry in entries)
                return stream.index, stream.average_rate, array("q", chain.from_iterable(fields))
        return None

    def _is_cut(self, stream: StreamState) -> bool:
        """Return True if a stream that was read to its end is shorter than stated, or gave no frame."""
        # The sound of a video may be longer than its pictures.
        duration = stream.duration or (0.0 if self._sound else self._duration)
        if not stream.number:
            # Where there are only packets that depend on others, `ALL` decodes them, too.
            return self._sampling in ALL if stream.packets else duration > 0
        return stream.until + max(_SLACK_SECONDS, _SLACK_SHARE * duration) < min(duration, TIME_MAX)

    def _note(self, fault: Fault) -> None:
        self._fault = self._fault or fault

    def _note_error(self, error: Exception) -> None:
        """Record an exception that nothing here is known to raise."""
        if self._fault is None:
            self._fault, self._error = Fault.FAILED, fault_of(error)

    def _guarded(self, frames: Iterator[Record]) -> Iterator[Record]:
        """Yield what is in a packet, or one frame; an unexpected exception costs no others."""
        try:
            yield from frames
        except (_Ended, MemoryError, av.FFmpegError):
            raise
        except Exception as error:
            self._note_error(error)

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
                **({} if self._sampling in _EDITED else {"ignore_editlist": "1"}),
            },
            metadata_errors="replace",
            buffer_size=1 << 16,
            io_open=_refuse,
        )

    def _frames(self, container: InputContainer) -> Iterator[VideoFrame | VideoCover | KeyFramesLeft]:
        covers, chosen = self._chosen(container)
        self._prepare(container, covers, chosen)
        if self._sampling in {Sampling.KEY_FRAMES, Sampling.BOTH}:
            yield from (VideoCover(-1, content) for content in attachments(container))
        wanted = {stream.index for stream in covers}
        late = not wanted and not chosen and container.format.name in _GROWING
        for packet in self._packets(container, [*container.streams.audio] if late else [*covers, *chosen]):
            if time.process_time() - self._started > self._limits.seconds:
                self._note(Fault.TIMEOUT)
                raise _Ended
            index = packet.stream.index
            if late:
                continue
            if (seen := self._streams.get(index)) is None:
                if packet.size and not self._key_frames_left:
                    wanted.discard(index)
                    yield self._cover(index, bytes(packet))
                if not (wanted or chosen):
                    # All else is sound.
                    return
            else:
                yield from self._guarded(self._frames_of(packet, seen, container))

    def _packets(
        self, container: InputContainer, streams: Sequence[AudioStream | VideoStream]
    ) -> Iterator[av.Packet[Any]]:
        """Yield the packets of streams; note if there is video that begins after the others were found."""
        found = False
        try:
            yield from container.demux(streams) if streams else ()
            found = not container.streams.video and container.streams.best("video") is not None
        except IndexError:
            # PyAV knows of no streams that were found later. All others were read to their end.
            found = not container.streams.video
        if found:
            self._note(Fault.TOO_MANY)

    def _frames_of(
        self, packet: av.Packet[Any], seen: StreamState, container: InputContainer
    ) -> Iterator[VideoFrame | KeyFramesLeft]:
        """Yield the frames of a packet that are to be hashed."""
        both = self._both
        if both is None or seen is both or seen.index != both.index:
            yield from self._frames_alone(packet, seen, self._alpha.get(seen.index))
            return
        if (decoder := self._alpha.get(seen.index)) is not None:
            yield from self._frames_alone(packet, seen, decoder)
            yield from self._frames_alone(packet, both)
        else:
            yield from self._frames_of_both(packet, seen, both)
        if self._key_frames_left or self._is_slow(both):
            self._key_frames_left = True
            yield KeyFramesLeft()
            self._streams = {both.index: both}
            for stream in container.streams:
                if stream.index != both.index:
                    stream.discard = Discard.all

    def _frames_alone(
        self, packet: av.Packet[Any], seen: StreamState, decoder: av.VideoCodecContext | None = None
    ) -> Iterator[VideoFrame]:
        """Yield the frames of a packet that are to be hashed, decoded by the stream's decoder or another."""
        for wanted in seen.decoded(packet):
            for frame in self._decoded(wanted, decoder):
                for shown in self._samples(frame, seen):
                    yield from self._guarded(self._hashed_frame(shown, seen))
        for shown in () if packet.size else seen.last_samples():
            yield from self._guarded(self._hashed_frame(shown, seen))

    def _frames_of_both(
        self, packet: av.Packet[Any], keys: StreamState, sampled: StreamState
    ) -> Iterator[VideoFrame]:
        """Yield the frames of a packet that are key frames, and those of vPDQ."""
        sampled.decoded(packet)
        keys.decoded(packet)
        for frame in self._decoded(packet):
            for shown in self._samples(frame, sampled):
                yield from self._guarded(self._hashed_frame(shown, sampled))
            for shown in keys.samples_beside(frame):
                yield from self._guarded(self._hashed_frame(shown, keys))
        for shown in () if packet.size else keys.last_samples(beside=True):
            yield from self._guarded(self._hashed_frame(shown, keys))

    def _is_slow(self, sampled: StreamState) -> bool:
        """Return True if decoding all frames may take more than the share of the time that it has."""
        share = min(1.0, sampled.until / self._duration) if self._duration else 0.0
        within = self._limits.seconds * (_SHARE_ALONE + (_SHARE_MAX - _SHARE_ALONE) * share)
        return time.process_time() - self._started > within

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
            sampling = Sampling.KEY_FRAMES if self._sampling is Sampling.BOTH else self._sampling
            if sampling is not Sampling.VPDQ and _has_alpha_beside(stream):
                # Its key frames are not those of the opacity.
                sampling = Sampling.ALL
                self._alpha[stream.index] = self._alpha_decoder(stream)
            context = stream.codec_context
            context.thread_count = 1
            context.options = {"max_pixels": str(self._limits.pixels)}
            if self._sampling is Sampling.BOTH and stream is chosen[0]:
                self._both = StreamState(stream, Sampling.VPDQ, start)
            elif sampling is Sampling.KEY_FRAMES:
                context.skip_frame = "NONKEY"
            ranges = self._unseen.get(stream.index)
            self._streams[stream.index] = StreamState(stream, sampling, start, ranges)

    def _alpha_decoder(self, stream: VideoStream) -> av.VideoCodecContext:
        """Return the decoder that heeds opacity, which FFmpeg's own do not, but browsers do; end where there
        is none."""
        known = stream.codec_context
        try:
            made = av.CodecContext.create(_WITH_ALPHA[known.codec.name], "r")
        except ValueError as error:
            self._note(Fault.NO_CODEC)
            raise _Ended from error
        assert isinstance(made, av.VideoCodecContext)
        made.extradata, made.thread_count = known.extradata, 1
        made.options = {"max_pixels": str(self._limits.pixels)}
        return made

    def _decoded(
        self, packet: av.Packet[Any], decoder: av.VideoCodecContext | None = None
    ) -> Sequence[av.VideoFrame]:
        """Return the frames that a packet completes; none for a broken one, since later ones may be whole."""
        try:
            found = packet.decode() if decoder is None else decoder.decode(packet)
            return [frame for frame in found if isinstance(frame, av.VideoFrame)]
        except MemoryError:
            raise
        except av.error.ArgumentError:
            stated = _pixels_stated(packet, decoder or packet.stream.codec_context)
            is_large = stated > self._limits.pixels
            self._note(Fault.TOO_LARGE if is_large else Fault.BROKEN)
        except av.FFmpegError as error:
            self._note(_fault_of(error))
        return ()

    def _chosen(self, container: InputContainer) -> tuple[list[VideoStream], list[VideoStream]]:
        """Return the streams that are pictures, and those to decode."""
        self._sound = bool(container.streams.audio)
        if not (self._sound or container.streams.video or container.streams.subtitles):
            # Its index was cut off, for example.
            self._note(Fault.BROKEN)
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
        if self._sampling is Sampling.LONG:
            return [], [stream for stream in small if self._unseen.get(stream.index)]
        if len(small) > self._limits.streams:
            self._note(Fault.TOO_MANY)
        return covers, small[: self._limits.streams]

    def _samples(self, frame: av.VideoFrame, seen: StreamState) -> Sequence[ShownFrame]:
        """Count a frame; return those that are to be hashed."""
        seen.see(frame.time)
        if frame.is_corrupt:
            self._note(Fault.BROKEN)
        return seen.samples(frame)

    def _hashed_frame(self, shown: ShownFrame, seen: StreamState) -> Iterator[VideoFrame]:
        frame, number, time_shown = shown
        sampled = seen.sampling is Sampling.VPDQ
        picture = Frame(
            luma_by_colours(frame) if sampled else luma_of(frame),
            frame.width,
            frame.height,
            orientation=_ORIENTATIONS.get(frame.rotation, 1),
            part=Part(Kind.FRAME, number + 1),
            colours=partial(colours_of, frame),
        )
        alpha = None if sampled else opacity_of(frame)
        found = hash_frame(picture, self._pdq if sampled else self._hashes, self._variants)
        first = next(found)
        views = [] if alpha is None else list(self._views(picture, alpha))
        values = b"".join(run.values for run in (first, *views))
        if not sampled and values == seen.last:
            return
        seen.last = values
        if self._hashed[seen.sampling] == self._limits.frames:
            if self._both is not None and not sampled:
                self._key_frames_left = True
                return
            self._note(Fault.TOO_MANY)
            raise _Ended
        self._hashed[seen.sampling] += 1
        runs = (first, *found, *views)
        seconds = number / seen.rate if sampled else time_shown
        yield VideoFrame(seen.index, number, seconds, runs, frame.width, frame.height, sampled)

    def _views(self, picture: Frame, alpha: NDArray[np.uint8]) -> Iterator[DigestRun]:
        """Yield the digests of a frame that is not opaque over each background, and of its opacity."""
        for view in views_of_alpha(picture.luma, alpha):
            seen = structs.replace(picture, luma=view.luma, look=view.look)
            yield from hash_frame(seen, self._hashes, self._variants, full=False)


def _has_alpha_beside(stream: VideoStream) -> bool:
    """Return True for a stream of Matroska that stores opacity as a second video beside each frame."""
    name = stream.codec_context.codec.name
    return name in _WITH_ALPHA and stream.metadata.get("alpha_mode", "0") != "0"


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


def _pixels_stated(packet: av.Packet[Any], known: av.VideoCodecContext) -> int:
    """Return the pixels of a frame by what a packet says of it; 0 if it says nothing.

    A decoder without a limit, which skips all frames, reads no more than that.
    """
    reader = av.CodecContext.create(known.codec.name, "r")
    assert isinstance(reader, av.VideoCodecContext)
    reader.extradata, reader.thread_count, reader.skip_frame = known.extradata, 1, "ALL"
    with suppress(av.FFmpegError):
        reader.decode(packet)
    return reader.width * reader.height
