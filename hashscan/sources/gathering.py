"""Collect single files into batches, as long as they are in the same folder."""

from __future__ import annotations

from dataclasses import replace

from hashscan.model import Batch, Item
from hashscan.sources.options import ListingOptions


class Gathering:
    """A collector for the batch that is being filled."""

    def __init__(self, options: ListingOptions) -> None:
        self._options = options
        self._head: Batch | None = None
        self._items: list[Item] = []
        self._met: set[tuple[bytes, str]] = set()
        self._bytes = 0

    def add(self, head: Batch, item: Item) -> Batch | None:
        """Add one file.

        Args:
            head: its folder, as a batch without items.
            item: the file.

        Returns:
            The previous batch, if it was full or of another folder. A file that is named twice is in two
            batches.
        """
        # The size of some objects is unknown before they are read.
        size = max(item.stat.size, 0)
        identity = (item.name, item.version)
        full = (
            head != self._head
            or len(self._items) >= self._options.batch_files
            or self._bytes + size > self._options.batch_bytes
            or identity in self._met
        )
        done = self.flush() if full else None
        self._head = head
        self._items.append(item)
        self._met.add(identity)
        self._bytes += size
        return done

    def flush(self) -> Batch | None:
        """Return the files collected so far as a batch, or None."""
        if self._head is None or not self._items:
            return None
        done = replace(self._head, items=tuple(self._items))
        self._items.clear()
        self._met.clear()
        self._bytes = 0
        return done
