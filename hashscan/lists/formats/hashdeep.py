"""The format hashdeep: `%%%% HASHDEEP-1.0`, a line that names the columns, comments, and rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from hashscan.lists.base import ListFormat
from hashscan.lists.formats.text import numbered_lines
from hashscan.lists.raw_entries import LineError, RawEntry

_MARK = "%%%% "
_FIRST = "%%%% HASHDEEP-1.0"
_KNOWN = frozenset({"md5", "sha1", "sha256"})
_IGNORED = frozenset({"size", "filename", "tiger", "whirlpool"})
_MEND = "Make the file with hashdeep"


class HashdeepFormat(ListFormat):
    """Several digests of a file for each line; ids are derived, the importing user gives the category."""

    name = "hashdeep"
    takes_category = True

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        lines = numbered_lines(stream, comment="##")
        if next(lines, (1, ""))[1].rstrip() != _FIRST:
            raise LineError(1, f"it doesn't begin with {_FIRST}", _MEND)
        number, header = next(lines, (2, ""))
        columns = header.removeprefix(_MARK).split(",")
        if (
            not header.startswith(_MARK)
            or columns[0] != "size"
            or columns[-1] != "filename"
            or not set(columns) <= _KNOWN | _IGNORED
        ):
            raise LineError(number, "it doesn't name the columns from size to filename", _MEND)
        for number, line in lines:
            # The file name is last and may contain commas.
            fields = line.split(",", len(columns) - 1)
            if len(fields) != len(columns):
                raise LineError(number, f"{len(fields)} fields instead of {len(columns)}", _MEND)
            for column, value in zip(columns, fields, strict=True):
                if column in _KNOWN:
                    yield self._without_id(number, column, value, self.category)
                elif column in ("tiger", "whirlpool"):
                    self.left_out["of an algorithm that hashscan doesn't know"] += 1
