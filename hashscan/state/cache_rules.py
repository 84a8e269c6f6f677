"""Decide from cached contents whether a file must be read, and derive its result if not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hashscan.matching.matcher import Matcher
from hashscan.matching.policy_rules import Subject
from hashscan.matching.setup import WorkerSetup
from hashscan.model import FileResult, Item
from hashscan.reports.record_lines import Record
from hashscan.state.cached_results import result_of
from hashscan.state.findings.findings import UNKNOWN_STAT, OpenFinding, open_finding_record
from hashscan.state.inventory.listings import NONE
from hashscan.state.store.contents import HIT, STALE, Contents

_NOWHERE = Item(b"", UNKNOWN_STAT)


class CachedResults:
    """The cached contents, with the lists and the policy of one scan."""

    def __init__(self, contents: Contents, setup: WorkerSetup, *, with_digests: bool) -> None:
        self._contents = contents
        self._setup = setup
        self._with_digests = with_digests
        self._matcher: Matcher | None = None

    def attention_flags(self, contents: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the attention flags of files with these contents; a file without a content must be read."""
        if not self._contents.rows:
            return np.full(len(contents), STALE, np.uint8)
        known = self._contents.attention_of(np.maximum(contents, 0))
        return np.where(contents == NONE, np.uint8(STALE), known)

    def result(self, content: int, item: Item, subject: Subject) -> FileResult | None:
        """Return the result of a file with this content; None where the file must be read to get one.

        Args:
            content: its number.
            item: the file.
            subject: the file's attributes, as policy rules see them.
        """
        near = bool(self._contents.attention[content] & HIT)
        if near and self._matcher is None:
            setup = self._setup
            self._matcher = Matcher(setup.lists, setup.review_threshold, setup.excepted)
        result = result_of(
            self._contents.load(content),
            item,
            self._matcher if near else None,
            self._setup,
            subject,
            with_digests=self._with_digests,
        )
        return None if result is None else replace(result, content=content)

    def open_finding_record(self, found: OpenFinding, *, answered: bool) -> Iterator[Record]:
        """Yield the record of an open finding; nothing where today's lists clear it.

        Args:
            found: the finding.
            answered: True if the lists in use can decide that nothing accuses it any more.
        """
        result: FileResult | None = None
        if found.content is not None and self._contents.is_whole(found.content):
            result = self.result(found.content, _NOWHERE, Subject(found.path))
        record = open_finding_record(found, result, answered=answered)
        if record is not None:
            yield record
