"""Open a regular file for reading, and never anything else that was put in its place."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.beneath import (
    EAGAIN_PAUSES,
    EXAMINE_FLAGS,
    FILE_FLAGS,
    PASS_FLAGS,
    open_child,
    reopen_for_reading,
)
from hashscan.sources.foreign_mounts import identity
from hashscan.sources.posix import describe_file_type, file_trouble


def open_regular(
    folder: int, name: bytes, device: int, inode: int, *, patient: bool = False
) -> tuple[int, os.stat_result]:
    """Open the file with the given device and inode.

    Opening a device can have effects before fstat shows that it is one: a watchdog starts, a tape rewinds.
    Users who may create devices in containers can replace a file by a device at any moment. So the name is
    first only looked up, which opens nothing; if the result is a regular file, it is opened through /proc.

    Args:
        folder: the folder's descriptor.
        name: the file's name in it.
        device: its device when it was listed.
        inode: its inode when it was listed.
        patient: wait for a lease as long as an honest holder needs to release it.

    Returns:
        A descriptor, and its fstat result.

    Raises:
        FileError: it can't be opened, or is not the file that was listed. LEASED if somebody holds a write
            lease on it: the holder has been asked to release it, and loses it after
            /proc/sys/fs/lease-break-time seconds. This function doesn't wait that long.
    """
    try:
        found = open_child(folder, name, EXAMINE_FLAGS)
        try:
            # Not fstat, since another user's FUSE may have been mounted over the file.
            _check(identity(found), device, inode)
            descriptor = _open_found(found, folder, name, EAGAIN_PAUSES if patient else ())
        finally:
            os.close(found)
        try:
            status = os.fstat(descriptor)
            _check((status.st_dev, status.st_ino, status.st_mode, 0), device, inode)
        except (OSError, FileError):
            os.close(descriptor)
            raise
    except BlockingIOError as error:
        raise FileError(Reason.LEASED) from error
    except OSError as error:
        raise file_trouble(error) from error
    return descriptor, status


def _open_found(found: int, folder: int, name: bytes, pauses: Iterable[float]) -> int:
    """Open for reading what was found."""
    for pause in pauses:
        with suppress(BlockingIOError):
            return _open_found(found, folder, name, ())
        time.sleep(pause)
    # Without /proc the name has to do, and what was opened is checked all the same.
    return reopen_for_reading(found) if _has_proc() else os.open(name, FILE_FLAGS, dir_fd=folder)


def _check(found: tuple[int, int, int, int], device: int, inode: int) -> None:
    """Raise FileError where something is not the regular file of an identity.

    Args:
        found: its device, inode, mode and mount.
        device: that was listed.
        inode: that was listed.
    """
    if not stat.S_ISREG(found[2]):
        raise FileError(Reason.REPLACED, f"it is {describe_file_type(found[2])} now")
    if found[0] != device or found[1] != inode:
        raise FileError(Reason.REPLACED, "it is another file now")


@lru_cache(maxsize=1)
def _has_proc() -> bool:
    """Return True if a descriptor can be opened again through /proc."""
    top = os.open(b"/", PASS_FLAGS)
    try:
        again = reopen_for_reading(top)
    except OSError:
        return False
    finally:
        os.close(top)
    os.close(again)
    return True
