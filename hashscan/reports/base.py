"""The base class of report formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import BinaryIO, ClassVar

from hashscan.reports.report import Report


class ReportFormat(ABC):
    """A writer of one document format, for any number of records in bounded memory."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """File name suffix, with the dot."""
    needs_digests: ClassVar[bool] = False
    """True if the format is of no use without digests of the findings."""
    needs_reporter: ClassVar[bool] = False
    """True if the format names the organisation that reports."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        """Number of findings that are not in the document, by reason; complete when `write` has ended."""

    @abstractmethod
    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write the whole document.

        Args:
            report: the report; its records may be read more than once. If the scan was killed it has no
                summary, and the document must say so.
            stream: an output for bytes, not readable or seekable.

        Raises:
            UsageError: the report can't be written in this format; nothing was written yet.
            OSError: the stream can't be written to.
        """
