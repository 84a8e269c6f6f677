"""Open a video: yield its frames, each with its digests and its time, and say if it was looked at in full.

Key frames are hashed. Where there are so few that a listed scene could lie between two, all frames are
decoded. For vPDQ, all frames are decoded anyway, and one a second is hashed besides; once more only where
that could miss key frames: see `has_same_packets`, `VideoEnd.lost` and `KeyFramesLeft`.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import time
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

import av
import numpy as np

from hashscan.hashing.archives.openers import DRAWN, Found, HashedPicture, Stopped, stored
from hashscan.hashing.container_kinds import VIDEOS
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.hash_algorithms import PictureHash, take_failure
from hashscan.hashing.member_records import FRAMES_MAX, Borders, SampledFrames
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.demuxers import whitelist
from hashscan.hashing.records import pack_picture
from hashscan.hashing.variants import LOOK, TRIMMED, WHOLE, DigestRun
from hashscan.hashing.video.covers import INDEX_MAX, covers_in_index, tags_behind, unpacked_index
from hashscan.hashing.video.frames import VARIANTS as OF_FRAMES
from hashscan.hashing.video.frames import (
    Fault,
    KeyFramesLeft,
    VideoCover,
    VideoEnd,
    VideoFrame,
    VideoLimits,
    has_same_packets,
    hash_video,
)
from hashscan.hashing.video.streams import Ranges, Sampling
from hashscan.model import ALGORITHMS, MemberLimits, Reason

_REASONS = {
    Fault.BROKEN: Reason.CONTAINER_BROKEN,
    Fault.TRUNCATED: Reason.CONTAINER_BROKEN,
    Fault.UNSUPPORTED: Reason.CONTAINER_BROKEN,
    Fault.TOO_LARGE: Reason.TOO_LARGE,
    Fault.MEMORY: Reason.MEMORY,
    Fault.TIMEOUT: Reason.TIMEOUT,
    Fault.TOO_MANY: Reason.CONTAINER_MEMBERS,
    Fault.NO_CODEC: Reason.METHOD,
    Fault.SUBTITLES: Reason.METHOD,
    Fault.FAILED: Reason.PART_FAILED,
}

_WHITELISTS = {kind: whitelist(kind, av.formats_available) for kind in VIDEOS}
"""FFmpeg's names of the formats that a video may be of, by the name of ours."""

_SOME_LOOKED_AT = {None, Fault.TRUNCATED, Fault.FAILED}
"""Faults with which all frames may still be decoded."""
_GAP_SECONDS = 12.0
"""Time between two key frames from which all frames are decoded; encoders make one in 10 s or more often."""
_RUN_MAX = 600
"""Number of frames between two key frames from which all are decoded, since times may be false."""

_FEW, _FEW_GAP_SECONDS = 3, 2.0
"""Number of key frames below which a video is so short that all its frames are decoded, where one of them is
so far from the next: the first is often black."""

_BOX, _LONG = struct.Struct(">I4sQ"), 1
"""Length and name of a box, and its length in full if the first one is `_LONG`; 0 is up to the end."""
_MAIN_BOXES = (b"moov", b"moof", b"mdat")
_BOXES_MAX = 100_000
"""Boxes of an MP4, behind which it may be cut."""
_INDEX_BOXES = frozenset({b"moov", b"udta", b"meta"})
_EDITS = re.compile(rb"elst(.)...(.{4})", re.DOTALL)
_SHORT_EDIT, _LONG_EDIT = struct.Struct(">IiI"), struct.Struct(">QqI")
"""Length, begin (-1: nothing is shown) and rate of an edit, by the version of its list."""

_NEAR_SHARE = 4
"""Divisor of the threshold: a frame within that distance of an earlier one would give nothing new."""
_COMPARED = 64
"""Number of earlier frames that a frame is compared with."""


