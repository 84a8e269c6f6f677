"""Choose the frames of a video stream that are hashed, and count those that are not looked at."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

TIME_MAX = 1e7
"""Latest time in seconds that is believed; a third of a year."""
_RATE = 25
"""Frames a second, where the file doesn't say."""
_RATE_MAX = 240
"""Largest number of frames that vPDQ passes over: a file may say that it has a million a second."""
_LONG_SECONDS = 0.5
"""Time from which a frame is hashed because it is shown that long; and the time between hashed frames of a
codec that stores each frame whole (MJPEG, ProRes), and of all frames."""
_INTRA_FRAMES = 32
"""Frames passed over at most meanwhile, should their times be false."""
_REORDERED = 64
"""Packets among which one may be stored before another that is shown earlier; H.264 has 16 at most."""
_TIMES_MAX = 200_000
"""Number of times that are kept for one stream; with more, all its frames are decoded."""

Item = TypeVar("Item")
ShownFrame: TypeAlias = "tuple[av.VideoFrame, int, float]"
"""A frame, its number among those of its stream, and the time in seconds at which it is shown."""
Ranges: TypeAlias = Mapping[float, tuple[float, ...]]
"""Times of frames to be hashed, by the time of the frame from which they must be decoded."""


class Sampling(StrEnum):
    """The frames that are hashed."""

    KEY_FRAMES = "key frames"
    """Each frame that is stored whole, of all video streams; the others are not decoded."""
    ALL = "all frames"
    """All frames of all video streams are decoded; key frames are hashed, and one every half second."""
    VPDQ = "vPDQ"
    """One frame a second of the first video stream, chosen as the reference implementation of vPDQ does."""
    BOTH = "key frames and vPDQ"
    """All frames of the first video stream are decoded, for its key frames and for vPDQ; of others, the key
    frames. Only for a video of which `has_same_packets` is True."""
    LONG = "frames shown long"
    """The frames that `VideoEnd.unseen` names; of others, those that must be decoded before."""
    EDITED = "all frames as edited"
    """`ALL`, of the frames that an edit list lets be shown, as often as it does."""


ALL = frozenset({Sampling.ALL, Sampling.EDITED})


class _Held(Generic[Item]):
    """One frame that waits for the next, which says how long it is shown."""

    def __init__(self) -> None:
        self._last: Item | None = None
        self._due = -math.inf
        self._since = -math.inf
        self._passed = 0

    def follow(self, item: Item | None, seconds: float | None) -> Item | None:
        """Take the next frame, shown from `seconds` on if that is known, None at the end; return the one
        before if it is to be hashed. That is one shown when half a second has passed, which each is that is
        shown so long."""
        before, self._last = self._last, item
        if item is None or seconds is None or not self._since <= seconds < self._due:
            due = True
        else:
            due = self._passed >= _INTRA_FRAMES
        if before is not None and due:
            self._passed = 0
            if seconds is not None:
                self._due = seconds + _LONG_SECONDS
        else:
            self._passed += 1
        self._since = -math.inf if seconds is None else seconds
        return before if due else None


class _ShownTimes:
    """The frames of a stream that are shown for long, by the times of its packets, and those hashed."""

    def __init__(self) -> None:
        self._waiting: list[float] = []
        self._ordered_until = -math.inf
        self._last: av.Packet[Any] | None = None
        """The packet that is shown last."""
        self._long: list[float] = []
        self._repeated: set[float] = set()
        self._hashed: set[float] = set()

    def add(self, seconds: float, packet: av.Packet[Any]) -> None:
        """Count a packet, shown from `seconds` on."""
        if seconds < self._ordered_until:
            # The times begin anew.
            self._take_ordered(len(self._waiting))
            self._ordered_until = -math.inf
        if not self._waiting or seconds >= max(self._waiting[-1], self._ordered_until):
            self._last = packet
        self._waiting.append(seconds)
        if len(self._waiting) == 2 * _REORDERED:
            self._take_ordered(_REORDERED)

    def note_hashed(self, seconds: float) -> None:
        if len(self._hashed) < _TIMES_MAX:
            self._hashed.add(seconds)

    def unseen(self, end: float) -> dict[float, tuple[float, ...]] | None:
        """Return the frames shown long that were not hashed, up to the video's end as the file says; None if
        there are too many to tell."""
        self._take_ordered(len(self._waiting))
        length = 0.0
        if self._last is not None:
            length = float((self._last.duration or 0) * (self._last.time_base or 0))
        if max(length, end - self._ordered_until) >= _LONG_SECONDS:
            self._long.append(self._ordered_until)
        if max(len(self._long), len(self._hashed)) >= _TIMES_MAX:
            return None
        hashed = sorted(self._hashed)
        found: dict[float, tuple[float, ...]] = {}
        for seconds in self._long:
            if seconds not in self._hashed or seconds in self._repeated:
                place = bisect_left(hashed, seconds)
                start = hashed[place - 1] if place else -math.inf
                found[start] = (*found.get(start, ()), seconds)
        return found

    def _take_ordered(self, number: int) -> None:
        self._waiting.sort()
        first, self._waiting = self._waiting[:number], self._waiting[number:]
        for before, after in pairwise([self._ordered_until, *first]):
            if before == after:
                self._repeated.add(after)
            elif after - before >= _LONG_SECONDS and before > -math.inf and len(self._long) < _TIMES_MAX:
                self._long.append(before)
        if first:
            self._ordered_until = first[-1]


