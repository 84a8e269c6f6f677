"""What every object store can do: list what it holds, and hand out one object's bytes.

A store is one container (a bucket, a host) as one process sees it. Its methods are called from several
threads at once. Nothing of a vendor's library shows here: neither its types nor its errors, and no text of
its errors either, since servers repeat parts of what they were asked with, credentials included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hashscan.model import FolderReason, Item, Reason
from hashscan.sources.base import FileTrouble

Chunk = bytes | memoryview

UNKNOWN_SIZE = -1
"""In `FileStat.size`: the store doesn't say before the object is read."""


class Transient(Exception):
    """Worth another try: the server is busy, or the connection was lost.

    The message goes into reports when no try helped, so it holds words of ours and codes only.
    """

    def __init__(self, detail: str, wait_seconds: float = 0.0, reason: Reason = Reason.IO_ERROR) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason
        """What it comes to when no try helps."""
        self.wait_seconds = wait_seconds
        """What the server asks for; 0 where it says nothing."""


class ListingTrouble(Exception):
    """A listing that can't go on; what follows in it stays unseen, and the report says so."""

    def __init__(self, reason: FolderReason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason
        self.detail = detail

    @classmethod
    def of(cls, trouble: FileTrouble | Transient) -> ListingTrouble:
        """What the refusal of one thing says of a listing."""
        denied = isinstance(trouble, FileTrouble) and trouble.reason is Reason.PERMISSION
        return cls(FolderReason.PERMISSION if denied else FolderReason.IO_ERROR, trouble.detail)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing tells of it; one version of it where versions were asked for."""

    key: bytes
    size: int
    """Bytes; UNKNOWN_SIZE where the store doesn't say."""
    modified_ns: int
    """When it was stored, since 1970."""
    etag: str = ""
    """What the store says identifies the content; never taken for a digest."""
    version: str = ""
    archived: bool = False
    """In a storage class that must be restored before it can be read."""


@dataclass(frozen=True, slots=True)
class Level:
    """What lies under a prefix up to the next slash."""

    objects: Sequence[StoredObject]
    prefixes: Sequence[bytes]
    """Whole prefixes, each with its slash."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One object's bytes on their way, from one consistent state of it."""

    chunks: Iterator[Chunk]
    """May raise Transient, and ends early only by raising."""
    size: int = UNKNOWN_SIZE
    """Of the whole object, whatever the offset of the first chunk."""
    etag: str = ""
    version: str = ""
    proven: bool = True
    """The answer's own headers say that all chunks are of the object that `etag` or `version` names;
    otherwise `check` is asked once they have been read."""
    encoding: str = ""
    """How the bytes are encoded, as a viewer is told; it decodes them first (RFC 9110, 8.4)."""
    close: Callable[[], None] = lambda: None
    """Gives up what was not read."""


class ObjectStore(ABC):
    """One container."""

    @abstractmethod
    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        """Ask for the first thing under a prefix, to find out early what is wrong with all.

        Raises:
            TargetError: wrong or missing credentials, no such container, or no right to list it; with the
                container's name and the remedy.
            UnreachableError: no server answers.
        """

    @abstractmethod
    def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
        """List every object whose key begins so, a page at a time; one page in memory.

        Args:
            prefix: plain bytes, not a folder.
            all_versions: every version of every key instead of the current ones. Delete markers are no
                objects.

        Raises:
            ListingTrouble: it can't go on.
        """

    def level(self, prefix: bytes, *, all_versions: bool) -> Level | None:
        """List under a prefix up to the next slash, in one request.

        Returns:
            None where one request doesn't tell all, or the store can't; the prefix is then listed by `pages`.

        Raises:
            ListingTrouble: it can't be listed.
        """
        return None

    @abstractmethod
    def read(self, item: Item, offset: int) -> Reading:
        """Begin to read an object; no tries are repeated here.

        Args:
            item: as it was listed: `name` is the whole key, `version` the version to read if there is one,
                and `etag` what it had; a store that can, asks on the condition that it still has it.
            offset: the first byte wanted.

        Raises:
            FileTrouble: it can't be read: VANISHED, REPLACED (another etag), PERMISSION, ARCHIVED, IO_ERROR.
            Transient: worth another try.
        """

    def check(self, item: Item) -> None:
        """Ask whether an object is still as it was when read; only for readings that are not proven.

        Args:
            item: with the etag and version that the reading had.

        Raises:
            FileTrouble: it is not, or is gone.
            Transient: worth another try.
        """
        raise AssertionError("all readings of this store are proven")

    @abstractmethod
    def close(self) -> None:
        """Let connections go."""
