"""Choose the paths of a scan's reports."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hashscan.errors import OutputError, UsageError
from hashscan.settings.scan import ReportTarget
from hashscan.state_dir import StateDir

RECORD = "jsonl"
"""The format that all others are made from."""
RECORD_SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """The paths of a scan's record file and of the reports that are made from it."""

    records: tuple[Path | None, ...]
    made: tuple[ReportTarget, ...] = ()
    """The reports in other formats, which are made when the record is complete."""
    passing: Path | None = None
    """A record file that was not asked for; it is removed when the other formats are made."""

    @property
    def source(self) -> Path | None:
        return next((path for path in self.records if path is not None), None)

    @property
    def kept(self) -> tuple[Path, ...]:
        """The files that stay."""
        paths = (*self.records, *(report.path for report in self.made))
        return tuple(path for path in paths if path is not None and path != self.passing)


def report_paths(
    reports: Sequence[ReportTarget], state: StateDir | None, started: datetime, identity: str
) -> ReportPaths:
    """Choose the paths of all reports.

    Other formats are made from a record in a file. If no such file was asked for, there is one all the same:
    in the state folder, or beside one of the reports, for as long as the scan runs.
    """
    records = tuple(report.path for report in reports if report.format == RECORD)
    made = tuple(report for report in reports if report.format != RECORD)
    if any(path is not None for path in records) or (records and not made):
        return ReportPaths(records, made)
    if state is not None:
        return ReportPaths((*records, default_report(state, started, identity)), made)
    if not made:
        return ReportPaths(())
    beside = next((report.path for report in made if report.path is not None), None)
    if beside is None:
        passing = Path(tempfile.gettempdir()) / f"hashscan-{identity}{RECORD_SUFFIX}"
    else:
        passing = beside.with_name(beside.name + RECORD_SUFFIX)
    return ReportPaths((*records, passing), made, passing)


def default_report(state: StateDir, started: datetime, identity: str) -> Path:
    """Return the path of the record if none was chosen."""
    folder = state.reports
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror}") from error
    return folder / f"{started:%Y%m%dT%H%M%SZ}-{identity[:8]}{RECORD_SUFFIX}"


def newest_report(state: StateDir) -> Path:
    """Return the default record file of the latest scan that has ended.

    Records whose path the operator chose are not considered.

    Raises:
        UsageError: there is none.
    """
    # The names begin with the start time of the scan.
    found = max(state.reports.glob(f"*{RECORD_SUFFIX}"), key=lambda path: path.name, default=None)
    if found is None:
        raise UsageError(
            f"there is no report in {state.reports}",
            advice="Name a report, or the state folder of the scan with --state.",
        )
    return found