class VideoOpener:
    """A reader of videos, with its algorithms and limits."""

    def __init__(
        self,
        hashes: Sequence[PictureHash],
        wanted: Collection[str],
        max_pixels: int,
        *,
        samples: bool = False,
    ) -> None:
        """Load all that decoding needs, by opening a video. The hashes are in the order of a reply;
        `max_pixels` is of one frame; with `samples`, the frames of vPDQ are yielded, too."""
        self._samples = samples
        self._hashes = hashes
        self._names = tuple(algorithm.name for algorithm in hashes)
        self._variants = [name for name in OF_FRAMES if name in wanted]
        self._max_pixels = max_pixels
        sample = PreadFile(_sample())
        for sampling in Sampling:
            for _ in hash_video(sample, hashes, sampling, VideoLimits(), self._variants):
                pass

    def frames(self, file: PreadFile, kind: FileFormat, limits: MemberLimits) -> Iterator[Found]:
        """Yield the covers and frames of a video, those of vPDQ, and why it was not looked at in full; of the
        limits, `members` and `seconds` are heeded."""
        found = _Distinct(self._names)
        opened = _Opened(file, kind, limits, self._max_pixels)
        take_failure(self._hashes)
        end = sampled = None
        if self._samples:
            end, sampled = yield from self._sampled(opened, found)
        if end is None:
            end = yield from self._looked_at(opened, Sampling.KEY_FRAMES, found)
        if end.fault in _SOME_LOOKED_AT and opened.has_edits():
            edited = yield from self._looked_at(opened, Sampling.EDITED, found)
            end = end._replace(fault=end.fault or edited.fault)
        few = _has_few_key_frames(end)
        if end.fault in _SOME_LOOKED_AT and end.unseen and not (few or None in end.unseen.values()):
            unseen = yield from self._looked_at(opened, Sampling.LONG, found, end.unseen)
            end = end._replace(fault=end.fault or unseen.fault, unseen=unseen.unseen)
        if end.fault in _SOME_LOOKED_AT and (end.unseen or few):
            end = yield from self._looked_at(opened, Sampling.ALL, found)
        if sampled is not None and end.fault is None:
            end = sampled
        yield from found.beside(opened)
        failed = take_failure(self._hashes)
        if end.fault is not None:
            yield Stopped(time_text(end.until), _REASONS[end.fault], end.error)
        elif failed:
            yield Stopped(time_text(end.until), Reason.HASH_FAILED)
        elif opened.is_cut():
            yield Stopped(time_text(end.until), Reason.CONTAINER_BROKEN)

    def _sampled(
        self, opened: _Opened, found: _Distinct
    ) -> Generator[Found, None, tuple[VideoEnd | None, VideoEnd]]:
        """Yield the frames of vPDQ, some at a time, and the key frames if they are the same packets. Return
        the end of the key frames, None if they are still to be looked at, and that of vPDQ."""
        keys = None
        both = opened.has_same_packets()
        if not both:
            keys = yield from self._looked_at(opened, Sampling.KEY_FRAMES, found)
        waiting: dict[tuple[Borders, tuple[int, ...]], list[bytes]] = {}
        for record in opened.records(self._hashes, Sampling.BOTH if both else Sampling.VPDQ, self._variants):
            if isinstance(record, VideoEnd):
                for (borders, turns), values in waiting.items():
                    yield SampledFrames(b"", borders, bytes(turns), b"".join(values))
                return record if keys is None and not (record.fault or record.lost) else keys, record
            if isinstance(record, KeyFramesLeft):
                keys = yield from self._looked_at(opened, Sampling.KEY_FRAMES, found)
            elif isinstance(record, VideoCover):
                yield from found.cover(record)
            elif not record.sampled:
                yield from found.picture(record)
            else:
                for borders, run in _good_runs(record):
                    values = waiting.setdefault((borders, run.turns), [])
                    values.append(run.values)
                    if len(values) == FRAMES_MAX:
                        del waiting[borders, run.turns]
                        yield SampledFrames(b"", borders, bytes(run.turns), b"".join(values))
        raise AssertionError("a video has an end")

    def _looked_at(
        self,
        opened: _Opened,
        sampling: Sampling,
        found: _Distinct,
        unseen: Mapping[int, Ranges | None] = {},
    ) -> Generator[Found, None, VideoEnd]:
        for record in opened.records(self._hashes, sampling, self._variants, unseen):
            if isinstance(record, VideoEnd):
                return record
            if isinstance(record, VideoFrame):
                yield from found.picture(record)
            elif isinstance(record, VideoCover):
                yield from found.cover(record)
        raise AssertionError("a video has an end")


