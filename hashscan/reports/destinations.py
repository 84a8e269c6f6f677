"""Tells early where a report can't be put."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hashscan.errors import OutputError, UsageError


def require_destination(path: Path) -> None:
    """Refuse a place into which no file can come.

    Raises:
        UsageError: something is there that no file may replace: root could do so with a device.
        OutputError: it is a folder, or lies in none that can be written to.
    """
    if path.is_dir():
        raise _unwritable(path, errno.EISDIR)
    if path.exists() and not path.is_file():
        raise UsageError(
            f"{path} is no regular file, and a report would take its place",
            advice="Name a file, or - for standard output.",
        )
    folder = path.parent
    if not folder.is_dir():
        raise _unwritable(path, errno.ENOTDIR if folder.exists() else errno.ENOENT)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(path, errno.EACCES)


def _unwritable(path: Path, number: int) -> OutputError:
    return OutputError(f"can't write the report {path}: {os.strerror(number)}")
