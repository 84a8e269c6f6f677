"""What every report format can do: turn a sweep's record into a document of its own kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import BinaryIO, ClassVar

from hashscan.reports.report import Report


class ReportFormat(ABC):
    """Writes one kind of document, of any number of records in little memory."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """How names of such files end, with the dot."""
    needs_digests: ClassVar[bool] = False
    """Whether it is of no use without digests of what was found."""
    needs_reporter: ClassVar[bool] = False
    """Whether it says who speaks."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        """How many findings are not in it, by reason; complete when `write` has ended."""

    @abstractmethod
    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write the whole document.

        Args:
            report: what to write; its records may be asked for more than once. Where the sweep was killed it
                has no summary, and the document has to say so.
            stream: takes bytes and can't be read or sought in.

        Raises:
            UsageError: the report can't be told in this format; nothing was written yet.
            OSError: the stream can't be written to.
        """
