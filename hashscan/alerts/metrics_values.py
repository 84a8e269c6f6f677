"""The figures that a monitoring system is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hashscan.errors import EXIT_CLEAN, EXIT_FOUND


@dataclass(frozen=True, slots=True)
class SweepFigures:
    """The last sweep; times in seconds since 1970."""

    began: float
    ended: float | None
    """None where it was killed, or hasn't ended yet."""
    exit_code: int | None
    files: Mapping[str, int] = field(default_factory=dict)
    """By verdict."""
    bytes: int = 0
    shortcomings: int = 0
    """Reasons for which it is incomplete."""


@dataclass(frozen=True, slots=True)
class ListFigures:
    """One hash list; times in seconds since 1970."""

    name: str
    state: str
    entries: int
    version: int
    expires: float | None
    pulled: float | None


@dataclass(frozen=True, slots=True)
class CaseFigures:
    """The cases, by their verdicts."""

    open: Mapping[str, int]
    overdue: int
    disputed: int
    opened_ever: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of them; None is what is not known."""

    last: SweepFigures | None = None
    last_success: float | None = None
    """When a sweep last came to its end with nothing left out; seconds since 1970."""
    lists: tuple[ListFigures, ...] = ()
    cases: CaseFigures | None = None
    in_quarantine: int | None = None
    withdrawn: int | None = None
    """Items in quarantine that nothing accuses any more."""
    alarms_waiting: int | None = None
    oldest_waiting: float | None = None

    def with_run(self, run: SweepFigures | None) -> Figures:
        """With a sweep that was there just now: it is the last, and may be the last that went well."""
        if run is None:
            return self
        went_well = run.exit_code in (EXIT_CLEAN, EXIT_FOUND) and not run.shortcomings
        known = [self.last_success] if self.last_success is not None else []
        success = max([*known, *([run.ended] if went_well and run.ended is not None else [])], default=None)
        return replace(self, last=run, last_success=success)
