"""The form in which lists hold vPDQ, a hash of videos: an entry for each frame that was hashed.

The value of an entry is the frame's PDQ, so that the index compares it like any other. Its id is
`VIDEO@FRAME/FRAMES`: the id of the video, the number of the frame in it, and how many entries the video has.
Only frames of quality 50 and more are entries, and of equal frames only the first: those are what the match
rule of vPDQ compares and counts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

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
