"""The form in which lists hold vPDQ, a hash of videos: an entry for each frame that was hashed.

The value of an entry is the frame's PDQ, so that the index compares it like any other. Its id is
`VIDEO@FRAME/FRAMES`: the id of the video, the number of the frame in it, and how many entries the video has.
Only frames of quality 50 and more are entries, and of equal frames only the first: those are what the match
rule of vPDQ compares and counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from hashscan.lists.storage.columns import ActiveRows, ListHandle
from hashscan.model import Entry

ALGORITHM = "vpdq"

_ID = re.compile(r"(.+)@([0-9]{1,9})/([1-9][0-9]{0,6})", re.ASCII)


class FrameId(NamedTuple):
    """The parts of an entry's id."""

    video: str
    frame: int
    """Number of the frame in the video, from 0."""
    frames: int
    """Number of entries of the video."""

    def __str__(self) -> str:
        return f"{self.video}@{self.frame}/{self.frames}"


def parse_id(text: str) -> FrameId | None:
    """Return the parts of an id, or None if it is not of this form."""
    found = _ID.fullmatch(text)
    return FrameId(found[1], int(found[2]), int(found[3])) if found else None


def videos_with(handle: ListHandle, videos: Collection[str]) -> Iterator[Entry]:
    """Yield the active videos of a verified list that have any of the ids, each as one entry.

    Its value is that of all its frames, sorted; its category is that of the first.

    Iterating raises:
        ColumnError: a file is not as its handle describes it.
        OSError: a file can't be read.
    """
    wanted = np.array(sorted(video.encode("ascii") for video in videos if video.isascii()))
    found: dict[str, list[tuple[bytes, str]]] = {}
    for files in handle.columns if len(wanted) else ():
        if files.algorithm != ALGORITHM:
            continue
        for ids, category, value in ActiveRows(handle.folder, files):
            if not len(ids):
                # `rpartition` takes no empty array.
                continue
            named = np.isin(np.char.rpartition(ids, b"@")[:, 0], wanted)
            for entry_id, number, digest in zip(
                ids[named].tolist(), category[named].tolist(), value[named], strict=True
            ):
                if (parsed := parse_id(entry_id.decode("ascii"))) is not None:
                    frame = digest.tobytes(), handle.categories[number]
                    found.setdefault(parsed.video, []).append(frame)
    for video, frames in found.items():
        yield Entry(video, ALGORITHM, b"".join(sorted(value for value, _ in frames)), frames[0][1])
