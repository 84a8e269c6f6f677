"""The digests of what a report names, as the state of its sweep has them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from hashscan.reports.names import path_bytes
from hashscan.reports.record_lines import Record
from hashscan.state.inventory.listings import wrapped
from hashscan.state.queries.content_search import load
from hashscan.state.store.reading import NothingKnownError, StateReader
from hashscan.state.store.stored_contents import COLUMN_DIGESTS

_KINDS = (int | None, bytes | None)
_QUERY = (
    "SELECT content, sha256 FROM findings WHERE path=? AND version=? AND size=? AND mtime=? "
    "AND inode IS ? AND ctime IS ? AND etag=? ORDER BY id DESC LIMIT 1"
)


class KnownDigests:
    """Those of findings; the state is opened when the first is asked for, and stays as it was then."""

    def __init__(self, state: Path) -> None:
        """Name the state.

        Args:
            state: the folder; where no sweep has remembered anything there, nothing is known.
        """
        self._state = state
        self._reader: StateReader | None = None
        self._asked = False

    def of(self, record: Record) -> Mapping[str, str]:
        """In hex by algorithm; empty where the state has no finding of a file that is as the record has it.

        Args:
            record: of a finding; what it says of the file's size, times, inode or etag must be what the state
                has.

        Raises:
            OutputError: the state can't be read, or is damaged.
        """
        reader = self._opened()
        if reader is None or "size" not in record:
            return {}
        of_file = "inode" in record
        with reader.reading():
            rows = reader.rows(
                _QUERY,
                _KINDS,
                path_bytes(record),
                record.get("version", ""),
                wrapped(record["size"]),
                wrapped(record.get("mtime_ns", 0)),
                wrapped(record["inode"]) if of_file else None,
                wrapped(record.get("ctime_ns", 0)) if of_file else None,
                record.get("etag", ""),
            )
            for row, sha256 in rows:
                return _digests(reader, row, sha256)
        return {}

    def _opened(self) -> StateReader | None:
        if not self._asked:
            self._asked = True
            # Whoever needs digests says that there are none, and where they could come from.
            with suppress(NothingKnownError):
                self._reader = StateReader(self._state)
        return self._reader

    def close(self) -> None:
        """Let the state go."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> KnownDigests:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _digests(reader: StateReader, row: int | None, sha256: bytes | None) -> dict[str, str]:
    content = None if row is None else load(reader, row)
    if content is not None and sha256 in (None, content.exact["sha256"]):
        return {name: content.exact[name].hex() for name in COLUMN_DIGESTS}
    return {} if sha256 is None else {"sha256": sha256.hex()}
