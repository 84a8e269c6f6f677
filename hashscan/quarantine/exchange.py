"""Takes one name out of a stranger's folder, or puts one there, while the stranger watches."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from hashscan.quarantine import system
from hashscan.quarantine.captured_file import NotDone, Outcome, Why
from hashscan.sources.beneath import (
    FILE_FLAGS,
    LIST_FLAGS,
    PASS_FLAGS,
    open_absolute,
    open_again,
    open_child,
)

_BLOCK = 1 << 20


class DisplacedError(Exception):
    """What came along in a file's place can't go back, since its name is taken or its folder gone."""

    parent_path = b""
    """Of the folder it came from, where that is known."""


def open_folder(path: bytes) -> int:
    """Open a folder to pass through, without following a link.

    Raises:
        NotDone: it is gone, or a link leads there now.
    """
    try:
        return open_absolute(path, PASS_FLAGS)
    except OSError as error:
        outcome = Outcome.GONE if error.errno == errno.ENOENT else Outcome.RACED
        raise NotDone(outcome, f"its folder can't be opened: {error.strerror}") from error


def sync_folder(folder: int) -> None:
    """Make the names in a folder survive a power cut.

    Args:
        folder: its descriptor, which may only pass through.
    """
    again = open_again(folder)
    try:
        system.sync(again)
    finally:
        os.close(again)


def take_out(folder: int, name: bytes, inode: tuple[int, int], into: int, entry: bytes) -> None:
    """Move a file into a folder of ours, and whatever else was put in its place back at once.

    Args:
        folder: descriptor of the stranger's folder.
        name: the file's name there.
        inode: its device and inode.
        into: descriptor of our folder, on the same mount.
        entry: the new name.

    Raises:
        NotDone: it is not there any more, or the system doesn't allow it.
        DisplacedError: something else was there, and is in our folder now.
    """
    try:
        system.rename(folder, name, into, entry)
    except OSError as error:
        gone = error.errno == errno.ENOENT
        crossed = Why.CROSSED if error.errno == errno.EXDEV else None
        outcome = Outcome.RACED if gone else Outcome.REFUSED
        raise NotDone(outcome, error.strerror or str(error), crossed) from error
    found = os.stat(entry, dir_fd=into, follow_symlinks=False)
    if (found.st_dev, found.st_ino) != inode:
        give_back(into, entry, folder, name)
        raise NotDone(Outcome.RACED, "something else was put in its place, and was left there")


def give_back(into: int, entry: bytes, folder: int, name: bytes) -> None:
    """Undo what `take_out` did.

    Raises:
        DisplacedError: its name is taken.
    """
    try:
        give_name(into, entry, folder, name)
    except OSError as error:
        raise DisplacedError(error.strerror) from error


def give_name(source: int, entry: bytes, folder: int, name: bytes) -> None:
    """Move a file of our folder into a stranger's, where it gets the project of that if it must.

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
            listed = open_again(folder)
            stack.callback(os.close, listed)
            system.join_project(file, listed)
        system.rename(source, entry, folder, name)


def private_name(entry: bytes) -> bytes:
    """The name of the folder in which one item changes file systems."""
    return b".hashscan-" + entry


@contextmanager
def private_folder(parent: int, entry: bytes) -> Iterator[int]:
    """A folder of ours within a stranger's, into which nobody else can look or reach.

    Yields:
        Its descriptor.

    Raises:
        NotDone: it can't be made, or was exchanged at once.
    """
    name = private_name(entry)
    try:
        system.make_folder(parent, name, stat.S_IRWXU)
        folder = open_child(parent, name, LIST_FLAGS)
    except OSError as error:
        raise NotDone(Outcome.REFUSED, f"no folder can be made beside it: {error.strerror}") from error
    try:
        status = os.fstat(folder)
        # The owner of the parent can put another in its place, but none that is ours and empty.
        if status.st_uid != os.geteuid() or status.st_mode & 0o077 or os.listdir(folder):
            raise NotDone(Outcome.RACED, "another folder was put in place of ours")
        try:
            system.leave_project(folder)
        except OSError as error:
            raise NotDone(Outcome.REFUSED, f"its project can't be left: {error.strerror}") from error
        yield folder
    finally:
        os.close(folder)
        with suppress(OSError):  # it has been moved away, or holds what can't go back
            system.remove_folder(parent, name)


def copy_content(source: int, target: int, size: int) -> None:
    """Copy as many of a file's bytes; somebody may make it longer for ever.

    Raises:
        OSError: it can't be read or written.
    """
    offset = 0
    while block := os.pread(source, min(_BLOCK, size - offset), offset):
        system.write(target, block)
        offset += len(block)
