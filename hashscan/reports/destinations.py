"""Check early that a report can be written to its destination."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hashscan.errors import OutputError, UsageError


def require_destination(path: Path) -> None:
    """Refuse a destination at which no file can be created.

    Raises:
        UsageError: it is a device or other special file; root could replace it.
        OutputError: it is a folder, or its folder does not exist or can't be written to.
    """
    # Not the methods of `Path`: they raise for names that are too long.
    if os.path.isdir(path):
        raise _unwritable(path, errno.EISDIR)
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(
            f"{path} is no regular file, and a report would take its place",
            advice="Name a file, or - for standard output.",
        )
    folder = path.parent
    if not os.path.isdir(folder):
        raise _unwritable(path, errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT)
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise _unwritable(path, errno.EACCES)


def _unwritable(path: Path, number: int) -> OutputError:
    return OutputError(f"can't write the report {path}: {os.strerror(number)}")
