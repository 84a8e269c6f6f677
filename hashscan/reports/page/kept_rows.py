"""Keeps the rows that a page has room for, the most urgent ones first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from types import TracebackType

from hashscan.errors import OutputError
from hashscan.reports.page.rows import RANKS, Row

ROWS = 50_000
"""In one page: browsers sort and filter these at once."""
_BYTES = 48 << 20
"""Of all rows in one page; names may be long."""
_IN_MEMORY = 1 << 20
"""Bytes of one rank; of more, a temporary file without a name is made."""


class _Rank:
    def __init__(self, plain_rows: int, stack: ExitStack) -> None:
        self.rows = 0
        self.first: list[Row] = []
        self._plain_rows = plain_rows
        self._bytes = 0
        self.lines = tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="hashscan-")  # noqa: SIM115
        stack.callback(self.lines.close)

    def take(self, row: Row) -> None:
        if self.rows == ROWS or self._bytes >= _BYTES:
            return
        line = row.line()
        self._bytes += len(line) + 1
        self.rows += 1
        self.lines.write(line + b"\n")
        if len(self.first) < self._plain_rows:
            self.first.append(row)


class KeptRows:
    """Rows in a temporary file, to be left as a context.

    Raises, in all it does:
        OutputError: the temporary file can't be written or read.
    """

    def __init__(self, plain_rows: int) -> None:
        """Begin with none.

        Args:
            plain_rows: how many are to be had as they were given, too.
        """
        self._stack = ExitStack()
        self._ranks = [_Rank(plain_rows, self._stack) for _ in RANKS]
        self._plain_rows = plain_rows
        self.offered = 0
        """Rows that were given."""

    def take(self, row: Row) -> None:
        """Keep a row, as long as there may be room for it."""
        self.offered += 1
        rank = next(number for number, kinds in enumerate(RANKS) if row.kind in kinds)
        try:
            self._ranks[rank].take(row)
        except OSError as error:
            raise _trouble(error) from error

    def first(self) -> list[Row]:
        """The most urgent ones."""
        return list(islice(chain.from_iterable(rank.first for rank in self._ranks), self._plain_rows))

    def lines(self) -> Iterator[str]:
        """A JSON array for each row that there is room for, without line breaks."""
        left, room = ROWS, _BYTES
        for rank in self._ranks:
            try:
                rank.lines.seek(0)
                for line in rank.lines:
                    room -= len(line)
                    if not left or room < 0:
                        return
                    left -= 1
                    yield line.decode("ascii").rstrip("\n")
            except OSError as error:
                raise _trouble(error) from error

    @property
    def kept(self) -> int:
        """How many rows `lines` gives."""
        return sum(1 for _ in self.lines())

    def __enter__(self) -> KeptRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _trouble(error: OSError) -> OutputError:
    return OutputError(
        f"the rows of a page, a temporary file in {tempfile.gettempdir()}, failed: {error.strerror}",
        advice="Free some space there, or name another folder in TMPDIR.",
    )
