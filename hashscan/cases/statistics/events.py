"""The facts that statistics count: scans, cases, custody events and notices, without names of files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The way in which a scan ended."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    """It ended by an error or a signal, or was killed before it recorded its end."""


@dataclass(frozen=True, slots=True)
class ScanFact:
    """A scan. Times are in seconds since 1970 here and below."""

    begun: int
    outcome: Outcome
    files: int
    bytes: int
    """Bytes read from files."""


class FindingVerdict(StrEnum):
    """The verdict of the last scan that found the file of a case."""

    MATCH = "match"
    HELD = "held"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class CaseFact:
    """A case."""

    begun: int
    """Time of the finding or notice, or of the change from held or review to match."""
    found: FindingVerdict | None
    """None if there is only a notice."""
    lists: frozenset[str]
    """Names of the lists with a matching entry."""
    categories: frozenset[str]
    """Categories of these entries."""
    deadline: int | None
    """Deadline for the removal; None if there is none."""
    removed: int | None
    """Time at which the file was found to be gone or was moved into quarantine."""
    closed: int | None
    """Time at which the case was closed although the file had not been removed."""


class Custody(StrEnum):
    """An action on a file in quarantine."""

    QUARANTINED = "quarantined"
    RESTORED = "restored"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class CustodyFact:
    """An event of the quarantine (custody) log."""

    at: int
    what: Custody


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts; each iterable can be read once."""

    scans: Iterable[ScanFact]
    cases: Iterable[CaseFact]
    custody: Iterable[CustodyFact]
    notices: Iterable[int]
    """Times of receipt of all notices, including those about a file that has a case already."""