class _Opened:
    """A video whose frames may be read several times, at the same time, too, within one limit of time."""

    def __init__(self, file: PreadFile, kind: FileFormat, limits: MemberLimits, max_pixels: int) -> None:
        self._place = file.place
        self._formats = _WHITELISTS[kind.name]
        self._limits = limits
        self._max_pixels = max_pixels
        self._started = time.process_time()

    def has_same_packets(self) -> bool:
        """Return True if the frames of vPDQ and key frames can be read together."""
        return has_same_packets(PreadFile(*self._place), self._within(), self._formats)

    def records(
        self,
        hashes: Sequence[PictureHash],
        sampling: Sampling,
        variants: Collection[str],
        unseen: Mapping[int, Ranges | None] = {},
    ) -> Iterator[VideoFrame | VideoCover | KeyFramesLeft | VideoEnd]:
        """Read the video from its begin, in the time that is left."""
        file = PreadFile(*self._place)
        return hash_video(file, hashes, sampling, self._within(), variants, self._formats, unseen)

    def has_edits(self) -> bool:
        """Return True if an edit list of an MP4 may show a frame again or longer, or can't be read."""
        if not self._is_mp4():
            return False
        index = self._index()
        return index is None or any(map(_is_edited, _EDITS.finditer(index)))

    def beside(self) -> Iterator[bytes | Stopped]:
        """Yield covers that FFmpeg does not find, or why they can't be read."""
        if self._is_mp4():
            index = self._index()
            yield from (
                [Stopped(b"cover", Reason.CONTAINER_MEMBER)] if index is None else covers_in_index(index)
            )
        yield from tags_behind(PreadFile(*self._place))

    def _is_mp4(self) -> bool:
        return self._formats == VIDEOS["MP4 or QuickTime"]

    def _index(self) -> bytes | None:
        """Return the boxes of an MP4 that describe its content; None if they are too long."""
        file = PreadFile(*self._place)
        found = []
        for at, size, name in _main_boxes(file):
            if name in _INDEX_BOXES:
                file.seek(at)
                found.append(unpacked_index(file.read(min(size, INDEX_MAX + 1))))
            if sum(map(len, found)) > INDEX_MAX:
                return None
        return b"".join(found)

    def is_cut(self) -> bool:
        """Return True if the file of an MP4 ends within one of its main boxes, or has too many to tell.

        It may have lost the track of its pictures, or its last seconds.
        """
        if not self._is_mp4():
            return False
        file = PreadFile(*self._place)
        boxes = list(_main_boxes(file))
        cut = any(at + size > file.size and name in _MAIN_BOXES for at, size, name in boxes)
        return cut or len(boxes) == _BOXES_MAX

    def _within(self) -> VideoLimits:
        left = self._limits.seconds - (time.process_time() - self._started)
        return VideoLimits(seconds=left, frames=self._limits.members, pixels=self._max_pixels)


def _main_boxes(file: PreadFile) -> Iterator[tuple[int, int, bytes]]:
    """Yield the position, length and name of each box of an MP4, `_BOXES_MAX` at most."""
    at = 0
    for _ in range(_BOXES_MAX):
        file.seek(at)
        size, name, long = _BOX.unpack(file.read(_BOX.size).ljust(_BOX.size, b"\0"))
        length = long if size == _LONG else size or file.size - at
        if at >= file.size:
            return
        yield at, length, name
        # A length of 0 in full names no end.
        at += length


def _is_edited(found: re.Match[bytes]) -> bool:
    """Return True for an edit list that shows more than one part of a track."""
    rows = _LONG_EDIT if found[1] == b"\1" else _SHORT_EDIT
    number = int.from_bytes(found[2])
    if number * rows.size > len(found.string) - found.end():
        return True
    edits = rows.iter_unpack(found.string[found.end() : found.end() + number * rows.size])
    return sum(bool(start != -1) for _, start, _ in edits) > 1


