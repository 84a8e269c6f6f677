"""Match the frames of a video, sampled for vPDQ, with the videos of lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.member_records import FRAME_SIZE, Borders, SampledFrames
from hashscan.hashing.variants import TURNS
from hashscan.lists.exceptions import fingerprint
from hashscan.lists.index import CompiledIndex
from hashscan.lists.index.video_matching import VideoIndex, VideoMatch, VideoRule
from hashscan.lists.storage.columns import ListHandle, videos_with
from hashscan.lists.storage.video_frames import ALGORITHM
from hashscan.matching.worker_setup import VPDQ_RULE
from hashscan.model import ExceptedEntry, Match


class VideoMatcher:
    """The videos of some lists, with a match rule."""

    def __init__(
        self, lists: Sequence[ListHandle], excepted: Iterable[ExceptedEntry] = (), rule: VideoRule = VPDQ_RULE
    ) -> None:
        index = CompiledIndex.open(lists, algorithms=[ALGORITHM])
        self.any = bool(index.entries(ALGORITHM))
        """True if the lists have videos."""
        self._index = VideoIndex(index)
        self._rule = rule
        self._lists = {handle.name: handle for handle in lists}
        self._excepted = {
            (entry.list_name, entry.entry_id): entry for entry in excepted if entry.algorithm == ALGORITHM
        }
        self._unexcepted: set[tuple[str, str]] = set()
        """Excepted videos that have become others."""

    def matches(self, frames: Sequence[SampledFrames]) -> list[Match]:
        """Return the listed videos that one video, of all whose frames these are, contains, each in its best
        variant. The entry of a match is the video's id; its distance is the share of the listed video's
        frames that the video lacks, in percent, rounded up."""
        if not self.any:
            return []
        best: dict[tuple[str, str], Match] = {}
        for variant, values in _sequences(frames):
            for found in self._index.matches(values, self._rule):
                match = self._match(found, variant)
                key = match.list_name, match.entry_id
                if key not in best or match.distance < best[key].distance:
                    best[key] = match
        return list(best.values())

    def is_near(self, frames: Sequence[SampledFrames]) -> bool:
        """Return True if any frame is near a listed one, so that the video may match."""
        return self.any and any(
            self._index.near_any(values, self._rule.distance) for _, values in _sequences(frames)
        )

    def _match(self, found: VideoMatch, variant: str) -> Match:
        return Match(
            found.list_name,
            found.video,
            ALGORITHM,
            found.category,
            # Rounding in floating point may have made the share a little less than the exact one.
            math.ceil(100 - found.listed_percent - 1e-9),
            self._rule.threshold,
            variant or "as stored",
            excepted=self._exception_of(found),
            scanned_share=math.floor(found.scanned_percent + 1e-9),
        )

    def _exception_of(self, found: VideoMatch) -> ExceptedEntry | None:
        key = found.list_name, found.video
        excepted = self._excepted.get(key)
        if excepted is None or key in self._unexcepted:
            return None
        entry = next(videos_with(self._lists[found.list_name], [found.video]), None)
        if entry is None or excepted.fingerprint != fingerprint(ALGORITHM, entry.value):
            self._unexcepted.add(key)
            return None
        return excepted


def _sequences(frames: Sequence[SampledFrames]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the digests of a whole video in each variant: mirrored, turned, borders trimmed; its name, empty
    for the video as it is stored, and the digests, shape (frames, 32), at least one. A video is compared with
    listed ones once for each, since all its frames are altered in the same way. Without borders, there are
    the frames that have none, too."""
    for way, left_out in ("", Borders.TRIMMED), ("borders trimmed", Borders.WHOLE):
        if way and all(some.borders is Borders.NONE for some in frames):
            return
        kept = [some for some in frames if some.borders is not left_out]
        for turn, name in enumerate(TURNS):
            values = [
                np.frombuffer(some.values, np.uint8).reshape(some.frames, -1, FRAME_SIZE)[
                    :, some.turns.index(turn)
                ]
                for some in kept
                if turn in some.turns
            ]
            if values:
                yield ", ".join(filter(None, (way, name))), np.concatenate(values)
