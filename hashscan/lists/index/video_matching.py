"""Match the frames of a video with the videos of lists, by the rule of vPDQ.

The distinct frames of both videos are compared, without those of low quality. A video matches if enough of
the listed frames are near a scanned one, and enough of the scanned frames near a listed one. Order and time
don't count.

Source: "Comparison (Matching) Algorithm" of https://github.com/facebook/ThreatExchange/tree/main/vpdq .
Its implementations differ: the one in C++ takes frames as near below the distance, and counts equal frames
each; that of python-threatexchange, followed here, takes the distance itself as near, too.

Frames that are near too many unrelated ones (`storage.degenerate`), such as title cards of one colour, count,
but a video of which no other listed frame is near does not match.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hashscan.lists.index.compiled_index import CompiledIndex
from hashscan.lists.storage.degenerate import are_degenerate
from hashscan.lists.storage.video_frames import ALGORITHM, FrameId, parse_id
from hashscan.model import ALGORITHMS

_TOGETHER = 64
"""Frames asked for at a time. A still scene is near each listed frame of another, and all hits are held."""


class VideoRule(Struct, frozen=True):
    """The numbers of the match rule."""

    distance: int = ALGORITHMS[ALGORITHM].threshold
    """Largest distance of two frames that are near, in bits."""
    listed_percent: float = 80.0
    """Least share of the listed video's frames that must be near one of the scanned video."""
    scanned_percent: float = 0.0
    """Least share of the scanned video's frames; over 0, a video with much else in it is not found."""

    @property
    def threshold(self) -> int:
        """Largest share of the listed video's frames that may be lacking, in percent, rounded down."""
        return int(100 - self.listed_percent)


class VideoMatch(NamedTuple):
    """A listed video that a scanned one contains."""

    list_name: str
    video: str
    """Its id: the entries' ids up to the last `@`."""
    category: str
    listed_percent: float
    """Share of its frames that are near one of the scanned video, 0 to 100."""
    scanned_percent: float
    """Share of the scanned video's frames that are near one of its own."""


class VideoIndex:
    """The videos of some lists."""

    def __init__(self, index: CompiledIndex) -> None:
        """Search an index that was opened with `video_frames.ALGORITHM` among its algorithms."""
        self._index = index

    def matches(self, frames: NDArray[np.uint8], rule: VideoRule) -> list[VideoMatch]:
        """Return the listed videos that match, those with the largest shares first.

        Args:
            frames: PDQ of the sampled frames of the scanned video that have enough quality, shape (n, 32).

        Raises:
            DamagedIndexError: a compiled file has changed since it was opened.
        """
        distinct = np.unique(frames, axis=0)
        found = _Hits(self._index)
        for start in range(0, len(distinct), _TOGETHER):
            some = distinct[start : start + _TOGETHER]
            limits = np.full(len(some), rule.distance)
            queries, rows, _ = self._index.query(ALGORITHM, some, limits)
            found.add(queries, rows)
        every = found.matches(len(distinct))
        return sorted(
            (
                match
                for match in every
                if match.listed_percent >= rule.listed_percent
                and match.scanned_percent >= rule.scanned_percent
            ),
            key=lambda match: (-match.listed_percent, -match.scanned_percent, *match[:3]),
        )

    def near_any(self, frames: NDArray[np.uint8], distance: int) -> bool:
        """Return True if any frame is within a distance of a listed one."""
        for start in range(0, len(frames), _TOGETHER):
            some = frames[start : start + _TOGETHER]
            if len(self._index.query(ALGORITHM, some, np.full(len(some), distance))[0]):
                return True
        return False


class _Hits:
    """The listed frames that were hit, by video."""

    def __init__(self, index: CompiledIndex) -> None:
        self._index = index
        self._videos: dict[tuple[str, str, str], int] = {}
        """Number of each video, by list, id and category."""
        self._frames: list[int] = []
        """Number of frames that each video has."""
        self._of_row: dict[int, int] = {}
        """Number of the video of each listed frame that was hit."""
        self._scanned: list[int] = []
        """Number of the scanned video's frames that are near one of each video."""

    def add(self, queries: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Count hits; no frame of the scanned video is in two calls."""
        distinct, places = np.unique(rows, return_inverse=True)
        numbers = np.fromiter(map(self._video_of, distinct.tolist()), np.int64, len(distinct))
        pairs = np.unique(np.stack((numbers[places], queries)), axis=1)
        for number, count in enumerate(np.bincount(pairs[0]).tolist()):
            self._scanned[number] += count

    def matches(self, scanned: int) -> Iterator[VideoMatch]:
        """Yield each video that was hit, with its shares; `scanned` is the number of frames asked for."""
        numbers = np.fromiter(self._of_row.values(), np.int64, len(self._of_row))
        listed = np.bincount(numbers, minlength=len(self._videos))
        values = b"".join(self._index.value(ALGORITHM, row) for row in self._of_row)
        alone = are_degenerate(
            ALGORITHM, np.frombuffer(values, np.uint8).reshape(-1, ALGORITHMS[ALGORITHM].size)
        )
        others = np.bincount(numbers[~alone], minlength=len(self._videos))
        for (name, video, category), number in self._videos.items():
            if not others[number]:
                continue
            share = min(100.0, int(listed[number]) * 100 / self._frames[number])
            yield VideoMatch(name, video, category, share, self._scanned[number] * 100 / scanned)

    def _video_of(self, row: int) -> int:
        if (known := self._of_row.get(row)) is not None:
            return known
        name, entry_id, category = self._index.entry(ALGORITHM, row)
        # An entry with another id is a video of one frame.
        parsed = parse_id(entry_id) or FrameId(entry_id, 0, 1)
        number = self._videos.setdefault((name, parsed.video, category), len(self._videos))
        if number == len(self._frames):
            self._frames.append(parsed.frames)
            self._scanned.append(0)
        self._of_row[row] = number
        return number
