"""The interface of stores in which the quarantine can create and delete objects, to move and restore them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hashscan.model import FileStat, Item
from hashscan.sources.objects.store import UNKNOWN_SIZE, ObjectStore

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

    Every method raises FileError or Transient as `read` does. If a permission is missing, the detail names
    it.
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
            key: of the object.
            content: descriptor of a file; read with pread, a bounded part of it in memory.
            size: of the file in bytes.
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
