"""The log file of --log-file: opened so that no other user can choose what it is or read it."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

from hashscan.cli.options.privileges import path_steps
from hashscan.cli.output.logs import FileFormatter, FileHandler, JsonFormatter, print_message
from hashscan.errors import UsageError
from hashscan.sources.filesystem.safe_open import PASS_FLAGS, open_absolute

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_log_file(path: Path) -> int:
    """Open a file to append to it; make one that only this user may read if there is none.

    Symlinks are followed if they belong to root or to this user.
    """
    try:
        return _open(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"the log file {path} can't be opened: {reason}",
            advice="Name another --log-file, in a folder that exists and that this user may write.",
        ) from error


def _open(path: Path) -> int:
    ours = {0, os.geteuid()}
    for step, status in path_steps(path):
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in ours:
            raise _refused(path, f"{step} is a symlink of another user")
    folder, name = os.path.split(os.path.realpath(path))
    # The folder's path has no links now: one that is made meanwhile is not followed.
    directory = open_absolute(os.fsencode(folder), PASS_FLAGS)
    try:
        descriptor = os.open(name, _FLAGS, 0o600, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "it is no regular file")
        if status.st_uid not in ours:
            raise _refused(path, f"it belongs to another user (uid {status.st_uid})")
        if status.st_nlink > 1:
            raise _refused(path, "it has another hard link")
        if status.st_mode & stat.S_IWOTH:
            raise _refused(path, "everybody may write it")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refused(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"the log file {path} is not used: {reason}",
        advice="Name another --log-file, in a folder that only this user or root may write.",
    )


class LogFile(FileHandler):
    """Appends records to a file, each with one write; follows a log rotation, which renames the file.

    Raises:
        UsageError: as `open_log_file`.
    """

    def __init__(self, path: Path, format_name: str) -> None:
        super().__init__()
        self._path = path.absolute()
        self._descriptor = open_log_file(path)
        self.setFormatter(JsonFormatter() if format_name == "json" else FileFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; the first failure is printed on standard error."""
        line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        try:
            self._follow()
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except (OSError, UsageError) as error:
            if not self.trouble:
                self.trouble = str(error)
                print_message(f"can't write the log file {self._path}: {error}", logging.ERROR)

    def _follow(self) -> None:
        """Open the file again if another one, or none, has its name."""
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            named = None
        here = os.fstat(self._descriptor)
        if named is None or (named.st_dev, named.st_ino) != (here.st_dev, here.st_ino):
            new = open_log_file(self._path)
            os.close(self._descriptor)
            self._descriptor = new

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()
