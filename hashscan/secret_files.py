"""Read files of secrets: tokens, logins, keys, addresses with passwords.

One rule holds for all of them: nobody but its owner may read or write such a file, and the group of a file
that belongs to root may read it, since a service must read what root has written for it (`root:hashscan`,
mode 640; `root:ssl-cert` on Debian). The owner is root or the user who runs hashscan, as PostgreSQL demands
it for its key: root reads no other user's file, which a customer could have put in its place.

The open file is checked, so it does not matter if another one gets its name, or if a link leads to it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hashscan.errors import UsageError

SECRET_MAX = 1 << 16
"""The largest size of most such files in bytes."""


def read_secret(path: Path, what: str, most: int = SECRET_MAX) -> bytes:
    """Return the content of a file of secrets, of at most so many bytes; `what` names it in error messages.

    Raises:
        UsageError: there is no such file, or it is accessible to others, another user's, too long or not
            readable.
    """
    try:
        # Non-blocking, because it may be a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{what}: {path} is not a regular file", advice="Name a regular file.")
            if status.st_uid not in {0, os.geteuid()}:
                raise UsageError(
                    f"{what}: {path} belongs to another user (uid {status.st_uid})",
                    advice=f"If it can still be trusted: chown {os.geteuid()} {path}",
                )
            if _is_exposed(status):
                raise UsageError(
                    f"{what}: others than its owner may read or write {path}",
                    advice=f"If it can still be trusted: chmod 600 {path} (640 if it is root's, for its "
                    "group; a filesystem without permissions can be mounted with umask=077)",
                )
            data = stream.read(most + 1)
    except OSError as error:
        raise UsageError(
            f"{what}: {path} can't be read: {error.strerror}", advice="Name a file this user may read."
        ) from error
    if len(data) > most:
        raise UsageError(f"{what}: {path} is longer than {most} bytes", advice="Name the right file.")
    return data


def secret_lines(path: Path, what: str) -> tuple[str, ...]:
    """Return the lines of a text file of secrets; empty ones and those that begin with `#` are left out.

    Raises:
        UsageError: as `read_secret`, or it is not a text file.
    """
    try:
        text = read_secret(path, what).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{what}: {path} is not a text file", advice="Name the right file.") from None
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return numbers that change with a file's content, owner and rights; empty if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_exposed(status: os.stat_result) -> bool:
    allowed = stat.S_IRGRP if status.st_uid == 0 else 0
    return bool(status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~allowed)
