"""Write and read the JSON lines of report records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

Record = Mapping[str, Any]
"""One record of a report: JSON values by key, always with `type` and `schema`."""

CONTENT = "_sha256"
"""Key of a finding's sha256 in hex, for the move within this process; never in a report. See `public`."""

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def public(record: Record) -> Record:
    """Return a record without the keys that are only for this process."""
    return {key: value for key, value in record.items() if key != CONTENT} if CONTENT in record else record


def line_of(record: Record) -> bytes:
    """Return a record as one JSON line in ASCII, so that names can't pass control characters."""
    return _encode(record).encode("ascii") + b"\n"


class RecordLines:
    """JSON lines on a stream; records come in order, `scan` first and `summary` last."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def write(self, record: Record) -> None:
        """Write the line of a record.

        Raises:
            OSError: the stream can't be written to.
        """
        self.stream.write(line_of(record))

    def written(self) -> Iterator[Record]:
        """Yield all written records; the stream must be readable.

        Raises:
            OSError: the stream can't be read.
        """
        self.stream.seek(0)
        yield from map(json.loads, self.stream)
