"""Makes a document of another format from a report's record."""

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

    A file comes into its place whole or not at all, readable by its owner alone, and nothing is left of one
    whose writer was killed.

    Args:
        report: what to write.
        form: of the registry.
        destination: a file, which is replaced; None is standard output.

    Returns:
        How many findings are not in the document, by reason.

    Raises:
        UsageError: it is no report, can't be told in this format, or can't take that place.
        OutputError: it can't be read or written.
    """
    if destination is not None:
        require_destination(destination)
    where = "standard output" if destination is None else destination
    writer = form()
    try:
        if destination is None:
            # A stream of its own, so that closing it leaves sys.stdout alone.
            with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:
                writer.write(report, stream)
        else:
            with replacing(destination) as stream:
                writer.write(report, stream)
    except OSError as error:
        raise OutputError(f"can't write the report {where}: {error.strerror}") from error
    return writer.left_out
