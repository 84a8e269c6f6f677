"""The output of the PDQ tools: `hash,file` or `hash,quality,file`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.base import ListFormat
from hashscan.lists.formats.text import numbered_lines
from hashscan.lists.raw_entries import LineError, RawEntry


class PdqFormat(ListFormat):
    """One hash for each line; quality and file are ignored.

    Ids are derived; the importing user gives the category.
    """

    name = "pdq"
    takes_category = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream):
            value, comma, _ = line.partition(",")
            if number == 1 and value.strip().lower() == "hash":
                continue
            if not comma:
                raise LineError(number, "no comma after the hash", "Write hash,file or hash,quality,file")
            yield self._without_id(number, "pdq", value.strip(), self.category)
