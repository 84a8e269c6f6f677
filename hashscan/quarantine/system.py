"""All system calls by which the quarantine changes a disk, one named function for each."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Mapping
from contextlib import suppress

from hashscan.sources.filesystem.safe_open import closing_descriptor, reopen_for_reading

_NOREPLACE = 1  # linux/fs.h
# linux/fs.h: struct fsxattr has 28 bytes; its fourth number is the project id.
_FSGETXATTR, _FSSETXATTR, _PROJINHERIT, _PROJECT = 0x801C581F, 0x401C5820, 0x200, "4I"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def rename(folder: int, name: bytes, new_folder: int, new_name: bytes) -> None:
    """Rename a file, within one mount, to a name that must not exist yet; folders are descriptors. OSError as
    of renameat2(2): EEXIST if the name is taken, EXDEV across mounts, EINVAL if the filesystem can't
    guarantee that nothing is replaced."""
    if _libc.renameat2(folder, name, new_folder, new_name, _NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def create(folder: int, name: bytes, mode: int) -> int:
    """Create a file that must not exist yet, and open it for reading and writing."""
    return os.open(
        name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder
    )


def create_unnamed(folder: int, mode: int) -> int:
    """Create a file without a name on the filesystem of a folder, and open it for reading and writing;
    EOPNOTSUPP or EISDIR if the filesystem does not support such files."""
    return os.open(f"/proc/self/fd/{folder}", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, mode)


def name_file(descriptor: int, folder: int, name: bytes) -> None:
    os.link(b"/proc/self/fd/%d" % descriptor, name, dst_dir_fd=folder, follow_symlinks=True)


def write(descriptor: int, data: bytes | memoryview) -> None:
    """Write all data at the file's offset."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def truncate(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, size)


def replace(folder: int, name: bytes, new_name: bytes) -> None:
    """Rename a file of our own within its folder, and replace a file of that name."""
    os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)


def replace_content(folder: int, aside: bytes, name: bytes, content: bytes) -> None:
    """Replace the content of a small file of our own at once; the folder is not synced.

    The new file is named `aside` until it is written; a killed process may have left one.
    """
    with suppress(FileNotFoundError):
        unlink(folder, aside)
    with closing_descriptor(create(folder, aside, 0o600)) as file:
        write(file, content)
        sync(file)
    replace(folder, aside, name)


def unlink(folder: int, name: bytes) -> None:
    os.unlink(name, dir_fd=folder)


def make_folder(folder: int, name: bytes, mode: int) -> None:
    os.mkdir(name, mode, dir_fd=folder)


def clear_project_inheritance(folder: int) -> None:
    """Clear the flag by which a folder of ours, open for listing, passes its project id to new entries.

    With the flag, renaming a file of another project into the folder fails with EXDEV. On a filesystem
    without projects, nothing is done.
    """
    try:
        fields = bytearray(fcntl.ioctl(folder, _FSGETXATTR, bytes(28)))
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL}:
            return
        raise
    (flags,) = struct.unpack_from("I", fields)
    if flags & _PROJINHERIT:
        struct.pack_into("I", fields, 0, flags & ~_PROJINHERIT)
        fcntl.ioctl(folder, _FSSETXATTR, bytes(fields))


def copy_project_id(descriptor: int, folder: int) -> None:
    """Give a file the project id of a folder; a file's owner may set any project id.

    The file is open for reading, the folder for listing.
    """
    project = struct.unpack_from(_PROJECT, fcntl.ioctl(folder, _FSGETXATTR, bytes(28)))[-1]
    fields = bytearray(fcntl.ioctl(descriptor, _FSGETXATTR, bytes(28)))
    struct.pack_into("I", fields, struct.calcsize(_PROJECT) - struct.calcsize("I"), project)
    fcntl.ioctl(descriptor, _FSSETXATTR, bytes(fields))


def remove_folder(folder: int, name: bytes) -> None:
    os.rmdir(name, dir_fd=folder)


def change_owner(descriptor: int, uid: int, gid: int) -> None:
    os.fchown(descriptor, uid, gid)


def change_mode(descriptor: int, mode: int) -> None:
    os.fchmod(descriptor, mode)


def set_attributes(descriptor: int, values: Mapping[str, bytes], gone: frozenset[str]) -> None:
    for name in gone:
        os.removexattr(descriptor, name)
    for name, value in values.items():
        os.setxattr(descriptor, name, value)


def set_times(descriptor: int, atime_ns: int, mtime_ns: int) -> None:
    """Set the access and modification time of a file, in nanoseconds."""
    os.utime(descriptor, ns=(atime_ns, mtime_ns))


def set_folder_times(descriptor: int, atime_ns: int, mtime_ns: int) -> None:
    """Set the access and modification time of a folder, in nanoseconds; an `O_PATH` descriptor suffices."""
    os.utime(f"/proc/self/fd/{descriptor}", ns=(atime_ns, mtime_ns))


def sync_file_system(descriptor: int) -> None:
    """Sync the whole filesystem of an open file, so that its data survives a power cut.

    For many files this is far quicker than syncing each folder, even if other users write much.
    """
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def sync(descriptor: int) -> None:
    """Sync a file, or the names in a folder, so that they survive a power cut."""
    os.fsync(descriptor)


def sync_folder(folder: int) -> None:
    """Sync the names in a folder; an `O_PATH` descriptor suffices."""
    with closing_descriptor(reopen_for_reading(folder)) as again:
        sync(again)
