"""Entries as comma-separated values: `id,algorithm,value,category`, in UTF-8, columns in any order."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from hashscan.lists.base import ListFormat, ListWriter
from hashscan.lists.formats.text import text_lines
from hashscan.lists.raw_entries import LineError, RawEntry, shown
from hashscan.model import Entry

_COLUMNS = ("id", "algorithm", "value", "category")
_HEADER_ADVICE = f"Begin the file with the line {','.join(_COLUMNS)}"


class CsvFormat(ListFormat):
    """A header line that names the four columns, then one entry for each line; blank lines are skipped."""

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
            yield number, row[id_at], row[algorithm_at], row[value_at], row[category_at]


def _rows(stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of each line that is not blank."""
    reader = csv.reader(text_lines(stream), strict=True)
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


class CsvWriter(ListWriter):
    """The format that `CsvFormat` reads."""

    name = "csv"

    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Yield the header, then one line for each entry."""
        yield f"{','.join(_COLUMNS)}\n".encode("ascii")
        for entry in entries:
            line = io.StringIO(newline="")
            csv.writer(line, lineterminator="\n").writerow(
                (entry.id, entry.algorithm, entry.value.hex(), entry.category)
            )
            yield line.getvalue().encode("ascii")
