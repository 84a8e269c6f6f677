"""Entries as JSON objects, one for each line: `{"id", "algorithm", "value", "category"}`, all strings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from hashscan.lists.base import ListFormat, ListWriter
from hashscan.lists.formats.text import numbered_lines
from hashscan.lists.raw_entries import LineError, RawEntry
from hashscan.model import Entry

_MEMBERS = ("id", "algorithm", "value", "category")
_MEND = 'Write {"id": "...", "algorithm": "...", "value": "...", "category": "..."} on the line'


class NdjsonFormat(ListFormat):
    """One JSON object for each line with exactly four members; blank lines are skipped."""

    name = "ndjson"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream):
            try:
                pairs = json.loads(line, object_pairs_hook=tuple)
                fields = dict(pairs)
            except (ValueError, TypeError, RecursionError) as error:
                raise LineError(number, "not a JSON object", _MEND) from error
            if (
                not isinstance(pairs, tuple)
                or len(pairs) != len(_MEMBERS)
                or any(not isinstance(fields.get(member), str) for member in _MEMBERS)
            ):
                raise LineError(number, f"not the four texts {', '.join(_MEMBERS)}", _MEND)
            yield number, *(fields[member] for member in _MEMBERS)


class NdjsonWriter(ListWriter):
    """The format that `NdjsonFormat` reads."""

    name = "ndjson"

    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Yield one line for each entry."""
        for entry in entries:
            fields = (entry.id, entry.algorithm, entry.value.hex(), entry.category)
            yield json.dumps(dict(zip(_MEMBERS, fields, strict=True))).encode("ascii") + b"\n"
