"""Gathers files that come one by one into batches, as long as they lie in one folder."""

from __future__ import annotations

from dataclasses import replace

from hashscan.model import Batch, Item
from hashscan.sources.options import ListingOptions


class Gathering:
    """The batch that is being filled."""

    def __init__(self, options: ListingOptions) -> None:
        self._options = options
        self._head: Batch | None = None
        self._items: list[Item] = []
        self._met: set[tuple[bytes, str]] = set()
        self._bytes = 0

    def add(self, head: Batch, item: Item) -> Batch | None:
        """Put in one file.

        Args:
            head: its folder, as a batch without items.
            item: the file.

        Returns:
            The batch that was full or of another folder, if there was one. A file that is named twice is in
            two batches.
        """
        # Of some objects the size is not known before they are read.
        size = max(item.stat.size, 0)
        identity = (item.name, item.version)
        full = (
            head != self._head
            or len(self._items) >= self._options.batch_files
            or self._bytes + size > self._options.batch_bytes
            or identity in self._met
        )
        done = self.take() if full else None
        self._head = head
        self._items.append(item)
        self._met.add(identity)
        self._bytes += size
        return done

    def take(self) -> Batch | None:
        """What was gathered so far, if anything."""
        if self._head is None or not self._items:
            return None
        done = replace(self._head, items=tuple(self._items))
        self._items.clear()
        self._met.clear()
        self._bytes = 0
        return done
