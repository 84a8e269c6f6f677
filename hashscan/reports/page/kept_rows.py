"""Keep the most urgent rows of a page, within limits of number and bytes, in temporary files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from types import TracebackType

from hashscan.errors import OutputError
from hashscan.reports.page.rows import RANKS, Row

ROWS = 50_000
"""Maximum rows in one page; browsers sort and filter this number without delay."""
_BYTES = 48 << 20
"""Maximum bytes of all rows in one page, since names may be long."""
_IN_MEMORY = 1 << 20
"""Bytes of one rank in memory; beyond that an unnamed temporary file is used."""


class _RankRows:
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
    """Rows in temporary files; use it as a context manager.

    Raises, in all methods:
        OutputError: a temporary file can't be written or read.
    """

    def __init__(self, plain_rows: int) -> None:
        """Create an empty collection.

        Args:
            plain_rows: number of rows that `first` returns as objects.
        """
        self._stack = ExitStack()
        self._ranks = [_RankRows(plain_rows, self._stack) for _ in RANKS]
        self._plain_rows = plain_rows
        self.offered = 0
        """Number of rows that were offered."""

    def take(self, row: Row) -> None:
        """Keep a row if there may be space for it."""
        self.offered += 1
        rank = next(number for number, kinds in enumerate(RANKS) if row.kind in kinds)
        try:
            self._ranks[rank].take(row)
        except OSError as error:
            raise _trouble(error) from error

    def first(self) -> list[Row]:
        """Return the most urgent rows."""
        return list(islice(chain.from_iterable(rank.first for rank in self._ranks), self._plain_rows))

    def lines(self) -> Iterator[str]:
        """Yield a JSON array without line breaks for each row that fits."""
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
        """Number of rows that `lines` yields."""
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
