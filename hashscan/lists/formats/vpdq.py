"""The output of the reference implementation of vPDQ: `frame,quality,hash,seconds` for each frame.

Its program writes one file for each video. Several files may follow one another: frame numbers ascend within
a video, so one that does not is the first of the next video.

Source: `outputVPDQFeatureToFile` of https://github.com/facebook/ThreatExchange/tree/main/vpdq .
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.formats.base import ListFormat, derived_id
from hashscan.lists.formats.text import LineError, RawEntry, numbered_lines
from hashscan.lists.storage.video_frames import ALGORITHM, FrameId
from hashscan.model import ALGORITHMS

FRAMES_MAX = 1 << 18
"""Most frames of a video: three days of it at a frame a second."""

_LINE = re.compile(r"([0-9]{1,9}),([0-9]{1,3}),([0-9A-Fa-f]{64}),[0-9]{1,9}(?:\.[0-9]{1,9})?\s*", re.ASCII)
_MEND = "Make the file with vpdq-hash-video"


class VpdqFormat(ListFormat):
    """A frame for each line; ids are derived, the importing user gives the category."""

    name = "vpdq"
    takes_category = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        kept: dict[str, tuple[int, int]] = {}
        last, frames = -1, 0
        for number, line in numbered_lines(stream):
            fields = _LINE.fullmatch(line)
            if fields is None or int(fields[2]) > 100:
                raise LineError(number, "not a frame, its quality, 64 digits and seconds", _MEND)
            frame = int(fields[1])
            if frame <= last:
                yield from self._video(kept)
                kept, frames = {}, 0
            last, frames = frame, frames + 1
            if frames > FRAMES_MAX:
                raise LineError(
                    number, f"a video of more than {FRAMES_MAX:,} frames", "Hash a frame a second"
                )
            if int(fields[2]) < ALGORITHMS[ALGORITHM].min_quality:
                self.left_out["a frame of too low quality to be matched"] += 1
            elif kept.setdefault(fields[3].lower(), (number, frame))[0] != number:
                self.left_out["a frame equal to an earlier one of its video"] += 1
        yield from self._video(kept)

    def _video(self, kept: dict[str, tuple[int, int]]) -> Iterator[RawEntry]:
        """Yield the entries of one video from line and frame number by value."""
        frames = "".join(f"{frame} {value} " for value, (_, frame) in kept.items())
        video = derived_id(ALGORITHM, self.category, frames)
        for value, (line, frame) in kept.items():
            yield line, str(FrameId(video, frame, len(kept))), ALGORITHM, value, self.category
