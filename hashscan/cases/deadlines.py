"""Compute the deadline of a case."""

from __future__ import annotations

from functools import lru_cache

from hashscan.cases.ledger import Ledger
from hashscan.settings.cases_and_alerts import CaseSettings

DUE = "due(verdict, categories || ' ' || claimed, coalesce(began, found), noticed, stated)"
"""SQL expression for the deadline of a case, in seconds since 1970; NULL if it has none."""


IS_ORDER = "(ordered IS NOT NULL OR verdict='inform')"
"""SQL expression that is true for the case of an order, of any kind."""


class DeadlineCalculator:
    """The deadlines of cases by the settings.

    A match and a notice have the shortest deadline of their categories. A review has a deadline of its own. A
    held finding has none, unless somebody has sent a notice of it. The deadline that a notice states, or that
    its kind has, can only shorten it; an order to provide information has that one alone.
    """

    def __init__(self, settings: CaseSettings) -> None:
        self.settings = settings
        self._allowed = lru_cache(maxsize=1024)(self._seconds)

    def due(
        self, verdict: str, categories: str, began: int, noticed: int | None, stated: int | None
    ) -> int | None:
        """Return the deadline in seconds since 1970; None if the case has none.

        The arguments are columns of the case; `categories` are separated by spaces.
        """
        if verdict == "inform":
            return stated
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

    def register(self, ledger: Ledger) -> None:
        """Add this computation to the queries of a ledger as a SQL function, used by `DUE`."""
        ledger.add_function("due", 5, self.due)
