"""A table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from hashscan.reports.base import Record, ReportFormat
from hashscan.reports.report import Report

COLUMNS = ("verdict", "path", "path_b64", "customer", "because", "action")


class Csv(ReportFormat):
    """RFC 4180, UTF-8; a row for each file that is not clean."""

    name = "csv"
    suffix = ".csv"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write a header and the rows."""
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
        rows = csv.writer(text)
        rows.writerow(COLUMNS)
        rows.writerows(_rows(report))
        text.flush()
        text.detach()


def _rows(report: Report) -> Iterator[list[str]]:
    for record in report.records():
        if "verdict" in record:
            yield [_defused(record, column) for column in COLUMNS]


def _defused(record: Record, column: str) -> str:
    """The value of a column, which no spreadsheet takes for a formula."""
    value = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(record.get(column, ""))
    )
    return "'" + value if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
