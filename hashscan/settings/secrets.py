"""Files of secrets that an option names in place of the secrets themselves, which `ps` would show."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hashscan.errors import UsageError

_MAX = 1 << 16
"""Bytes of such a file."""


def secret_lines(path: Path, option: str) -> tuple[str, ...]:
    """The lines of a file that neither strangers may read nor others than its owner write.

    Args:
        path: the file; its empty lines, and those that begin with `#`, are left out. Its group may read it,
            as a service must read what root has written.
        option: what names it, for a person.

    Raises:
        UsageError: it is no such file.
    """
    try:
        # Not blocking, should it be a FIFO.
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