class StreamState:
    """The packets and frames of one video stream that were counted, and which of them are to be hashed."""

    def __init__(
        self, stream: VideoStream, sampling: Sampling, start: float, ranges: Ranges | None = None
    ) -> None:
        """Describe a stream of which no packet was read yet. The video begins at `start`, in seconds as the
        file counts; `ranges` are, of `LONG`, the frames to be hashed."""
        self.index = stream.index
        self._start = start
        self.sampling = sampling
        """`BOTH` has two states for the first stream."""
        self.duration = _duration_of(stream)
        rate = stream.average_rate or stream.base_rate or Fraction(_RATE)
        self.rate = float(rate) if rate > 0 else float(_RATE)
        self.step = min(max(1, int(self.rate)), _RATE_MAX)
        codec = stream.codec_context.codec
        self._intra = sampling is Sampling.KEY_FRAMES and codec.intra_only
        self._vp9 = codec.name == "vp9"
        self.packets = 0
        """Number of packets."""
        self.number = 0
        """Number of decoded frames."""
        self.until = 0.0
        """Time of the last packet."""
        self.shown = 0.0
        """Time of the last decoded frame."""
        self._seconds = 0.0
        self._gap = 0.0
        self._held_packet: _Held[av.Packet[Any]] = _Held()
        self._held_frame: _Held[ShownFrame] = _Held()
        self._times = _ShownTimes()
        self._ranges = dict(ranges or {})
        self._lacking = {seconds for times in self._ranges.values() for seconds in times}
        self._wanted = frozenset(self._lacking)
        self._decoded_until = -math.inf
        self._unseen = self.run = 0
        self.last = b""
        """Digests of the last frame that was hashed."""

    @property
    def gap(self) -> float:
        """Longest time in which no frame was looked at."""
        return max(self._gap, self.until - self._seconds)

    def unseen(self, duration: float) -> Ranges | None:
        """Return the frames shown long that were not hashed in a video of that length (seconds); None if that
        can't be told."""
        if self.sampling is Sampling.LONG:
            return None if self._lacking else {}
        if self.sampling is not Sampling.KEY_FRAMES or not self.packets:
            return {}
        return self._times.unseen(self._start + duration)

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

    def decoded(self, packet: av.Packet[Any]) -> tuple[av.Packet[Any], ...]:
        """Return the packets to decode now; most of FFmpeg's decoders find key frames themselves."""
        if packet.size == 0:
            # The end: frames that the decoder holds back follow.
            held = self._held_packet.follow(None, None)
            return (packet,) if held is None else (held, packet)
        stamp = packet.dts if packet.pts is None else packet.pts
        time = None if stamp is None or not packet.time_base else float(stamp * packet.time_base)
        seconds = self._believed(time)
        if seconds is not None:
            self.until = max(self.until, seconds)
        self.packets += 1
        self._unseen += 1
        self.run = max(self.run, self._unseen)
        if self.sampling is Sampling.LONG:
            return (packet,) if self._is_in_range(packet, time) else ()
        if self.sampling is not Sampling.KEY_FRAMES:
            return (packet,)
        if time is not None:
            self._times.add(time, packet)
        if self._intra:
            held = self._held_packet.follow(packet, seconds)
            return () if held is None else (held,)
        return (packet,) if not self._vp9 or _is_vp9_key(memoryview(packet)[0]) else ()

    def _is_in_range(self, packet: av.Packet[Any], time: float | None) -> bool:
        """Return True if a packet is needed for one of the frames to be hashed."""
        starts = [time, -math.inf if self.packets == 1 else None]
        ends = [
            max(self._ranges.pop(start)) for start in starts if start is not None and start in self._ranges
        ]
        if ends and self._decoded_until == -math.inf:
            packet.stream.codec_context.flush_buffers()
        self._decoded_until = max(self._decoded_until, *ends, -math.inf)
        return self._decoded_until > -math.inf

    def samples(self, frame: av.VideoFrame) -> tuple[ShownFrame, ...]:
        """Return the frames to be hashed; this one was seen last."""
        this = (frame, self.number - 1, self.shown)
        match self.sampling:
            case Sampling.VPDQ:
                return () if (self.number - 1) % self.step else (this,)
            case Sampling.LONG:
                if frame.time is None or frame.time > self._decoded_until:
                    self._decoded_until = -math.inf
                self._lacking.discard(frame.time or 0.0)
                return (this,) if frame.time in self._wanted else ()
        if self.sampling is Sampling.KEY_FRAMES and frame.key_frame:
            return (self._noted(this),)
        # Some decoders know of no key frames, and return all.
        held = self._held_frame.follow(this, self.shown)
        return () if held is None else (self._noted(held),)

    def samples_beside(self, frame: av.VideoFrame) -> tuple[ShownFrame, ...]:
        """Return the frames to be hashed, of a stream of which all frames are decoded for vPDQ."""
        if self._intra:
            held = self._held_frame.follow((frame, 0, 0.0), self._believed(frame.time))
            return () if held is None else self._seen_beside(held[0])
        return self._seen_beside(frame) if frame.key_frame else ()

    def last_samples(self, *, beside: bool = False) -> tuple[ShownFrame, ...]:
        """Return the frame that was held back to the end, if there is one."""
        held = self._held_frame.follow(None, None)
        if held is None:
            return ()
        return self._seen_beside(held[0]) if beside else (held,)

    def _seen_beside(self, frame: av.VideoFrame) -> tuple[ShownFrame, ...]:
        self.see(frame.time)
        return (self._noted((frame, self.number - 1, self.shown)),)

    def _noted(self, this: ShownFrame) -> ShownFrame:
        if this[0].time is not None:
            self._times.note_hashed(this[0].time)
        return this

    def _believed(self, time: float | None) -> float | None:
        seconds = -1.0 if time is None else time - self._start
        return seconds if 0 <= seconds <= TIME_MAX else None


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
