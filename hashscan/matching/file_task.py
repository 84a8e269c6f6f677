"""Hold one file while a worker processes it, before its verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from hashscan.hashing.formats import PictureFormat
from hashscan.hashing.records import DecodedPicture
from hashscan.matching.matcher import Query
from hashscan.model import ALGORITHMS, CtimeTrust, Item, Match, Reason
from hashscan.sandbox.client import PendingFile
from hashscan.sources.base import FileError, OpenFile


@dataclass(slots=True)
class FileTask:
    """The task of checking one file."""

    item: Item
    opened: OpenFile | None = None
    kind: PictureFormat | None = None
    exact: dict[str, bytes] = field(default_factory=dict)
    """Digests of its bytes, by algorithm."""
    decoded: DecodedPicture | None = None
    """The decoder's data of the picture, once validated."""
    begun: PendingFile | None = None
    """A request to a decoder whose reply was not received yet."""
    reply: bytes = b""
    """The decoder's reply, once validated; it may also be used for equal content."""
    reason: Reason | None = None
    detail: str = ""
    unreadable: bool = False
    as_listed: bool = False
    """True if it was unchanged since the listing when it was opened."""
    ctime: CtimeTrust = CtimeTrust.FILESYSTEM
    """Trust in its ctime, as determined before it was read."""
    confirmed: bool = False
    """True if `reply` is that of a fresh decoder, started for this file alone."""
    matches: list[Match] = field(default_factory=list)
    bytes_read: int = 0
    hole_bytes: int = 0
    """Number of those that were holes, where there are many."""
    deferred: int = 0
    """Size in bytes, if reading was deferred until the large files are read."""

    def fail(self, trouble: FileError) -> None:
        """Mark the file as unreadable, since its bytes can't be relied on, and drop what was computed."""
        self.unreadable, self.reason, self.detail = True, trouble.reason, trouble.detail
        self.exact = {}
        self.decoded = None
        self.matches.clear()
        self.close()

    def queries(self, name: str) -> list[Query]:
        """Return the queries to the lists for this file, by one algorithm."""
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
        """Close the file."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None
