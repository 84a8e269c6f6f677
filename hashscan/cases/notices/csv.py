"""Read notices from a table: a header line that names the columns, then one notice per line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from hashscan.cases.notices import fields
from hashscan.cases.notices.notice import CLAIMS, Notice, parse_claims
from hashscan.cases.notices.reader import NoticeError, NoticeFormat, Skipped, SkipReason
from hashscan.lists.formats.text import LineError, shown, text_lines

COLUMNS = (
    "url", "path", "reference", "sender", "received", "deadline", "category", *CLAIMS, *fields.DIGESTS
)  # fmt: skip
"""Column names, in any case; other columns are skipped."""
_NAMING = ("url", "path", *fields.DIGESTS)
_DELIMITERS = (",", ";", "\t")


class CsvNotices(NoticeFormat):
    """Values separated by commas, semicolons or tabs, in UTF-8; blank lines are skipped."""

    name = "csv"

    def notices(self, stream: BinaryIO, label: str) -> Iterator[Notice]:
        try:
            yield from self._notices(stream)
        except LineError as error:
            raise NoticeError(
                f"{label}, line {error.line}: {error.problem}", advice=f"{error.mend}, and import it again."
            ) from error

    def _notices(self, stream: BinaryIO) -> Iterator[Notice]:
        rows = _rows(stream)
        number, header = next(rows, (1, []))
        columns = [column.strip().lower() for column in header]
        known = [column for column in columns if column in COLUMNS]
        if not set(known) & set(_NAMING) or len(set(known)) != len(known):
            found = ", ".join(shown(name) for name in header[:8]) or "nothing"
            raise LineError(
                number,
                f"the header should name url or path, each column once; it has {found}",
                f"Begin the file with such a line; columns are {', '.join(COLUMNS)}",
            )
        for column in columns:
            if column not in COLUMNS:
                self.passed_over[Skipped(SkipReason.UNKNOWN_COLUMN, shown(column))] = 1
        for number, row in rows:
            if len(row) != len(columns):
                raise LineError(
                    number,
                    f"{len(row)} fields instead of {len(columns)}",
                    "Give each line a field for each column",
                )
            values = {name: text for name, text in zip(columns, row, strict=True) if name in COLUMNS}
            try:
                notice = _notice(values)
            except fields.FieldError as error:
                raise LineError(number, str(error), "Correct the line") from error
            if not (notice.url or notice.path or notice.digests):
                raise LineError(number, "there is no URL, no path and no digest", "Correct the line")
            yield notice


def _notice(values: Mapping[str, str]) -> Notice:
    def get(name: str) -> str:
        return values.get(name, "").strip()

    return Notice(
        reference=fields.printable_line("reference", get("reference")),
        sender=fields.printable_line("sender", get("sender")),
        url=fields.url(get("url")) if get("url") else "",
        path=fields.path(values["path"]) if values.get("path") else b"",
        received=fields.time_or_day("received", get("received")) if get("received") else None,
        deadline=fields.time_or_day("deadline", get("deadline")) if get("deadline") else None,
        category=fields.category(get("category")),
        digests=tuple(fields.digest(name, get(name)) for name in fields.DIGESTS if get(name)),
        **parse_claims(values),
    )


def _rows(stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of all lines that are not blank."""
    delimiter = ""
    for number, line in enumerate(text_lines(stream), start=1):
        if not line.strip():
            continue
        delimiter = delimiter or max(_DELIMITERS, key=line.count)
        try:
            yield number, next(csv.reader([line], delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise LineError(
                number, f"no row of a table: {error}", "Quote fields as RFC 4180 says, each within its line"
            ) from error
