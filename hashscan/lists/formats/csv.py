"""Entries as comma-separated values: `id,algorithm,value,category`, in UTF-8, columns in any order."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.base import LineError, ListFormat, RawEntry, shown

_COLUMNS = ("id", "algorithm", "value", "category")
_LINE_MAX = 4096
"""Bytes of a line; an honest one has under 300."""
_BOM = b"\xef\xbb\xbf"
_HEADER_ADVICE = f"Begin the file with the line {','.join(_COLUMNS)}"


class CsvFormat(ListFormat):
    """A header line that names the four columns, then one entry a line; blank lines are passed over."""

    name = "csv"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        rows = _rows(stream)
        number, header = next(rows, (1, []))
        if sorted(header) != sorted(_COLUMNS):
            found = ", ".join(shown(name) for name in header[:8]) or "nothing"
            raise LineError(
                number, f"the header should name {', '.join(_COLUMNS)}; it has {found}", _HEADER_ADVICE
            )
        id_at, algorithm_at, value_at, category_at = (header.index(column) for column in _COLUMNS)
        for number, row in rows:
            if len(row) != len(_COLUMNS):
                raise LineError(
                    number,
                    f"{len(row)} fields instead of {len(_COLUMNS)}",
                    "Give each line a field for each column",
                )
            yield RawEntry(number, row[id_at], row[algorithm_at], row[value_at], row[category_at])


def _rows(stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields of all lines but blank ones."""
    reader = csv.reader(_lines(stream), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise LineError(
                number, f"no comma-separated values: {error}", "Quote fields as RFC 4180 says"
            ) from error
        if reader.line_num != number:
            raise LineError(number, "a quoted field runs over the end of the line", "Close the quote")
        if row:
            yield number, row


def _lines(stream: BinaryIO) -> Iterator[str]:
    """The stream's lines as text, each of bounded length."""
    for number, raw in enumerate(iter(lambda: stream.readline(_LINE_MAX + 1), b""), start=1):
        if len(raw) > _LINE_MAX:
            raise LineError(number, f"longer than {_LINE_MAX} bytes", "End every entry with a line feed")
        if b"\0" in raw:
            raise LineError(number, "holds a NUL byte", "Save the file as plain UTF-8 text")
        try:
            yield (raw.removeprefix(_BOM) if number == 1 else raw).decode()
        except UnicodeDecodeError as error:
            raise LineError(number, "not UTF-8", "Save the file as plain UTF-8 text") from error
