"""The formats with an entry's four fields, `id`, `algorithm`, `value` and `category`: CSV, and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO

from hashscan.lists.formats.base import ListFormat, ListWriter
from hashscan.lists.formats.text import LineError, RawEntry, numbered_lines, read_photodna, shown, text_lines
from hashscan.model import Entry

_COLUMNS = ("id", "algorithm", "value", "category")
_HEADER_ADVICE = f"Begin the file with the line {','.join(_COLUMNS)}"


class CsvFormat(ListFormat):
    """A header line that names the four columns, then one entry for each line; blank lines are skipped."""

    name = "csv"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        rows = _csv_rows(stream)
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
            yield _entry(number, row[id_at], row[algorithm_at], row[value_at], row[category_at])


def _csv_rows(stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
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


def _entry(number: int, entry_id: str, algorithm: str, value: str, category: str) -> RawEntry:
    """Return an entry; a value of PhotoDNA may be base64, and of either form."""
    if algorithm == "photodna":
        # Those that can't be read are refused like those of other algorithms.
        with suppress(ValueError):
            algorithm, value = read_photodna(value)
    return number, entry_id, algorithm, value, category


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


_NDJSON_MEND = 'Write {"id": "...", "algorithm": "...", "value": "...", "category": "..."} on the line'


class NdjsonFormat(ListFormat):
    """One JSON object for each line with exactly four keys; blank lines are skipped."""

    name = "ndjson"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream):
            try:
                pairs = json.loads(line, object_pairs_hook=tuple)
                fields = dict(pairs)
            except (ValueError, TypeError, RecursionError) as error:
                raise LineError(number, "not a JSON object", _NDJSON_MEND) from error
            if (
                not isinstance(pairs, tuple)
                or len(pairs) != len(_COLUMNS)
                or any(not isinstance(fields.get(key), str) for key in _COLUMNS)
            ):
                raise LineError(number, f"not the four texts {', '.join(_COLUMNS)}", _NDJSON_MEND)
            yield _entry(number, *(fields[key] for key in _COLUMNS))


class NdjsonWriter(ListWriter):
    """The format that `NdjsonFormat` reads."""

    name = "ndjson"

    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Yield one line for each entry."""
        for entry in entries:
            fields = (entry.id, entry.algorithm, entry.value.hex(), entry.category)
            yield json.dumps(dict(zip(_COLUMNS, fields, strict=True))).encode("ascii") + b"\n"
