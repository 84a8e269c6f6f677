"""Write a report as CSV for spreadsheets, with protection against formulas."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from hashscan.reports.common import TYPES, deciding_match, shortcomings, verdict_of
from hashscan.reports.records import Record, path_bytes, path_text
from hashscan.reports.report import Report, ReportFormat
from hashscan.text import printable
from hashscan.timefmt import file_time

COLUMNS = (
    "record",
    "verdict",
    "customer",
    "path",
    "because",
    "action",
    "quarantine",
    "accepted",
    "category",
    "list",
    "entry",
    "algorithm",
    "variant",
    "member",
    "distance",
    "threshold",
    "matches",
    "size",
    "modified",
    "changed",
    "uid",
    "links",
    "version",
    "picture",
    "reason",
    "detail",
    "first",
    "last",
    "md5",
    "sha1",
    "sha256",
    "pdq",
    "host",
    "scan",
    "path_b64",
)
"""Column names. Only the deciding match has columns, beside the number of matches."""

INCOMPLETE = "incomplete"
"""Record type of the rows at the end that say why the table is incomplete."""

_BEGINS_FORMULA = frozenset("=+-@＝＋－＠'")  # noqa: RUF001
"""Characters that begin a formula in a spreadsheet, and the apostrophe that marks a text."""

_SPLITS = re.compile("[;|](?=[\\s\"']*[=+\\-@＝＋－＠])")  # noqa: RUF001
"""Characters that end a cell in some spreadsheets, if a formula would follow."""


class Csv(ReportFormat):
    """RFC 4180 in UTF-8: a row for each file that is not clean."""

    name = "csv"
    suffix = ".csv"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write a header and the rows."""
        scan = report.scan
        ends = (cell(str(scan.get("host", ""))), cell(str(scan.get("uuid", ""))))
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        try:
            text.write(",".join(COLUMNS) + "\r\n")
            # Some spreadsheets split unquoted cells not only at commas.
            rows = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
            rows.writerows(_row(record, ends) for record in report.records() if record["type"] in TYPES)
            rows.writerows(_remarks(report, ends))
        finally:
            # Otherwise the wrapper would close the stream, which belongs to the caller.
            text.detach()


def _row(record: Record, ends: tuple[str, str]) -> list[str | int]:
    get = record.get
    match = deciding_match(record)
    digests = get("digests", {})
    picture = get("picture")
    accepted = get("accepted")
    path = record["path"]
    shown = cell(path_text(record))
    return [
        record["type"],
        verdict_of(record),
        cell(get("customer", "")),
        shown,
        cell(get("because", "")),
        cell(get("action", "")),
        cell(get("quarantine", {}).get("outcome", "")),
        "" if accepted is None else cell(f"until {accepted['until']}: {accepted['reason']}"),
        cell(match.get("category", "")),
        cell(match.get("list", "")),
        cell(match.get("entry", "")),
        cell(match.get("algorithm", "")),
        cell(match.get("variant", "")),
        cell(match.get("member", "")),
        match.get("distance", ""),
        match.get("threshold", ""),
        len(get("matches", ())),
        get("size", ""),
        _file_time(record, "mtime_ns"),
        _file_time(record, "ctime_ns"),
        get("uid", ""),
        get("links", ""),
        cell(get("version", "")),
        "" if picture is None else cell(f"{picture['format']} {picture['width']}x{picture['height']}"),
        cell(get("reason", "")),
        cell(get("detail", "")),
        cell(get("first", "")),
        cell(get("last", "")),
        cell(digests.get("md5", "")),
        cell(digests.get("sha1", "")),
        cell(digests.get("sha256", "")),
        cell(digests.get("pdq", "")),
        *ends,
        "" if shown == path else cell(base64.b64encode(path_bytes(record)).decode("ascii")),
    ]


def _remarks(report: Report, ends: tuple[str, str]) -> Iterator[list[str]]:
    for reason in shortcomings(report):
        row = dict.fromkeys(COLUMNS, "")
        row |= {"record": INCOMPLETE, "detail": cell(reason), "host": ends[0], "scan": ends[1]}
        yield list(row.values())


def cell(text: str) -> str:
    """Escape a text so that no spreadsheet takes it for a formula, and no terminal for a command."""
    if not text:
        return text
    text = printable(text)
    if text[0] in _BEGINS_FORMULA:
        text = f"'{text}"
    if ";" in text or "|" in text:
        text = _SPLITS.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
    return text


def _file_time(record: Record, key: str) -> str:
    """Return a time of a file; outside the calendar, as seconds since 1970; empty if the record has none."""
    nanoseconds = record.get(key)
    return "" if nanoseconds is None else file_time(nanoseconds) or f"{nanoseconds // 1_000_000_000} s"
