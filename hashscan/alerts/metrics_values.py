"""The values that a monitoring system gets (metrics)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hashscan.errors import EXIT_CLEAN, EXIT_FOUND


@dataclass(frozen=True, slots=True)
class ScanMetrics:
    """The last scan; times in seconds since 1970."""

    began: float
    ended: float | None
    """The end; None if the scan was killed, or hasn't ended yet."""
    exit_code: int | None
    files: Mapping[str, int] = field(default_factory=dict)
    """The number of files by verdict."""
    bytes: int = 0
    shortcomings: int = 0
    """The number of reasons why the scan is incomplete."""


@dataclass(frozen=True, slots=True)
class ListMetrics:
    """One hash list; times in seconds since 1970."""

    name: str
    state: str
    entries: int
    version: int
    expires: float | None
    pulled: float | None


@dataclass(frozen=True, slots=True)
class CaseMetrics:
    """The number of cases; open ones by verdict."""

    open: Mapping[str, int]
    overdue: int
    disputed: int
    opened_ever: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics; None is a value that is not known."""

    last: ScanMetrics | None = None
    last_success: float | None = None
    """The end of the last complete scan, in seconds since 1970."""
    lists: tuple[ListMetrics, ...] = ()
    cases: CaseMetrics | None = None
    in_quarantine: int | None = None
    withdrawn: int | None = None
    """The number of items in quarantine whose entries were withdrawn."""
    alerts_waiting: int | None = None
    oldest_waiting: float | None = None

    def with_run(self, run: ScanMetrics | None) -> Metrics:
        """Return the figures with the scan that has just run.

        It becomes the last scan, and also the last success if it was complete and ended with exit code 0 or
        1.
        """
        if run is None:
            return self
        went_well = run.exit_code in (EXIT_CLEAN, EXIT_FOUND) and not run.shortcomings
        known = [self.last_success] if self.last_success is not None else []
        success = max([*known, *([run.ended] if went_well and run.ended is not None else [])], default=None)
        return replace(self, last=run, last_success=success)
