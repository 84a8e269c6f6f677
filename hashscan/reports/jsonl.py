"""Write the records of a report as JSON Lines, without a torn last line."""

from __future__ import annotations

from typing import BinaryIO

from hashscan.reports.base import ReportFormat
from hashscan.reports.record_lines import line_of
from hashscan.reports.report import Report


class JsonLines(ReportFormat):
    """One JSON object per line."""

    name = "jsonl"
    suffix = ".jsonl"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write all records."""
        for record in report.records():
            stream.write(line_of(record))
