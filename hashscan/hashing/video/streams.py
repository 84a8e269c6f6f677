"""Choose the frames of a video stream that are hashed, and count those that are not looked at."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

TIME_MAX = 1e7
"""Latest time in seconds that is believed; a third of a year."""
_RATE = 25
"""Frames a second, where the file doesn't say."""
_RATE_MAX = 240
"""Largest number of frames that vPDQ passes over: a file may say that it has a million a second."""
_INTRA_SECONDS = 0.5
"""Time between hashed frames of a codec that stores each frame whole (MJPEG, ProRes), and of all frames."""
_INTRA_FRAMES = 32
"""Frames passed over at most meanwhile, should their times be false."""


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


class StreamState:
    """The packets and frames of one video stream that were counted, and which of them are to be hashed."""

    def __init__(self, stream: VideoStream, sampling: Sampling, start: float) -> None:
        """Describe a stream of which no packet was read yet.

        Args:
            start: time in seconds, as the file counts, at which the video begins.
        """
        self.index = stream.index
        self._start = start
        self.sampling = sampling
        """`BOTH` has two states for the first stream."""
        self.duration = _duration_of(stream)
        rate = stream.average_rate or stream.base_rate or Fraction(_RATE)
        self.rate = float(rate) if rate > 0 else float(_RATE)
        self.step = min(max(1, int(self.rate)), _RATE_MAX)
        codec = stream.codec_context.codec
        self._intra = codec.intra_only
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
        self.packets += 1
        self._unseen += 1
        self.run = max(self.run, self._unseen)
        if self.sampling is not Sampling.KEY_FRAMES:
            return True
        if self._vp9:
            return _is_vp9_key(memoryview(packet)[0])
        return not self._intra or self._is_due(seconds)

    def samples(self, *, key_frame: bool) -> bool:
        """Return True if the frame that was seen last is to be hashed."""
        if self.sampling is Sampling.VPDQ:
            return not (self.number - 1) % self.step
        return key_frame or (self.sampling is Sampling.ALL and self._is_due(self.shown))

    def _is_due(self, seconds: float | None) -> bool:
        """Return True if enough time has passed since the frame for which this was True before."""
        if seconds is not None and 0 <= seconds - self._fed < _INTRA_SECONDS and self._passed < _INTRA_FRAMES:
            self._passed += 1
            return False
        self._fed, self._passed = -math.inf if seconds is None else seconds, 0
        return True

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
