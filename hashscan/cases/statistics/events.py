"""What statistics are counted from: sweeps, cases, custody and notices, without what names a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a sweep ended."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    """It ended by an error or a signal, or was killed before it could say how."""


@dataclass(frozen=True, slots=True)
class SweepFact:
    """A sweep. Times are in seconds since 1970 here and below."""

    begun: int
    outcome: Outcome
    files: int
    bytes: int
    """Read from files."""


class Found(StrEnum):
    """What a sweep said of the file of a case when it last had it before it."""

    MATCH = "match"
    HELD = "held"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class CaseFact:
    """A case."""

    begun: int
    """When the file was found, the notice was received, or what was held or for review became a match."""
    found: Found | None
    """None where only a notice tells of it."""
    lists: frozenset[str]
    """By name, those with an entry that matches."""
    categories: frozenset[str]
    """Of these entries."""
    deadline: int | None
    """Until when the file must be removed; None where no clock runs."""
    removed: int | None
    """When the file was seen to be gone or was moved into quarantine."""
    closed: int | None
    """When the case was closed although the file had not been removed."""


class Custody(StrEnum):
    """What was done to a file that is evidence."""

    QUARANTINED = "quarantined"
    RESTORED = "restored"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class CustodyFact:
    """That it was done."""

    at: int
    what: Custody


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was put down; each part can be gone through once."""

    sweeps: Iterable[SweepFact]
    cases: Iterable[CaseFact]
    custody: Iterable[CustodyFact]
    notices: Iterable[int]
    """When each was received, those included that tell of a file which has a case already."""
