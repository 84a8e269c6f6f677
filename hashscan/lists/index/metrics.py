"""The table of metrics and the search strategy of each."""

from __future__ import annotations

from collections.abc import Callable

from hashscan.lists.index.base import Strategy
from hashscan.lists.index.exact import Exact
from hashscan.lists.index.hamming import Hamming
from hashscan.model import ALGORITHMS, Metric

STRATEGIES: dict[Metric, Callable[[], Strategy]] = {"exact": Exact, "hamming": Hamming}
"""Returns the strategy of a metric."""


def strategy_of(algorithm: str) -> Strategy:
    """Return the strategy for an algorithm's digests."""
    return STRATEGIES[ALGORITHMS[algorithm].metric]()