def _has_few_key_frames(end: VideoEnd) -> bool:
    return (
        end.longest_gap > _GAP_SECONDS
        or end.longest_run > _RUN_MAX
        or (end.decoded < _FEW and end.longest_gap > _FEW_GAP_SECONDS)
        or (not end.decoded and end.longest_run > 0)
    )


def _good_runs(frame: VideoFrame) -> Iterator[tuple[Borders, DigestRun]]:
    """Yield the digests of a frame with and without borders, if they are good enough to be matched."""
    whole = frame.runs[0]
    trimmed = next((run for run in frame.runs if run.rendering == TRIMMED), None)
    least = ALGORITHMS["vpdq"].min_quality
    if whole.quality >= least:
        yield Borders.NONE if trimmed is None else Borders.WHOLE, whole
    if trimmed is not None and trimmed.quality >= least:
        yield Borders.TRIMMED, trimmed


class _Distinct:
    """The frames of one video that may give a match that no other gives, as members."""

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._algorithms = algorithms
        self._before: deque[tuple[str, int, int]] = deque(maxlen=_COMPARED)
        """Algorithm, rendering and digest of earlier frames."""
        self._times: set[bytes] = set()
        self._covers: set[bytes] = set()

    def cover(self, cover: VideoCover) -> Iterator[Found]:
        """Yield the cover as a member, unless it was before."""
        digest = hashlib.sha256(cover.content).digest()
        if digest not in self._covers:
            self._covers.add(digest)
            yield stored(b"cover=%d" % len(self._covers), cover.content)

    def beside(self, opened: _Opened) -> Iterator[Found]:
        """Yield the covers that FFmpeg does not find."""
        for content in opened.beside():
            if isinstance(content, Stopped):
                yield content
            elif content:
                yield from self.cover(VideoCover(-1, content))

    def picture(self, frame: VideoFrame) -> Iterator[HashedPicture]:
        """Yield the frame as a member, unless it is too poor to be matched or repeats an earlier one."""
        good = [run for run in frame.runs if run.quality >= ALGORITHMS[run.algorithm].min_quality]
        looks: dict[int, DigestRun] = {}
        for run in good:
            if ALGORITHMS[run.algorithm].metric == "hamming":
                looks.setdefault(run.rendering // LOOK, run)
        repeated = [self._is_repeated(run) for run in looks.values()]
        if all(repeated):
            return
        # A reply has the picture as it is stored, however poor.
        kept = [run for run in frame.runs if run in good or not run.rendering]
        runs = [run._replace(part=WHOLE) for run in kept]
        reply = pack_picture(DRAWN, frame.width, frame.height, self._algorithms, runs)
        yield HashedPicture(self._name(frame.seconds), reply)

    def _is_repeated(self, run: DigestRun) -> bool:
        value = int.from_bytes(next(run.digests()).value)
        limit = ALGORITHMS[run.algorithm].threshold // _NEAR_SHARE
        for *like, other in self._before:
            if like == [run.algorithm, run.rendering] and (value ^ other).bit_count() <= limit:
                return True
        self._before.append((run.algorithm, run.rendering, value))
        return False

    def _name(self, seconds: float) -> bytes:
        """Return the time, with milliseconds if there was a frame in that second."""
        name = time_text(seconds)
        if name in self._times:
            return b"%b.%03d" % (name, int(seconds % 1 * 1000))
        self._times.add(name)
        return name


def time_text(seconds: float) -> bytes:
    """Return a time in a video, such as 00:01:07."""
    whole = int(seconds)
    return b"%02d:%02d:%02d" % (whole // 3600, whole // 60 % 60, whole % 60)


def _sample() -> bytes:
    """Return a video, encoded without threads."""
    output = io.BytesIO()
    with av.open(output, "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.thread_count = 1
        for level in (60, 200):
            grey = np.full((64, 64, 3), level, np.uint8)
            grey[:32, :32] = 255 - level
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        container.mux(stream.encode(None))
    return output.getvalue()
