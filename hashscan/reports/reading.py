"""Read a report in JSON Lines, record by record; the last line may be torn if the scan was killed."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from hashscan.errors import OutputError, UsageError
from hashscan.reports.record_lines import Record
from hashscan.reports.records import SCHEMA

_LONGEST = 16 << 20
"""Maximum bytes of one line. A line with a deep path and many matches takes far less than 1 MiB."""

_BLOCK = 1 << 16
"""Bytes at the end of the file that usually contain the last line."""

_LAST = 0
"""Number used for a line that was found from the end."""

_DEEPEST = 16
"""Maximum nesting of objects and lists; our own records have five levels."""


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
                if (record["type"] == "sweep") is not (number == 1):
                    raise _damaged(path, number)
                yield record
            if not number:
                raise _damaged(path, 1)
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
            advice="Name reports that this user may read.",
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
        record = _DECODER.decode(line.decode())
    except (ValueError, RecursionError) as error:
        if not whole and len(line) < _LONGEST and number != 1:
            return None
        raise _damaged(path, number) from error
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        raise _damaged(path, number)
    if line.count(b"{") + line.count(b"[") > _DEEPEST and _is_deep(record):
        # Our own writer would fail on data that is nested much deeper.
        raise _damaged(path, number)
    schema = record.get("schema")
    if type(schema) is not int or schema < 1:
        raise _damaged(path, number)
    if schema > SCHEMA:
        raise UsageError(
            f"a newer hashscan wrote the report {path}: its schema is {schema}, and this one knows {SCHEMA}",
            advice="Use the version that wrote it, or a newer one.",
        )
    return record


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse(text)
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
"""Accepts only standard JSON, without Python's extensions: NaN and infinite numbers."""


def _is_deep(record: Record) -> bool:
    level: list[Any] = [record]
    for _ in range(_DEEPEST):
        inside = (
            value for outer in level for value in (outer.values() if isinstance(outer, dict) else outer)
        )
        level = [value for value in inside if isinstance(value, dict | list)]
        if not level:
            return False
    return True


def _damaged(path: Path, number: int) -> UsageError:
    where = "last line" if number == _LAST else f"line {number}"
    return UsageError(
        f"{path}, {where}: this is not what hashscan writes into a report",
        advice="Name reports in JSON Lines, whole or as a killed scan left them.",
    )
