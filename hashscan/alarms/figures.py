"""The figures that a monitoring system is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
