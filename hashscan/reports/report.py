"""A report as formats use it: its records, which can be iterated repeatedly, and its context."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.reports.reading import last_record, read_report
from hashscan.reports.record_lines import Record
from hashscan.reports.shapes import require_shape


def _no_digests(record: Record) -> Mapping[str, str]:
    return {}


def _no_url(record: Record) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Data that is not in the records and that some formats need."""

    digests: Callable[[Record], Mapping[str, str]] = _no_digests
    """Returns the digests of a record's file in hex by algorithm; empty if they are not known."""
    url_of: Callable[[Record], str] = _no_url
    """Returns the public URL of a record's file; empty if it is not known."""
    reporter: Reporter | None = None
    """The organisation and person who report."""


BARE = ReportContext()


def require_reporter(context: ReportContext) -> Reporter:
    """Return the organisation and person who report.

    Raises:
        UsageError: the settings name none.
    """
    reporter = context.reporter
    if reporter is None or not reporter.organisation or "@" not in reporter.email:
        raise UsageError(
            "nobody is named who reports",
            advice="Add a table [reporter] with organisation and email to the settings file.",
        )
    return reporter


class Report:
    """The report of one scan in a file, complete or partial."""

    def __init__(self, path: Path, context: ReportContext = BARE) -> None:
        """Create a report object.

        Args:
            path: path of a file in JSON Lines that does not change any more.
            context: data that the records don't have.
        """
        self.path = path
        self.context = context

    def records(self) -> Iterator[Record]:
        """Yield all records from the first; each call reads the file again.

        Each record is validated by `shapes`, so that formats need no checks.

        Raises:
            UsageError: the file does not exist, is not a report, is damaged, or a newer hashscan wrote it.
            OutputError: the file can't be read to its end.
        """
        for number, record in enumerate(read_report(self.path), 1):
            yield self._validated(record, f"line {number}")

    @cached_property
    def scan(self) -> Record:
        """The first record: the arguments and settings of the scan."""
        return next(self.records())

    @cached_property
    def summary(self) -> Record | None:
        """The last record; None if the scan was killed."""
        last = last_record(self.path)
        if last is None or last["type"] != "summary":
            return None
        return self._validated(last, "last line")

    def _validated(self, record: Record, where: str) -> Record:
        try:
            require_shape(record)
        except ValueError as error:
            raise UsageError(
                f"{self.path}, {where}: this record can't be understood: {error}",
                advice="Name reports as scans write them; scan again if this one is damaged.",
            ) from error
        return record

    @property
    def reporter(self) -> Reporter:
        """The organisation and person who report.

        Raises:
            UsageError: the settings name none.
        """
        return require_reporter(self.context)

    def digests(self, record: Record) -> Mapping[str, str]:
        """Return the known digests of a record's file, in hex by algorithm."""
        found: Mapping[str, str] = record.get("digests") or self.context.digests(record)
        return found

    @staticmethod
    def customer(record: Record) -> str:
        """Return the customer of a record; empty if no rule names one."""
        return str(record.get("customer", ""))

    @property
    def name(self) -> str:
        """Name of its file, for people; it may contain any characters."""
        return os.fspath(self.path)
