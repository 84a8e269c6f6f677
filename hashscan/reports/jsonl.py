"""The report as JSON Lines, which every other format is made from."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hashscan.reports.base import Record, ReportFormat


class JsonLines(ReportFormat):
    """One JSON object a line, in ASCII: names from strangers can't carry control characters through it."""

    name = "jsonl"

    def write(self, record: Record) -> None:
        """Write the record's line."""
        line = json.dumps(record, ensure_ascii=True, separators=(",", ":"))
        self.stream.write(line.encode("ascii") + b"\n")

    def written(self) -> Iterator[Record]:
        """Read the lines back."""
        self.stream.seek(0)
        yield from map(json.loads, self.stream)
