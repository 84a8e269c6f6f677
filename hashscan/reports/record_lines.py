"""The lines that a report's record is written in, and read back from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

Record = Mapping[str, Any]
"""One line of the record: JSON values by key, always with `type` and `schema`."""

CONTENT = "_sha256"
"""Key of a finding's sha256, in hex, for whoever moves it in this process; in no report. See `public`."""

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def public(record: Record) -> Record:
    """A record as it may be told: without what only this process is to know."""
    return {key: value for key, value in record.items() if key != CONTENT} if CONTENT in record else record


def line_of(record: Record) -> bytes:
    """One JSON object, in ASCII: names from strangers can't carry control characters through it."""
    return _encode(record).encode("ascii") + b"\n"


class RecordLines:
    """Such lines over a stream; records come in order, `sweep` first and `summary` last."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def write(self, record: Record) -> None:
        """Write the record's line.

        Raises:
            OSError: the stream can't be written to.
        """
        self.stream.write(line_of(record))

    def written(self) -> Iterator[Record]:
        """All that was written, record by record, from a stream that can be read, too.

        Raises:
            OSError: it can't be read.
        """
        self.stream.seek(0)
        yield from map(json.loads, self.stream)
