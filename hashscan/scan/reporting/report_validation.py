"""Validate a report before findings are moved because of it: read its records and reject invalid ones."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hashscan.errors import UsageError
from hashscan.reports.reading import read_report
from hashscan.reports.record_lines import Record
from hashscan.reports.record_values import InvalidValueError, array, table, text

_SHA256 = re.compile(r"[0-9a-f]{64}")
_IDENTITY = ("inode", "size", "mtime_ns", "ctime_ns")


def validated_records(report: Path) -> Iterator[Record]:
    """Yield the records of a report, the scan's record first, with all fields that a move needs.

    Raises:
        UsageError: the file is not a report, or a record is not valid; the message names the line.
        OutputError: the report can't be read to its end.
    """
    for number, record in enumerate(read_report(report), 1):
        try:
            if record["type"] == "sweep":
                _check_scan(record)
            elif record["type"] == "finding":
                _check_finding(record)
        except (KeyError, ValueError) as error:
            words = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(
                f"{report}, line {number}: this record can't be understood: {words}",
                advice="Name reports as scans write them; scan again if this one is damaged.",
            ) from error
        yield record


def _check_scan(scan: Record) -> None:
    for info in array(scan.get("lists", [])):
        text(table(info)["name"])
        text(info["state"])
        for key in array(info.get("key_ids", [])):
            text(key)
    for target in array(scan.get("targets", [])):
        _check_path(table(target))


def _check_finding(finding: Record) -> None:
    _check_path(finding)
    for key in ("verdict", "because"):
        text(finding[key])
    for match in array(finding.get("matches", [])):
        for key in ("list", "entry", "algorithm", "category"):
            text(table(match)[key])
        for key in ("distance", "threshold"):
            _check_integer(match[key])
    if "inode" in finding:
        for key in _IDENTITY:
            _check_integer(finding[key])
    for key in ("etag", "version"):
        text(finding.get(key, ""))
    table(finding.get("quarantine", {}))
    if "sha256" in table(finding.get("digests", {})) and not _SHA256.fullmatch(
        text(finding["digests"]["sha256"])
    ):
        raise InvalidValueError("a digest is none")


def _check_path(fields: Record) -> None:
    """Raise an error if this can't be a path; the system limits the length."""
    path = fields["path"]
    try:
        if not isinstance(path, str) or b"\0" in path.encode():
            raise ValueError
        if "path_b64" in fields and b"\0" in _decoded(fields["path_b64"]):
            raise ValueError
    except ValueError:
        raise InvalidValueError("a path is none") from None


def _decoded(value: Any) -> bytes:
    if not isinstance(value, str):
        raise InvalidValueError("a path is none")
    return base64.b64decode(value, validate=True)


def _check_integer(value: Any) -> None:
    if type(value) is not int:
        raise InvalidValueError("a number is none")
