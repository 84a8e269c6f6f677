"""Move one name out of or into a folder whose owner may change it at the same time, without lost files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped, SkipCause
from hashscan.sources.beneath import (
    FILE_FLAGS,
    LIST_FLAGS,
    PASS_FLAGS,
    open_absolute,
    open_child,
    reopen_for_reading,
)

_BLOCK = 1 << 20


class DisplacedError(Exception):
    """An error for a file moved by mistake that can't go back: its name is taken or its folder gone."""

    parent_path = b""
    """Path of the folder that it came from, if known."""


def open_folder(path: bytes) -> int:
    """Open a folder with `O_PATH`, without following a symlink.

    Raises:
        QuarantineSkipped: the folder is gone, or its path has a symlink now.
    """
    try:
        return open_absolute(path, PASS_FLAGS)
    except OSError as error:
        outcome = Outcome.GONE if error.errno == errno.ENOENT else Outcome.RACED
        raise QuarantineSkipped(outcome, f"its folder can't be opened: {error.strerror}") from error


def sync_folder(folder: int) -> None:
    """Sync the names in a folder, so that they survive a power cut.

    Args:
        folder: descriptor of the folder; `O_PATH` suffices.
    """
    again = reopen_for_reading(folder)
    try:
        system.sync(again)
    finally:
        os.close(again)


def take_out(folder: int, name: bytes, inode: tuple[int, int], into: int, entry: bytes) -> None:
    """Move a file into a folder of ours; if another file was put in its place, move that back at once.

    Args:
        folder: descriptor of the customer's folder.
        name: the file's name there.
        inode: its device and inode.
        into: descriptor of our folder, on the same mount.
        entry: the new name.

    Raises:
        QuarantineSkipped: the file is not there any more, or the system doesn't allow the move.
        DisplacedError: another file was there, and is in our folder now.
    """
    try:
        system.rename(folder, name, into, entry)
    except OSError as error:
        gone = error.errno == errno.ENOENT
        crossed = SkipCause.CROSSED if error.errno == errno.EXDEV else None
        outcome = Outcome.RACED if gone else Outcome.REFUSED
        raise QuarantineSkipped(outcome, error.strerror or str(error), crossed) from error
    found = os.stat(entry, dir_fd=into, follow_symlinks=False)
    if (found.st_dev, found.st_ino) != inode:
        give_back(into, entry, folder, name)
        raise QuarantineSkipped(Outcome.RACED, "something else was put in its place, and was left there")


def give_back(into: int, entry: bytes, folder: int, name: bytes) -> None:
    """Undo `take_out`.

    Raises:
        DisplacedError: the old name is taken.
    """
    try:
        give_name(into, entry, folder, name)
    except OSError as error:
        raise DisplacedError(error.strerror) from error


def give_name(source: int, entry: bytes, folder: int, name: bytes) -> None:
    """Move a file from our folder into a customer's; set the customer folder's project id on it if needed.

    Raises:
        OSError: as `system.rename`.
    """
    try:
        system.rename(source, entry, folder, name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with ExitStack() as stack:
            file = open_child(source, entry, FILE_FLAGS)
            stack.callback(os.close, file)
            listed = reopen_for_reading(folder)
            stack.callback(os.close, listed)
            system.copy_project_id(file, listed)
        system.rename(source, entry, folder, name)


def private_name(entry: bytes) -> bytes:
    """Return the name of the private folder in which one item crosses filesystems."""
    return b".hashscan-" + entry


@contextmanager
def private_folder(parent: int, entry: bytes) -> Iterator[int]:
    """Make a folder of ours within a customer's folder, to which nobody else has access.

    Yields:
        Its descriptor.

    Raises:
        QuarantineSkipped: the folder can't be made, or was replaced at once.
    """
    name = private_name(entry)
    try:
        system.make_folder(parent, name, stat.S_IRWXU)
        folder = open_child(parent, name, LIST_FLAGS)
    except OSError as error:
        raise QuarantineSkipped(
            Outcome.REFUSED, f"no folder can be made beside it: {error.strerror}"
        ) from error
    try:
        status = os.fstat(folder)
        # The parent's owner can replace it, but not by an empty folder of our user.
        if status.st_uid != os.geteuid() or status.st_mode & 0o077 or os.listdir(folder):
            raise QuarantineSkipped(Outcome.RACED, "another folder was put in place of ours")
        try:
            system.clear_project_inheritance(folder)
        except OSError as error:
            raise QuarantineSkipped(
                Outcome.REFUSED, f"its project can't be left: {error.strerror}"
            ) from error
        yield folder
    finally:
        os.close(folder)
        with suppress(OSError):  # it was moved away, or holds a file that can't go back
            system.remove_folder(parent, name)


def copy_content(source: int, target: int, size: int) -> None:
    """Copy at most `size` bytes of a file; it could grow without end.

    Raises:
        OSError: the file can't be read or written.
    """
    offset = 0
    while block := os.pread(source, min(_BLOCK, size - offset), offset):
        system.write(target, block)
        offset += len(block)
