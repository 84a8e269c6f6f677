"""Says where the reports of a sweep go."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hashscan.errors import OutputError, UsageError
from hashscan.settings.scan import ReportTarget

RECORD = "jsonl"
"""The format that all others are made from."""
RECORD_SUFFIX = ".jsonl"
_REPORTS = "reports"
"""The state's folder for records that nobody named a place for."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a sweep writes its record, and what is to be made from it."""

    records: tuple[Path | None, ...]
    """None is standard output."""
    made: tuple[ReportTarget, ...] = ()
    """In other formats, once the record is whole."""
    passing: Path | None = None
    """A record that nobody asked for, to be removed when that is done."""

    @property
    def source(self) -> Path | None:
        """The file that other formats are made from."""
        return next((path for path in self.records if path is not None), None)

    @property
    def kept(self) -> tuple[Path, ...]:
        """The files that stay."""
        paths = (*self.records, *(report.path for report in self.made))
        return tuple(path for path in paths if path is not None and path != self.passing)


def places_of(
    reports: Sequence[ReportTarget], state: Path | None, started: datetime, identity: str
) -> Places:
    """Where everything goes.

    Without a record in a file other formats have nothing to be made from, so then there is one all the same:
    in the state folder, or for as long as the sweep takes beside what is made of it.

    Args:
        reports: that were asked for.
        state: the state folder, if there is one.
        started: when the sweep began.
        identity: of the sweep.

    Raises:
        OutputError: the folder for reports can't be made.
    """
    records = tuple(report.path for report in reports if report.format == RECORD)
    made = tuple(report for report in reports if report.format != RECORD)
    if any(path is not None for path in records) or (records and not made):
        return Places(records, made)
    if state is not None:
        return Places((*records, default_report(state, started, identity)), made)
    if not made:
        return Places((None,))
    beside = next((report.path for report in made if report.path is not None), None)
    if beside is None:
        passing = Path(tempfile.gettempdir()) / f"hashscan-{identity}{RECORD_SUFFIX}"
    else:
        passing = beside.with_name(beside.name + RECORD_SUFFIX)
    return Places((*records, passing), made, passing)


def default_report(state: Path, started: datetime, identity: str) -> Path:
    """Where the record goes if nobody says.

    Raises:
        OutputError: its folder can't be made.
    """
    folder = state / _REPORTS
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror}") from error
    return folder / f"{started:%Y%m%dT%H%M%SZ}-{identity[:8]}{RECORD_SUFFIX}"


def newest_report(state: Path) -> Path:
    """The record of the latest sweep that came to its end and for which nobody named a place.

    Raises:
        UsageError: there is none.
    """
    # Their names begin with when the sweep began.
    found = max((state / _REPORTS).glob(f"*{RECORD_SUFFIX}"), key=lambda path: path.name, default=None)
    if found is None:
        raise UsageError(
            f"there is no report in {state / _REPORTS}",
            advice="Name a report, or the state folder of the sweep with --state.",
        )
    return found
