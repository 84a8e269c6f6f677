"""Open regular files and nothing put in their place; convert stat results and errors to the model's."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from operator import attrgetter

from hashscan.c_parts import BUILT
from hashscan.model import FileStat, FolderReason, Reason
from hashscan.sources.base import FileError, UnlistedFolder
from hashscan.sources.filesystem.mounts import ForeignMountError, identity, seen
from hashscan.sources.filesystem.safe_open import (
    EAGAIN_PAUSES,
    EXAMINE_FLAGS,
    FILE_FLAGS,
    PASS_FLAGS,
    open_absolute,
    open_child,
    own_descriptors,
    reopen_for_reading,
    stat_child,
)

_REASONS: dict[int, Reason] = {
    errno.ENOENT: Reason.VANISHED,
    errno.EACCES: Reason.PERMISSION,
    errno.EPERM: Reason.PERMISSION,
    # A symlink instead of a folder or file, or a file instead of a folder.
    errno.ELOOP: Reason.REPLACED,
    errno.ENOTDIR: Reason.REPLACED,
    errno.EXDEV: Reason.REPLACED,
    # A socket or a device instead of a file.
    errno.ENXIO: Reason.REPLACED,
    errno.ENODEV: Reason.REPLACED,
}

_KINDS: dict[int, str] = {
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a regular file",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def describe_file_type(mode: int) -> str:
    """Return the kind of file that `st_mode` describes, with its article."""
    return _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


_STAT_FIELDS = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_nlink", "st_uid")
"""The fields in the order of `FileStat`. Access by name and its constructor's own count would take twice as
long."""


def file_stat(status: os.stat_result) -> FileStat:
    return tuple.__new__(FileStat, _STAT_FIELDS(status))


def file_trouble(error: OSError) -> FileError:
    """Return the FileError for an error of open, stat or read, with the system's text if ours says less."""
    if isinstance(error, ForeignMountError):
        return FileError(Reason.FUSE, str(error.strerror))
    reason = _REASONS.get(error.errno or 0)
    if reason is None:
        return FileError(Reason.IO_ERROR, error.strerror or str(error))
    return FileError(reason)


def closed_folder(target: bytes, folder: bytes, trouble: FileError) -> UnlistedFolder:
    return UnlistedFolder(target, folder, FolderReason[trouble.reason.name], trouble.detail)


def require_identity(descriptor: int, device: int, inode: int) -> int:
    """Return the descriptor if it has the expected device and inode; otherwise close it."""
    try:
        found = seen(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise file_trouble(error) from error
    if (found.device, found.inode) != (device, inode):
        os.close(descriptor)
        raise FileError(Reason.REPLACED)
    return descriptor


def open_known_folder(path: bytes, flags: int, device: int, inode: int) -> int:
    """Open a folder by its absolute path, in which no symlink is followed."""
    try:
        descriptor = open_absolute(path, flags)
    except OSError as error:
        raise file_trouble(error) from error
    return require_identity(descriptor, device, inode)


def stat_regular(folder: int, name: bytes) -> FileStat:
    """Return the stat values of a regular file in an open folder."""
    try:
        status = stat_child(folder, name)
    except OSError as error:
        raise file_trouble(error) from error
    if not stat.S_ISREG(status.st_mode):
        raise FileError(Reason.REPLACED, f"it is {describe_file_type(status.st_mode)} now")
    return file_stat(status)


_Opened = tuple[int, tuple[int, int, int, int, int, int, int], int]
"""A descriptor, the fields of `FileStat`, and the blocks of 512 bytes that the file uses."""


def _not_opened(folder: int, name: bytes, own: int, device: int, inode: int) -> _Opened | None:
    return None


def _unchanged_in_python(
    descriptor: int, device: int, inode: int, size: int, mtime_ns: int, ctime_ns: int
) -> bool:
    now = os.fstat(descriptor)
    return (now.st_ctime_ns, now.st_mtime_ns, now.st_size, now.st_ino, now.st_dev) == (
        ctime_ns, mtime_ns, size, inode, device,
    )  # fmt: skip


_open_listed: Callable[[int, bytes, int, int, int], _Opened | None] = _not_opened
"""Opens a file as `open_regular` does, or returns None where it can't or mustn't be opened."""
is_unchanged: Callable[[int, int, int, int, int, int], bool] = _unchanged_in_python
"""Returns True if an open file has this device, inode, size, mtime and ctime; raises OSError like fstat."""
if BUILT:
    from hashscan.sources._folder_listing import open_listed as _open_listed
    from hashscan.sources._folder_listing import unchanged as is_unchanged  # noqa: F401


def open_listed(folder: int, name: bytes, device: int, inode: int) -> tuple[int, FileStat, int]:
    """Open a file as `open_regular` does, in less time where the extension was built; return also the number
    of blocks of 512 bytes that the file uses."""
    try:
        found = _open_listed(folder, name, own_descriptors(), device, inode) if _has_proc() else None
    except OSError as error:
        raise file_trouble(error) from error
    if found is not None:
        return found[0], tuple.__new__(FileStat, found[1]), found[2]
    descriptor, status = open_regular(folder, name, device, inode)
    return descriptor, file_stat(status), status.st_blocks


def open_regular(
    folder: int, name: bytes, device: int, inode: int, *, patient: bool = False
) -> tuple[int, os.stat_result]:
    """Open the file with the given device and inode.

    Opening a device can have effects before fstat shows that it is one: a watchdog starts, a tape rewinds.
    Users who may create devices in containers can replace a file by a device at any moment. So the name is
    first only looked up, which opens nothing; if the result is a regular file, it is opened through /proc.

    Args:
        patient: wait for a lease as long as a cooperative holder needs to release it.

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
    """Open a file for reading that was opened for examination."""
    for pause in pauses:
        with suppress(BlockingIOError):
            return _open_found(found, folder, name, ())
        time.sleep(pause)
    # Without /proc the name has to do, and what was opened is checked all the same.
    return reopen_for_reading(found) if _has_proc() else os.open(name, FILE_FLAGS, dir_fd=folder)


def _check(found: tuple[int, int, int, int], device: int, inode: int) -> None:
    """Raise FileError where something is not the regular file of an identity."""
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
