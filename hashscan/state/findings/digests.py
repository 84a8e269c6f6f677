"""Look up the digests of a report's findings in the state of the scan."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from hashscan.reports.names import path_bytes
from hashscan.reports.record_lines import Record
from hashscan.state.inventory.listings import wrapped
from hashscan.state.queries.content_search import load
from hashscan.state.store.reading import NoStateError, StateReader
from hashscan.state.store.stored_contents import COLUMN_DIGESTS

_KINDS = (int | None, bytes | None)
_QUERY = (
    "SELECT content, sha256 FROM findings WHERE path=? AND version=? AND size=? AND mtime=? "
    "AND inode IS ? AND ctime IS ? AND etag=? ORDER BY id DESC LIMIT 1"
)


class FindingDigests:
    """A lookup of findings' digests; the state is opened at the first lookup and is not read anew later."""

    def __init__(self, state: Path) -> None:
        """Set the state folder.

        Args:
            state: the folder; if no scan has stored anything there, every lookup is empty.
        """
        self._state = state
        self._reader: StateReader | None = None
        self._asked = False

    def of(self, record: Record) -> Mapping[str, str]:
        """Return the digests in hex by algorithm.

        Empty if the state has no finding of a file with exactly the record's attributes.

        Args:
            record: of a finding; size, times, inode or etag of the file must equal those in the state.

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
            # The caller that needs digests reports that there are none, and where they could come from.
            with suppress(NoStateError):
                self._reader = StateReader(self._state)
        return self._reader

    def close(self) -> None:
        """Close the state."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> FindingDigests:
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
