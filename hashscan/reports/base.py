"""What every report format can do: take the record's lines one by one and write them its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, ClassVar

Record = Mapping[str, Any]
"""One line of the report: JSON values by key, always with `type` and `schema`."""


class ReportFormat(ABC):
    """Writes one report; records arrive in order, `sweep` first and `summary` last."""

    name: ClassVar[str]

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    @abstractmethod
    def write(self, record: Record) -> None:
        """Take one record.

        Raises:
            OSError: the stream can't be written to.
        """

    @abstractmethod
    def written(self) -> Iterator[Record]:
        """All that was written, record by record, from a stream that can be read, too.

        Raises:
            OSError: it can't be read.
        """
