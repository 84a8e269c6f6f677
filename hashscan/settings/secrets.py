"""Read files of secrets; an option names the file instead of the secrets, which `ps` would show."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hashscan.errors import UsageError

_MAX = 1 << 16
"""The largest size of such a file in bytes."""


def secret_lines(path: Path, option: str) -> tuple[str, ...]:
    """Return the lines of a file of secrets.

    Users other than the owner and the group must not be able to read the file, and only the owner may be able
    to write it.

    Args:
        path: the file; its empty lines, and those that begin with `#`, are left out. Its group may read it,
            because a service must read files that root has written.
        option: the option that names it, for error messages.

    Raises:
        UsageError: the file can't be read, has other permissions or is not a text file.
    """
    try:
        # Non-blocking, because it may be a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"{option}: {path} is no file", advice="Name a file.")
            if mode & (stat.S_IWGRP | stat.S_IRWXO):
                raise UsageError(
                    f"{option}: others may read or write {path}, which holds secrets",
                    advice=f"If it can still be trusted: chmod 640 {path}",
                )
            data = stream.read(_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{option}: {path} can't be read: {error.strerror}", advice="Name a file this user may read."
        ) from error
    if len(data) > _MAX:
        raise UsageError(f"{option}: {path} is longer than {_MAX} bytes", advice="Name the right file.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{option}: {path} is no text", advice="Name the right file.") from None
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
