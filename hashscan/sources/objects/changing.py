"""What a store must do besides reading, so that objects can be taken out of it and put back as they were."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hashscan.model import FileStat, Item
from hashscan.sources.objects.store import UNKNOWN_SIZE, ObjectStore

Properties = Mapping[str, Any]
"""All that a store keeps with an object beside its content, in the store's own words; JSON values by key."""


class TakenError(Exception):
    """There is an object under the key already."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a store says of one object."""

    size: int
    """Bytes."""
    etag: str
    """As conditions take it."""
    version: str
    """Of exactly this object; empty where the store keeps none."""
    modified: str
    """When it was stored, as the store writes times."""
    properties: Properties
    unread: tuple[str, ...] = ()
    """What of the properties may not be read, and so can't be put back."""


def named(key: bytes, etag: str = "", version: str = "", size: int = UNKNOWN_SIZE) -> Item:
    """An object that was not listed, as stores take it."""
    stat = FileStat(device=0, inode=0, size=size, mtime_ns=0, ctime_ns=0, links=1, uid=0)
    return Item(key, stat, etag, version)


class ChangeableStore(ObjectStore):
    """One container in which objects may be made and deleted.

    Every method raises FileTrouble or Transient as `read` does. Where a permission is missing, the detail
    names it.
    """

    deletes: ClassVar[str]
    """What a deletion may leave of the object and for how long, in words."""

    @abstractmethod
    def describe(self, item: Item) -> Description:
        """Ask what the store keeps with an object.

        Args:
            item: its name is the key; where it has an etag or a version, the object must still have it.
        """

    @abstractmethod
    def create(self, key: bytes, content: int, size: int, properties: Properties) -> Description:
        """Store a new object, and never in the place of another; it is there whole or not at all.

        Args:
            key: of the object.
            content: descriptor of a file; read with pread, a bounded part of it in memory.
            size: of the file in bytes.
            properties: from `describe`; empty for none.

        Returns:
            Its etag and version; the rest is as given.

        Raises:
            TakenError: something is there.
        """

    @abstractmethod
    def delete(self, item: Item) -> bool:
        """Delete exactly this object or version, and nothing that was put in its place since.

        Args:
            item: with all that `describe` said of etag and version.

        Returns:
            False where the store can't compare as it deletes, so that it was compared just before.

        Raises:
            FileTrouble: VANISHED, REPLACED, PERMISSION, or what else hinders it.
        """
