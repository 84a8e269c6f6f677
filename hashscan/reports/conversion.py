"""Convert a report from JSON Lines to another format, atomically."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hashscan.errors import OutputError
from hashscan.lists.durable import replacing
from hashscan.reports.base import ReportFormat
from hashscan.reports.destinations import require_destination
from hashscan.reports.report import Report


def convert(report: Report, form: type[ReportFormat], destination: Path | None) -> Mapping[str, int]:
    """Write a report in another format.

    The file appears complete or not at all, and only its owner can read it. If the process is killed, nothing
    is left.

    Args:
        report: the report.
        form: a format from the registry.
        destination: a file, which is replaced; None is standard output.

    Returns:
        Number of findings that are not in the document, by reason.

    Raises:
        UsageError: it is not a report, can't be written in this format, or can't replace what is at the
        destination.
        OutputError: the report can't be read, or the document can't be written.
    """
    if destination is not None:
        require_destination(destination)
    where = "standard output" if destination is None else destination
    writer = form()
    try:
        if destination is None:
            # A separate stream, so that closing it does not close sys.stdout.
            with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:
                writer.write(report, stream)
        else:
            with replacing(destination) as stream:
                writer.write(report, stream)
    except OSError as error:
        raise OutputError(f"can't write the report {where}: {error.strerror}") from error
    return writer.left_out
