"""A report format: the path of each finding on a line of its own, escaped."""

from __future__ import annotations

from typing import BinaryIO

from hashscan.reports.report import Report, ReportFormat
from hashscan.text import printable


class Paths(ReportFormat):
    """The paths of findings; names come from attackers, so control characters are escaped."""

    name = "paths"
    suffix = ".txt"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write a heading, and a line for each finding."""
        stream.write(b"# findings\n")
        for record in report.records():
            if record["type"] == "finding":
                stream.write(printable(record["path"]).encode("utf-8", "backslashreplace") + b"\n")
