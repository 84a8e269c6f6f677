"""Open a video: yield its frames, each with its digests and its time, and say if it was looked at in full.

Key frames are hashed. Where there are so few that a listed scene could lie between two, all frames are
decoded. For vPDQ, all frames are decoded once more, and one a second is hashed.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Collection, Generator, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

import av
import numpy as np
from msgspec import structs

from hashscan.hashing.archives.openers import DRAWN, Found, HashedPicture, Stopped, stored
from hashscan.hashing.container_kinds import VIDEOS
from hashscan.hashing.member_records import FRAMES_MAX, Borders, SampledFrames
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import pack_picture
from hashscan.hashing.variants import TRIMMED, WHOLE
from hashscan.hashing.video.frames import VARIANTS as OF_FRAMES
from hashscan.hashing.video.frames import (
    Fault,
    Sampling,
    VideoEnd,
    VideoFrame,
    VideoLimits,
    hash_video,
)
from hashscan.model import ALGORITHMS, MemberLimits, Reason

if TYPE_CHECKING:
    from hashscan.hashing.format_signatures import FileFormat
    from hashscan.hashing.hash_algorithms import PictureHash
    from hashscan.hashing.variants import DigestRun

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
}

_GAP_SECONDS = 12.0
"""Time between two key frames from which all frames are decoded; encoders make one in 10 s or more often."""
_RUN_MAX = 600
"""Number of frames between two key frames from which all are decoded, since times may be false."""

_FEW, _FEW_GAP_SECONDS = 3, 2.0
"""Number of key frames below which a video is so short that all its frames are decoded, where one of them is
so far from the next: the first is often black."""

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
        """Load all that decoding needs, by opening a video.

        Args:
            hashes: the algorithms, in the order of a reply.
            wanted: some of `variants.VARIANTS`.
            max_pixels: of one frame.
            samples: True to yield the frames of vPDQ, too.
        """
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
        """Yield the covers and frames of a video, those of vPDQ, and why it was not looked at in full.

        Args:
            kind: a format of `container_kinds.VIDEOS`.
            limits: `members` and `seconds` are heeded.
        """
        found = _Distinct(self._names)
        before = time.process_time()
        end = yield from self._looked_at(file, kind, limits, Sampling.KEY_FRAMES, found)
        if end.fault is None and _has_few_key_frames(end):
            left = structs.replace(limits, seconds=limits.seconds - (time.process_time() - before))
            end = yield from self._looked_at(file, kind, left, Sampling.ALL, found)
        if self._samples:
            left = structs.replace(limits, seconds=limits.seconds - (time.process_time() - before))
            sampled = yield from self._sampled(file, kind, left)
            end = sampled if end.fault is None else end
        if end.fault is not None:
            yield Stopped(time_text(end.until), _REASONS[end.fault])

    def _sampled(
        self, file: PreadFile, kind: FileFormat, limits: MemberLimits
    ) -> Generator[Found, None, VideoEnd]:
        """Yield the frames of vPDQ, some at a time."""
        file.seek(0)
        waiting: dict[tuple[Borders, tuple[int, ...]], list[bytes]] = {}
        within = VideoLimits(seconds=limits.seconds, frames=limits.members, pixels=self._max_pixels)
        for record in hash_video(file, [PDQ()], Sampling.VPDQ, within, self._variants, VIDEOS[kind.name]):
            if isinstance(record, VideoEnd):
                for (borders, turns), values in waiting.items():
                    yield SampledFrames(b"", borders, bytes(turns), b"".join(values))
                return record
            assert isinstance(record, VideoFrame)
            for borders, run in _good_runs(record):
                values = waiting.setdefault((borders, run.turns), [])
                values.append(run.values)
                if len(values) == FRAMES_MAX:
                    del waiting[borders, run.turns]
                    yield SampledFrames(b"", borders, bytes(run.turns), b"".join(values))
        raise AssertionError("a video has an end")

    def _looked_at(
        self, file: PreadFile, kind: FileFormat, limits: MemberLimits, sampling: Sampling, found: _Distinct
    ) -> Generator[Found, None, VideoEnd]:
        file.seek(0)
        covers = count(1)
        within = VideoLimits(seconds=limits.seconds, frames=limits.members, pixels=self._max_pixels)
        for record in hash_video(file, self._hashes, sampling, within, self._variants, VIDEOS[kind.name]):
            if isinstance(record, VideoEnd):
                return record
            if isinstance(record, VideoFrame):
                yield from found.picture(record)
            elif sampling is Sampling.KEY_FRAMES:
                yield stored(b"cover=%d" % next(covers), record.content)
        raise AssertionError("a video has an end")


def _has_few_key_frames(end: VideoEnd) -> bool:
    return (
        end.longest_gap > _GAP_SECONDS
        or end.longest_run > _RUN_MAX
        or (end.decoded < _FEW and end.longest_gap > _FEW_GAP_SECONDS)
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

    def picture(self, frame: VideoFrame) -> Iterator[HashedPicture]:
        """Yield the frame as a member, unless it is too poor to be matched or repeats an earlier one."""
        good = [run for run in frame.runs if run.quality >= ALGORITHMS[run.algorithm].min_quality]
        if not good or self._is_repeated(good[0]):
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
