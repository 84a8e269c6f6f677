"""One file that a worker has under way: what is known of it before it is judged."""

from __future__ import annotations

from dataclasses import dataclass, field

from hashscan.hashing.formats import PictureFormat
from hashscan.hashing.records import DecodedPicture
from hashscan.matching.matcher import Query
from hashscan.model import ALGORITHMS, CtimeTrust, Item, Match, Reason
from hashscan.sandbox.client import Begun
from hashscan.sources.base import FileTrouble, OpenFile


@dataclass(slots=True)
class Checked:
    """One file under way."""

    item: Item
    opened: OpenFile | None = None
    kind: PictureFormat | None = None
    exact: dict[str, bytes] = field(default_factory=dict)
    """Digests of its bytes, by algorithm."""
    decoded: DecodedPicture | None = None
    """What a decoder found out about the picture, once checked."""
    begun: Begun | None = None
    """What a decoder was asked of it and hasn't been taken from it."""
    reply: bytes = b""
    """What a decoder said of it and may say of equal content, once checked."""
    reason: Reason | None = None
    detail: str = ""
    unreadable: bool = False
    as_listed: bool = False
    """Whether it was still what had been listed when it was opened."""
    ctime: CtimeTrust = CtimeTrust.FILESYSTEM
    """How far its ctime is to be trusted, as was asked before it was read."""
    confirmed: bool = False
    """Whether `reply` is that of a fresh decoder, made for this file alone."""
    matches: list[Match] = field(default_factory=list)
    bytes_read: int = 0
    hole_bytes: int = 0
    """How many of them were holes, where there are many."""
    deferred: int = 0
    """Its size in bytes, where it was left unread until the large files' turn comes."""

    def fail(self, trouble: FileTrouble) -> None:
        """Its bytes can't be relied on: forget what was computed."""
        self.unreadable, self.reason, self.detail = True, trouble.reason, trouble.detail
        self.exact = {}
        self.decoded = None
        self.matches.clear()
        self.close()

    def queries(self, name: str) -> list[Query]:
        """What the lists are to be asked about it, by one algorithm."""
        algorithm = ALGORITHMS[name]
        if not algorithm.of_picture:
            return [Query(self.exact[name])] if name in self.exact else []
        if self.decoded is None:
            return []
        least = algorithm.min_quality
        return [
            Query(run.values, run)
            for run in self.decoded.runs
            if run.algorithm == name and run.quality >= least
        ]

    def close(self) -> None:
        """Let the file go."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None
