"""When a case is due."""

from __future__ import annotations

from functools import lru_cache

from hashscan.cases.ledger import Ledger
from hashscan.settings.cases import CaseSettings

DUE = "due(verdict, categories || ' ' || claimed, coalesce(began, found), noticed, stated)"
"""In queries: when a case is due, in seconds since 1970; NULL where it has no clock."""


class Clock:
    """Tells it by what the settings allow.

    A match and a notice have the shortest deadline of their categories, a review has one of its own, and what
    is held has none, unless somebody has sent a notice of it. What a notice states only shortens it.
    """

    def __init__(self, settings: CaseSettings) -> None:
        self.settings = settings
        self._allowed = lru_cache(maxsize=1024)(self._seconds)

    def due(
        self, verdict: str, categories: str, began: int, noticed: int | None, stated: int | None
    ) -> int | None:
        """When it is, in seconds since 1970; None where it has no clock.

        Args:
            verdict: of the case.
            categories: with spaces between.
            began: since when somebody must act on it.
            noticed: when somebody else told of it.
            stated: the deadline that they named.
        """
        allowed = self._allowed(verdict, categories)
        times = [] if allowed is None else [began + allowed]
        if noticed is not None:
            notice = self._allowed("notice", categories)
            assert notice is not None
            times.append(noticed + notice)
        if stated is not None:
            times.append(stated)
        return min(times, default=None)

    def _seconds(self, verdict: str, categories: str) -> int | None:
        if verdict == "held":
            return None
        if verdict == "review":
            return int(self.settings.review_deadline)
        own = [self.settings.deadlines.get(name, self.settings.deadline) for name in categories.split()]
        return int(min(own, default=self.settings.deadline))

    def attach(self, ledger: Ledger) -> None:
        """Let the queries of a ledger ask it, as `DUE`."""
        ledger.add_function("due", 5, self.due)
