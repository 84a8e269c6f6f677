"""Read a report in JSON Lines, record by record, and the base class of formats that are made from it."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar

from hashscan.errors import OutputError, UsageError
from hashscan.model import Reporter
from hashscan.reports.records import Record, line_of
from hashscan.reports.schema import SCHEMA, require_record
from hashscan.schema import InvalidDocumentError, decode_json

_LONGEST = 16 << 20
"""Maximum bytes of one line. A line with a deep path and many matches takes far less than 1 MiB."""

_BLOCK = 1 << 16
"""Bytes at the end of the file that usually contain the last line."""

_LAST = 0
"""Number used for a line that was found from the end."""


def read_report(path: Path) -> Iterator[Record]:
    """Yield the records of a report; the first is that of the scan.

    Raises:
        UsageError: the file does not exist, is not a report, is damaged, or a newer hashscan wrote it.
        OutputError: the file can't be read to its end.
    """
    try:
        with _open(path) as stream:
            number = 0
            while line := stream.readline(_LONGEST):
                number += 1
                record = _parse(path, number, line)
                if record is None:
                    return
                if (record["type"] == "scan") is not (number == 1):
                    raise _damaged(path, number)
                yield record
            if not number:
                raise UsageError(
                    f"the report {path} is empty", advice="Name a report that a scan has written."
                )
    except OSError as error:
        raise OutputError(f"can't read the report {path}: {error.strerror}") from error


def last_record(path: Path) -> Record | None:
    """Return the last complete line of a report, without reading all others; None if that is the first line.

    Raises:
        UsageError, OutputError: as `read_report`.
    """
    try:
        with _open(path) as stream:
            end = stream.seek(0, os.SEEK_END)
            length = min(end, _BLOCK)
            while True:
                stream.seek(end - length)
                # All parts but the first are complete from their start, and none of them is the scan's
                # record.
                _, *lines = stream.read(length).split(b"\n")
                torn = lines.pop() if lines else b""
                # Some editors remove the newline of the last line.
                if torn and (record := _parse(path, _LAST, torn)) is not None:
                    return record
                if lines:
                    return _parse(path, _LAST, lines[-1] + b"\n")
                if length == end or length > 2 * _LONGEST:
                    return None
                length = min(end, 2 * length)
    except OSError as error:
        raise OutputError(f"can't read the report {path}: {error.strerror}") from error


def _open(path: Path) -> BinaryIO:
    """Open a report; O_NONBLOCK avoids waiting for a writer of a FIFO."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"can't open the report {path}: {error.strerror}",
            advice="Name an existing report that this user may read; a scan prints where its own is.",
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(
            f"{path} is no regular file, and a report is read twice",
            advice="Write the report into a file, and name that.",
        )
    return os.fdopen(descriptor, "rb")


def _parse(path: Path, number: int, line: bytes) -> Record | None:
    """Parse the record of a line; return None for a torn line."""
    whole = line.endswith(b"\n")
    try:
        record = decode_json(line)
    except InvalidDocumentError as error:
        if not whole and len(line) < _LONGEST and number != 1:
            return None
        raise _damaged(path, number) from error
    if not isinstance(record, dict):
        raise _damaged(path, number)
    if not isinstance(record.get("type"), str):
        raise _not_ours(path, number, "type: it should be a text")
    schema = record.get("schema")
    if type(schema) is not int or schema < 1:
        raise _not_ours(path, number, "schema: it should be a number of 1 or more")
    if schema > SCHEMA:
        raise UsageError(
            f"{path}, {_place(number)}: a newer hashscan wrote this report: its schema is {schema}, "
            f"and this one knows {SCHEMA}",
            advice="Use the version that wrote it, or a newer one.",
        )
    try:
        require_record(record)
    except InvalidDocumentError as error:
        raise _not_ours(path, number, str(error)) from error
    return record


def _not_ours(path: Path, number: int, reason: str) -> UsageError:
    """Return the error for a record in a form that no version writes; the reason names the field."""
    return UsageError(
        f"{path}, {_place(number)}: this record can't be understood: {reason}",
        advice="Name the report as a scan has written it, which no other program has changed; or scan again.",
    )


def _place(number: int) -> str:
    return "last line" if number == _LAST else f"line {number}"


def _damaged(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path}, {_place(number)}: this is not what hashscan writes into a report",
        advice="Name reports in JSON Lines, whole or as a killed scan left them.",
    )


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Data that is not in the records and that some formats need."""

    digests: Callable[[Record], Mapping[str, str]] = lambda _: {}
    """Returns the digests of a record's file in hex by algorithm; empty if they are not known."""
    url_of: Callable[[Record], str] = lambda _: ""
    """Returns the public URL of a record's file; empty if it is not known."""
    reporter: Reporter | None = None


BARE = ReportContext()


def require_reporter(context: ReportContext) -> Reporter:
    """Return the organisation and person who report.

    Raises:
        UsageError: the settings name none.
    """
    reporter = context.reporter
    if reporter is None or not reporter.organisation or "@" not in reporter.email:
        raise UsageError(
            "no reporter is named",
            advice="Add a table [reporter] with organisation and email to the settings file.",
        )
    return reporter


class Report:
    """The report of one scan in a file, complete or partial."""

    def __init__(self, path: Path, context: ReportContext = BARE) -> None:
        """Take a file in JSON Lines that does not change any more, and data that its records don't have."""
        self.path = path
        self.context = context

    def records(self) -> Iterator[Record]:
        """Yield all records from the first; each call reads the file again.

        Each record is validated by `schema`, so that formats need no checks.

        Raises:
            UsageError: the file does not exist, is not a report, is damaged, or a newer hashscan wrote it.
            OutputError: the file can't be read to its end.
        """
        return read_report(self.path)

    @cached_property
    def scan(self) -> Record:
        """The first record: the arguments and settings of the scan."""
        return next(self.records())

    @cached_property
    def summary(self) -> Record | None:
        """The last record; None if the scan was killed."""
        last = last_record(self.path)
        return last if last is not None and last["type"] == "summary" else None

    def digests(self, record: Record) -> Mapping[str, str]:
        """Return the known digests of a record's file, in hex by algorithm."""
        found: Mapping[str, str] = record.get("digests") or self.context.digests(record)
        return found

    @staticmethod
    def customer(record: Record) -> str:
        """Return the customer of a record; empty if no rule names one."""
        return str(record.get("customer", ""))

    @property
    def name(self) -> str:
        """Name of its file, for people; it may contain any characters."""
        return os.fspath(self.path)


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


class JsonLines(ReportFormat):
    """One JSON object per line."""

    name = "jsonl"
    suffix = ".jsonl"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write all records."""
        for record in report.records():
            stream.write(line_of(record))
