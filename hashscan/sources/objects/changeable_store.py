"""The interface of stores in which the quarantine creates and deletes objects; opens one by scheme."""

from __future__ import annotations

import io
import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hashscan.model import FileStat, Item
from hashscan.sources.objects.store import UNKNOWN_SIZE, ObjectStore


class FilePart(io.RawIOBase):
    """A file object for a range of a descriptor, which stays open and keeps its offset."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        """Start at the first byte of the range."""
        self._descriptor = descriptor
        self._start = start
        self._size = size
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read the next bytes."""
        wanted = min(len(buffer), self._size - self._at)
        read = os.preadv(self._descriptor, [memoryview(buffer)[:wanted]], self._start + self._at)
        self._at += read
        return read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position in the range."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, origin + offset), self._size)
        return self._at

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._at


Properties = Mapping[str, Any]
"""All data that a store keeps with an object besides its content, by the store's own names; JSON values."""


class ObjectExistsError(Exception):
    """The error that an object with this key exists already."""


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """A store's description of one object."""

    size: int
    """Size in bytes."""
    etag: str
    """The ETag, in the form that conditions use."""
    version: str
    """The version of exactly this object; empty if the store keeps none."""
    modified: str
    """The time when it was stored, in the store's own format."""
    properties: Properties
    unread: tuple[str, ...] = ()
    """The properties that may not be read, and so can't be restored."""


def unlisted_item(key: bytes, etag: str = "", version: str = "", size: int = UNKNOWN_SIZE) -> Item:
    """Return an item for an object that was not listed."""
    stat = FileStat(device=0, inode=0, size=size, mtime_ns=0, ctime_ns=0, links=1, uid=0)
    return Item(key, stat, etag, version)


class ChangeableStore(ObjectStore):
    """A container in which objects can be created and deleted.

    Every method raises FileError or RetryableError as `read` does. If a permission is missing, the detail
    names it.
    """

    deletes: ClassVar[str]
    """A text that says which copies may remain after a deletion, and for how long."""

    @abstractmethod
    def describe(self, item: Item) -> ObjectDescription:
        """Return everything that the store keeps with an object.

        Args:
            item: its name is the key; if it has an etag or a version, the object must still have them.
        """

    @abstractmethod
    def create(self, key: bytes, content: int, size: int, properties: Properties) -> ObjectDescription:
        """Store a new object, and never replace another one; it is stored completely or not at all.

        Args:
            content: descriptor of a file; read with pread, a bounded part of it in memory.
            properties: from `describe`; empty for none.

        Returns:
            A description with its etag and version; the rest is as given.

        Raises:
            ObjectExistsError: an object with this key exists.
        """

    @abstractmethod
    def delete(self, item: Item) -> bool:
        """Delete exactly this object or version, and nothing that was stored in its place since.

        Args:
            item: with the etag and version that `describe` returned.

        Returns:
            False if the store can't compare and delete in one step, so that the comparison was made just
            before.

        Raises:
            FileError: VANISHED, REPLACED, PERMISSION, or another reason that prevents it.
        """
