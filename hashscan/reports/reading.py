"""Reads a report in JSON Lines, record by record; a sweep that was killed may have torn the last line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from hashscan.errors import OutputError, UsageError
from hashscan.reports.base import Record
from hashscan.reports.records import SCHEMA

_LONGEST = 64 << 20
"""Bytes of one line at most. Those with a deep path and all that was matched take far less than one MiB."""


def read_report(path: Path) -> Iterator[Record]:
    """The records of a report, the one for the sweep first.

    Raises:
        UsageError: there is no such file, it is no report, it is damaged, or a newer hashscan wrote it.
        OutputError: it can't be read to its end.
    """
    try:
        with path.open("rb") as stream:
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
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UsageError(
            f"can't open the report {path}: {error.strerror}",
            advice="Name reports that this user may read.",
        ) from error
    except OSError as error:
        raise OutputError(f"can't read the report {path}: {error.strerror}") from error


def _parse(path: Path, number: int, line: bytes) -> Record | None:
    """The record of a line, or None for one that was torn."""
    whole = line.endswith(b"\n")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        if not whole and len(line) < _LONGEST and number > 1:
            return None
        raise _damaged(path, number) from error
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        raise _damaged(path, number)
    schema = record.get("schema")
    if not isinstance(schema, int) or schema < 1:
        raise _damaged(path, number)
    if schema > SCHEMA:
        raise UsageError(
            f"a newer hashscan wrote the report {path}: its schema is {schema}, and this one knows {SCHEMA}",
            advice="Use the version that wrote it, or a newer one.",
        )
    return record


def _damaged(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path}, line {number}: this is not what hashscan writes into a report",
        advice="Name reports in JSON Lines, whole or as a killed sweep left them.",
    )
