"""Writes a stored list's entries into a file, in bounded memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from hashscan.lists.base import ListWriter
from hashscan.lists.columns import ActiveRows, ListHandle
from hashscan.lists.durable import PRIVATE_FILE, output_errors, sync_folder, temporary_name
from hashscan.model import Entry


def entries_of_list(handle: ListHandle) -> Iterator[Entry]:
    """All active entries, algorithm by algorithm."""
    for files in handle.columns:
        for ids, category, value in ActiveRows(handle.folder, files):
            for entry_id, number, digest in zip(ids.tolist(), category.tolist(), value, strict=True):
                yield Entry(
                    entry_id.decode("ascii"), files.algorithm, digest.tobytes(), handle.categories[number]
                )


def export_list(handle: ListHandle, writer: ListWriter, output: Path | None) -> None:
    """Write a list, aside and at once, readable for its owner alone; None is standard output.

    Raises:
        OutputError: it can't be written; an earlier file stands.
    """
    with output_errors("the export can't be written"):
        if output is None:
            for line in writer.lines(entries_of_list(handle)):
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            return
        aside = temporary_name(output)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for line in writer.lines(entries_of_list(handle)):
                    file.write(line)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(output)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(output.parent)
