"""Export of list entries into a file, in bounded memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hashscan.lists.base import ListWriter
from hashscan.lists.columns import ActiveRows, ListHandle
from hashscan.lists.durable import PRIVATE_FILE, output_errors, sync_folder, temporary_name
from hashscan.model import Entry


def entries_of_list(handle: ListHandle) -> Iterator[Entry]:
    """Yield all active entries of a list, algorithm by algorithm."""
    for files in handle.columns:
        for ids, category, value in ActiveRows(handle.folder, files):
            for entry_id, number, digest in zip(ids.tolist(), category.tolist(), value, strict=True):
                yield Entry(
                    entry_id.decode("ascii"), files.algorithm, digest.tobytes(), handle.categories[number]
                )


def export_list(handle: ListHandle, writer: ListWriter, output: Path | None) -> None:
    """Write the entries of a stored list; see `write_entries`."""
    write_entries(entries_of_list(handle), writer, output)


def write_entries(entries: Iterable[Entry], writer: ListWriter, output: Path | None) -> None:
    """Write entries as they come; `output` None means standard output.

    A file is written atomically and is readable for its owner alone.

    Raises:
        OutputError: the file can't be written; an earlier file is unchanged.
    """
    with output_errors("the entries can't be written"):
        if output is None:
            for line in writer.lines(entries):
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            return
        aside = temporary_name(output)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for line in writer.lines(entries):
                    file.write(line)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(output)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(output.parent)
