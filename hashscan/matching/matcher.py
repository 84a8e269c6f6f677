"""Find the list entries near a digest, with a threshold for each variant of a picture."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.variants import SIMILARITY_DOUBTS, DigestRun, is_shown, is_trimmed
from hashscan.lists.exceptions import fingerprint
from hashscan.lists.index import CompiledIndex
from hashscan.lists.index.base import default_threshold
from hashscan.lists.storage.columns import ListHandle
from hashscan.model import ALGORITHMS, ExceptedEntry, Match

TIGHT_THRESHOLD = 21
"""Largest distance in bits for pictures that were turned, mirrored or trimmed, for single planes and those
whose contrast was raised. A query costs a tenth of one at 31, and these are most of the queries; see
`benchmarks/recall/recall.py` for what it finds.
"""


def thresholds_of_lists(lists: Iterable[ListHandle]) -> dict[str, int]:
    """Return the largest distance of a match by algorithm, given the number of the lists' entries."""
    entries = Counter[str]()
    for handle in lists:
        for files in handle.columns:
            entries[files.algorithm] += files.entries
    return {name: default_threshold(name, entries[name]) for name in ALGORITHMS}


def has_tight_threshold(rendering: int, turn: int, shown: int) -> bool:
    """Return True if only entries within `TIGHT_THRESHOLD` count for a digest.

    Args:
        shown: the turn that EXIF asks for.
    """
    return turn not in {0, shown} or is_trimmed(rendering) or not is_shown(rendering)


class Query(NamedTuple):
    """Digests to be looked up, all of one algorithm and of one file."""

    values: bytes
    """One digest, or those of `run`."""
    run: DigestRun | None = None
    """The run of a picture's digests; None for a digest of bytes."""

    @property
    def doubt(self) -> str:
        """The reason why similarity alone proves little for the picture; empty if there is none."""
        return SIMILARITY_DOUBTS[self.run.doubt] if self.run is not None else ""

    def match(self, place: int, found: Match) -> Match:
        """Return a match of one of the digests, with the variant and doubt of the picture."""
        if self.run is None:
            return found
        (digest,) = islice(self.run.digests(), place, place + 1)
        return replace(found, variant=digest.variant, doubt=self.doubt)


class Matcher:
    """The index of some lists with the thresholds that follow from their size."""

    def __init__(
        self,
        lists: Sequence[ListHandle],
        review_threshold: int | None = None,
        excepted: Iterable[ExceptedEntry] = (),
        thresholds: Mapping[str, int] | None = None,
        *,
        many: bool = False,
    ) -> None:
        """Map the lists into memory.

        Args:
            review_threshold: distance in bits up to which an entry of PDQ that is too far away for a match is
                a near miss, for review; None leaves near misses out. Turned, trimmed and doubted pictures
                have none.
            thresholds: by algorithm, where these lists are only a part of those they follow from.
            many: True if so many digests will be looked up that small lists are worth an index, too.
        """
        self._index = CompiledIndex.open(lists, many=many)
        self.thresholds = thresholds_of_lists(lists) if thresholds is None else thresholds
        self._review_threshold = review_threshold
        self._excepted = {(entry.list_name, entry.entry_id): entry for entry in excepted}

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms for which the lists have entries."""
        return self._index.algorithms

    def ask(self, name: str, queries: Sequence[Query]) -> Iterator[tuple[int, Match]]:
        """Look up digests of one algorithm in the index, all at once.

        Returns:
            The index of a query and an entry near it, for every such pair. An entry farther away than the
            match's threshold is a near miss.
        """
        if name not in self._index.algorithms or not queries:
            return
        full = self.thresholds[name]
        tight = min(full, TIGHT_THRESHOLD)
        limits = np.frombuffer(b"".join(_limits(query.run, full, tight) for query in queries), np.int64)
        reach = limits
        if self._review_threshold is not None and name == "pdq":
            near = max(full, self._review_threshold)
            wide = [_limits(query.run, full if query.doubt else near, tight) for query in queries]
            reach = np.frombuffer(b"".join(wide), np.int64)
        values = np.frombuffer(b"".join(query.values for query in queries), np.uint8)
        found = self._index.query(name, values.reshape(len(limits), -1), reach)
        rows, entries, distances = (column.tolist() for column in found)
        if not rows:
            return
        first = list(accumulate((len(q.run.turns) if q.run else 1 for q in queries), initial=0))
        for row, entry, distance in zip(rows, entries, distances, strict=True):
            asked = bisect_right(first, row) - 1
            match = self._match(name, entry, distance, int(limits[row]))
            yield asked, queries[asked].match(row - first[asked], match)

    def near(self, name: str, values: NDArray[np.uint8], *, tight: bool = False) -> NDArray[np.int64]:
        """Return which of many digests of one algorithm are near any entry, for a match or for review.

        Args:
            values: shape (digests, size).
            tight: True if they are of pictures for which only entries within `TIGHT_THRESHOLD` count.

        Returns:
            Their indices; some may be included although the picture is too doubtful for review.
        """
        limit = self.thresholds[name]
        if tight:
            limit = min(limit, TIGHT_THRESHOLD)
        elif self._review_threshold is not None and name == "pdq":
            limit = max(limit, self._review_threshold)
        return np.unique(self._index.query(name, values, np.full(len(values), limit, np.int64))[0])

    def _match(self, name: str, entry: int, distance: int, threshold: int) -> Match:
        """Return the match with an entry, given by its number in the index; withheld if it is excepted."""
        list_name, entry_id, category = self._index.entry(name, entry)
        excepted = self._excepted.get((list_name, entry_id))
        if excepted and excepted.fingerprint != fingerprint(name, self._index.value(name, entry)):
            excepted = None
        return Match(list_name, entry_id, name, category, distance, threshold, excepted=excepted)


def _limits(run: DigestRun | None, full: int, tight: int) -> bytes:
    """Return the largest distance for each digest of a run, 8 bytes each."""
    if run is None:
        return _limits_of(0, (0,), 0, full, tight)
    return _limits_of(run.rendering, run.turns, run.shown, full, tight)


@lru_cache(maxsize=1024)
def _limits_of(rendering: int, turns: tuple[int, ...], shown: int, full: int, tight: int) -> bytes:
    limits = [tight if has_tight_threshold(rendering, turn, shown) else full for turn in turns]
    return np.array(limits, np.int64).tobytes()


def closest_of_each(matches: Iterable[Match]) -> list[Match]:
    """Return one match for each entry: of several variants one that accuses, and of those the closest."""
    best: dict[tuple[str, str, str], Match] = {}
    for match in matches:
        key = match.list_name, match.entry_id, match.algorithm
        if key not in best or _weight(match) < _weight(best[key]):
            best[key] = match
    return list(best.values())


def _weight(match: Match) -> tuple[bool, int]:
    return bool(match.doubt) or match.near_miss, match.distance
