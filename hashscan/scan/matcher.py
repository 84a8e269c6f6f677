"""Asks the index for the entries near a digest, each variant of a picture as far as it can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hashscan.hashing.variants import DOUBTS, TRIMMED, PictureDigest
from hashscan.lists.columns import ListHandle
from hashscan.lists.exceptions import fingerprint
from hashscan.lists.index import CompiledIndex
from hashscan.lists.index.thresholds import default_threshold
from hashscan.model import ALGORITHMS, ExceptedEntry, Match

TIGHT_THRESHOLD = 21
"""Largest distance in bits for pictures that were turned, mirrored or trimmed. A query costs a tenth of one
at 31, and these are most of the queries; see `benchmarks/recall.py` for what it finds."""


def thresholds_of_lists(lists: Iterable[ListHandle]) -> dict[str, int]:
    """The largest distance of a match for each algorithm, given how many entries the lists have of it."""
    entries = Counter[str]()
    for handle in lists:
        for files in handle.columns:
            entries[files.algorithm] += files.entries
    return {name: default_threshold(name, entries[name]) for name in ALGORITHMS}


class Query(NamedTuple):
    """One digest to be asked about."""

    value: bytes
    rendered: PictureDigest | None = None
    """What it is of, where it is of a picture."""

    @property
    def tight(self) -> bool:
        """Whether only entries within `TIGHT_THRESHOLD` count."""
        found = self.rendered
        return found is not None and bool((found.turn and not found.shown) or found.rendering >= TRIMMED)

    @property
    def doubt(self) -> str:
        """Why likeness alone says little of the picture, if it does."""
        return DOUBTS[self.rendered.doubt] if self.rendered is not None else ""

    def match(self, found: Match) -> Match:
        """A match, with what there is to say of the picture."""
        if self.rendered is None:
            return found
        return replace(found, variant=self.rendered.variant, doubt=self.doubt)


class Matcher:
    """The index of some lists with the thresholds that follow from their size."""

    def __init__(
        self,
        lists: Sequence[ListHandle],
        review_threshold: int | None = None,
        excepted: Iterable[ExceptedEntry] = (),
        thresholds: Mapping[str, int] | None = None,
    ) -> None:
        """Map the lists.

        Args:
            lists: verified and compiled before.
            review_threshold: distance in bits up to which an entry of PDQ that is too far away for a match is
                a near miss, for review; None leaves near misses out. Turned, trimmed and doubted pictures
                have none.
            excepted: entries of the lists whose matches are withheld.
            thresholds: by algorithm, where these lists are only a part of those they follow from.
        """
        self._index = CompiledIndex.open(lists)
        self.thresholds = thresholds_of_lists(lists) if thresholds is None else thresholds
        self._review_threshold = review_threshold
        self._excepted = {(entry.list_name, entry.entry_id): entry for entry in excepted}

    @property
    def algorithms(self) -> frozenset[str]:
        """Algorithms that have entries."""
        return self._index.algorithms

    def ask(self, name: str, queries: Sequence[Query]) -> Iterator[tuple[int, Match]]:
        """Ask the index about digests of one algorithm, all at once.

        Args:
            name: of the algorithm.
            queries: any number.

        Returns:
            The place of a query and an entry near it, for every such pair. An entry farther away than the
            match's threshold is a near miss.
        """
        if name not in self._index.algorithms or not queries:
            return
        full = self.thresholds[name]
        tight = min(full, TIGHT_THRESHOLD)
        limits = [tight if query.tight else full for query in queries]
        reach = limits
        if self._review_threshold is not None and name == "pdq":
            reach = [
                limit if query.tight or query.doubt else max(limit, self._review_threshold)
                for query, limit in zip(queries, limits, strict=True)
            ]
        found = self._index.query(
            name,
            np.frombuffer(b"".join(query.value for query in queries), dtype=np.uint8).reshape(
                len(queries), -1
            ),
            np.array(reach, dtype=np.int64),
        )
        for row, entry, distance in zip(*(column.tolist() for column in found), strict=True):
            yield row, queries[row].match(self._match(name, entry, distance, limits[row]))

    def _match(self, name: str, entry: int, distance: int, threshold: int) -> Match:
        """A match with an entry, as the index counts it; withheld where just this entry is excepted."""
        list_name, entry_id, category = self._index.entry(name, entry)
        excepted = self._excepted.get((list_name, entry_id))
        if excepted and excepted.fingerprint != fingerprint(name, self._index.value(name, entry)):
            excepted = None
        return Match(list_name, entry_id, name, category, distance, threshold, excepted=excepted)


def closest_of_each(matches: Iterable[Match]) -> list[Match]:
    """One match for each entry: of several variants the one that accuses, and of those the closest."""
    best: dict[tuple[str, str, str], Match] = {}
    for match in matches:
        key = match.list_name, match.entry_id, match.algorithm
        if key not in best or _weight(match) < _weight(best[key]):
            best[key] = match
    return list(best.values())


def _weight(match: Match) -> tuple[bool, int]:
    return bool(match.doubt) or match.near_miss, match.distance
