"""A list format, read and written: `algorithm;value;category` on each line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from hashscan.lists.formats.base import ListFormat, ListWriter
from hashscan.lists.formats.text import LineError, RawEntry, numbered_lines
from hashscan.model import Entry

_FIELDS = 3


class SemicolonFormat(ListFormat):
    """One entry for each line; ids are derived."""

    name = "semicolons"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        for number, line in numbered_lines(stream):
            fields = line.strip().split(";")
            if len(fields) != _FIELDS:
                raise LineError(number, f"{len(fields)} fields instead of {_FIELDS}", "Write three fields")
            algorithm, value, category = fields
            yield self._without_id(number, algorithm, value, category)


class SemicolonWriter(ListWriter):
    """All entries, without their ids."""

    name = "semicolons"

    def lines(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Yield a line for each entry."""
        for entry in entries:
            yield f"{entry.algorithm};{entry.value.hex()};{entry.category}\n".encode("ascii")


_MD5 = "0123456789abcdef0123456789abcdef"
GOOD = ((f"md5;{_MD5};A1\npdq;{_MD5 * 2};other\n", [("md5", "A1"), ("pdq", "other")]),)
"""Documents for the contract tests, each with the algorithm and category of its entries."""
BAD = ((f"md5;{_MD5};A1\nmd5;{_MD5}\n", 2), (f"md5;{_MD5[1:]};A1\n", 1))
"""Documents with the line of the fault."""
