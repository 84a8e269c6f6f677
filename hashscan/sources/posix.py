"""Convert stat results and errors of the system to the types of hashscan's model."""

from __future__ import annotations

import errno
import os
import stat
from operator import attrgetter

from hashscan.model import FileStat, FolderReason, Reason
from hashscan.sources.base import FileError, UnlistedFolder
from hashscan.sources.foreign_mounts import ForeignMountError, seen

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
    """Return the stat values that identify the content of a file."""
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
    """Return the UnlistedFolder for an error with a folder."""
    return UnlistedFolder(target, folder, FolderReason[trouble.reason.name], trouble.detail)


def require_identity(descriptor: int, device: int, inode: int) -> int:
    """Return the descriptor if it has the expected device and inode; otherwise close it.

    Raises:
        FileError: it is something else, or can't be examined.
    """
    try:
        found = seen(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise file_trouble(error) from error
    if (found.device, found.inode) != (device, inode):
        os.close(descriptor)
        raise FileError(Reason.REPLACED)
    return descriptor
