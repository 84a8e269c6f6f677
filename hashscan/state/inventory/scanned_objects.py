"""Compare the objects that a scan meets with their stored rows."""

from __future__ import annotations

import numpy as np

from hashscan.matching.policy_rules import subject_of
from hashscan.model import Batch, FileResult, Item
from hashscan.sources.base import full_path
from hashscan.state.cache_rules import CachedResults
from hashscan.state.cached_batch import CachedBatch
from hashscan.state.inventory.object_rows import ObjectRows
from hashscan.state.inventory.rereading import RandomReread
from hashscan.state.inventory.scopes import Scopes
from hashscan.state.store.contents import LOW, QUIET, STALE


class ScannedObjects:
    """The objects of all containers."""

    def __init__(
        self, rows: ObjectRows, scopes: Scopes, deriving: CachedResults, rereading: RandomReread
    ) -> None:
        self._rows = rows
        self._scopes = scopes
        self._deriving = deriving
        self._rereading = rereading

    def recall(self, batch: Batch) -> CachedBatch:
        """Return the known results of a batch."""
        if not self._scopes.knows(batch.target):
            return CachedBatch(0, 0, [], list(batch.items), False)
        answers: list[tuple[Item, FileResult]] = []
        reading: list[Item] = []
        quiet = low = 0
        scope, scan, _ = self._scopes.mark(batch.target)
        contents = self._rows.find(batch)
        all_attention = self._deriving.attention_flags(np.array(contents, np.int64))
        for place in self._rereading.choose(all_attention).tolist():
            item = batch.items[place]
            self._rereading.remember_content(
                full_path(batch.target, b"", item.name), item.version, contents[place]
            )
        for item, content, attention in zip(batch.items, contents, all_attention.tolist(), strict=True):
            result = None
            if not attention & ~QUIET:
                quiet += 1
                low += bool(attention & LOW)
            elif not attention & STALE and (result := self._derived(batch, content, item)) is not None:
                answers.append((item, result))
            else:
                reading.append(item)
                continue
            self._rows.see(batch, item, scope, scan)
        return CachedBatch(quiet, low, answers, reading, False)

    def _derived(self, batch: Batch, content: int, item: Item) -> FileResult | None:
        subject = subject_of(full_path(batch.target, b"", item.name), item.stat)
        return self._deriving.result(content, item, subject)

    def settle(self, batch: Batch, item: Item, content: int | None) -> None:
        """Store the content of an object that was read, if there is one."""
        if content is not None and self._scopes.knows(batch.target):
            scope, scan, _ = self._scopes.mark(batch.target)
            self._rows.put(batch, item, content, scope, scan)
