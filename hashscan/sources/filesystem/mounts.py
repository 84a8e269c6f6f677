"""Distinguish mounts: pseudo file systems, filesystem types, and FUSE file systems of other users.

The server of such a FUSE is a program of its user. It may never answer, or send one byte a minute: every call
that needs it, even fstat and statfs, then waits without end. So a path is followed to the root of a mount,
and no further until /proc/self/mountinfo shows that it is not such a mount. The calls used until then
(opening with O_PATH, statx with AT_STATX_DONT_SYNC) need no server.

A FUSE of root or of the scanning user is entered: it is the administrator's storage.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import select
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple

from hashscan.c_parts import BUILT

# Numbers from linux/magic.h. Left out on purpose, because customers can keep files there: tmpfs, devtmpfs (it
# has tmpfs's number), ramfs, hugetlbfs, and autofs, beneath which their homes may be mounted.
_PSEUDO: frozenset[int] = frozenset(
    {
        0x00009FA0,  # proc
        0x00009FA1,  # openprom
        0x00009FA2,  # usbfs
        0x62656572,  # sysfs
        0x0027E0EB,  # cgroup
        0x63677270,  # cgroup2
        0x00001CD1,  # devpts
        0x74726163,  # tracefs
        0x64626720,  # debugfs
        0xCAFE4A11,  # bpf
        0x73636673,  # securityfs
        0xF97CFF8C,  # selinuxfs
        0x43415D53,  # smackfs
        0x5A3C69F0,  # apparmorfs
        0x6165676C,  # pstore
        0xDE5E81E4,  # efivarfs
        0x42494E4D,  # binfmt_misc
        0x19800202,  # mqueue
        0x62656570,  # configfs
        0x65735543,  # fusectl
        0x67596969,  # rpc_pipefs
        0x6E736673,  # nsfs
        0x07655821,  # resctrl
        0xABBA1974,  # xenfs
        0x6C6F6F70,  # binderfs
    }
)

# struct statfs starts with f_type, which is a long on all architectures except this one.
_TYPE_SIZE = 4 if platform.machine() == "s390x" else ctypes.sizeof(ctypes.c_long)
_STATFS_SIZE = 512  # more than any architecture's struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)
_libc.fstatfs.restype = ctypes.c_int


def filesystem_type(descriptor: int) -> int | None:
    """Return the number of the filesystem type of an open file or folder (linux/magic.h).

    Return None if it can't be determined.
    """
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc.fstatfs(descriptor, buffer) != 0:
        return None
    return int.from_bytes(buffer.raw[:_TYPE_SIZE], sys.byteorder) & 0xFFFFFFFF


def is_pseudo(descriptor: int) -> bool:
    """Return True if a folder is on a file system that stores no files.

    If this can't be determined, the file system counts as storing files, so that it is scanned.
    """
    return filesystem_type(descriptor) in _PSEUDO


_STATX_BYTES = 256
_STATX = struct.Struct("=I24xHxxQ96xIIQ")
"""Layout of struct statx: mask, mode, inode, the two numbers of the device, and the mount number."""
_MNT_ID = 0x1000
_STATX_MASK = 0x101 | _MNT_ID  # STATX_TYPE, STATX_INO
_STATX_SIZE, _SIZE_AT = 0x200, 40
_STATX_FLAGS = 0x5000  # AT_EMPTY_PATH, AT_STATX_DONT_SYNC


class ForeignMountError(OSError):
    """The error that a path leads into another user's FUSE."""

    def __init__(self, user: int | None) -> None:
        """Store the user who mounted it, or None if unknown."""
        self.user = user
        whose = "of an unknown user" if user is None else f"of user {user}"
        super().__init__(errno.EXDEV, f"a FUSE {whose} is mounted here")


class DescriptorInfo(NamedTuple):
    """Properties of an open file or folder that are available without asking a server."""

    device: int
    inode: int
    mode: int
    mount: int
    """Number of the mount; 0 if the kernel (before 5.8) doesn't report it."""


def seen(descriptor: int) -> DescriptorInfo:
    """Examine a descriptor without asking a server.

    Raises:
        OSError: it is not open.
    """
    # Past its constructor, which takes twice as long.
    return tuple.__new__(DescriptorInfo, identity(descriptor))


def identity_in_python(descriptor: int) -> tuple[int, int, int, int]:
    """Return the fields of `DescriptorInfo` without the part in C; raise OSError where it is not open."""
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if not hasattr(_libc, "statx") or _libc.statx(descriptor, b"", _STATX_FLAGS, _STATX_MASK, buffer) != 0:
        status = os.fstat(descriptor)
        return status.st_dev, status.st_ino, status.st_mode, 0
    mask, mode, inode, major, minor, mount = _STATX.unpack_from(buffer)
    mount = mount if mask & _MNT_ID else 0
    return os.makedev(major, minor), inode, mode, mount


identity: Callable[[int], tuple[int, int, int, int]] = identity_in_python
"""Returns the fields of `DescriptorInfo`, and raises OSError where the descriptor is not open."""
if BUILT:
    from hashscan.sources._folder_listing import identify as identity


def cached_size(descriptor: int) -> int:
    """Return the size of an open file in bytes, without asking a server: it may be out of date then.

    Raises:
        OSError: it is not open.
    """
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if not hasattr(_libc, "statx") or _libc.statx(descriptor, b"", _STATX_FLAGS, _STATX_SIZE, buffer) != 0:
        return os.fstat(descriptor).st_size
    return int.from_bytes(buffer.raw[_SIZE_AT : _SIZE_AT + 8], sys.byteorder)


def refuse_foreign_mount(descriptor: int, above: DescriptorInfo) -> DescriptorInfo:
    """Examine what was opened with O_PATH in a folder, and reject it if it is a foreign FUSE.

    Args:
        above: the result of `seen` for the folder.

    Raises:
        ForeignMountError: another user's FUSE is mounted there.
        OSError: /proc can't be read.
    """
    found = seen(descriptor)
    same = found.mount == above.mount if found.mount else found.device == above.device
    # A file system on a block device was mounted by root.
    if not same and os.major(found.device) == 0:
        _mounts.refuse_foreign(descriptor, found.mount)
    return found


class _Mounts:
    """A cache of the mounts looked up so far; cleared when the kernel reports that any mount has changed."""

    def __init__(self) -> None:
        self._pid = -1
        self._table = -1
        self._users: dict[int, int | None] = {}
        """By mount number: the user who mounted it if it is a FUSE, otherwise None."""

    def refuse_foreign(self, descriptor: int, mount: int) -> None:
        """Raise ForeignMountError if a descriptor, which must be held open, is on a foreign FUSE."""
        if not mount:
            with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
                fields = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
            mount = int(fields[b"mnt_id"])
        # The descriptor keeps its mount alive. So the number can't belong to another mount, unless the table
        # had changed before.
        if self._changed() or mount not in self._users:
            self._read()
        if mount not in self._users:
            # It was unmounted, and only the descriptor still holds it.
            raise ForeignMountError(None)
        user = self._users[mount]
        if user is not None and user not in {0, os.geteuid()}:
            raise ForeignMountError(user)

    def _changed(self) -> bool:
        if self._pid != os.getpid():
            # A forked child opens its own table, or it would consume the events meant for its parent.
            self._table = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            self._pid = os.getpid()
            return True
        poll = select.poll()
        poll.register(self._table, select.POLLPRI)
        return bool(poll.poll(0))

    def _read(self) -> None:
        content, offset = b"", 0
        while piece := os.pread(self._table, 1 << 16, offset):
            content += piece
            offset += len(piece)
        self._users = dict(map(mount_and_user, content.splitlines()))


def mount_and_user(line: bytes) -> tuple[int, int | None]:
    """Return the number of a mount, and the user who mounted it if it is a FUSE.

    The format of the line is described in proc(5).
    """
    before, _, after = line.partition(b" - ")
    kind, _, options = after.split(b" ", 2)
    number = int(before.split(b" ", 1)[0])
    if kind not in {b"fuse", b"fuseblk"} and not kind.startswith((b"fuse.", b"fuseblk.")):
        return number, None
    for option in options.split(b","):
        if option.startswith(b"user_id="):
            return number, int(option[8:])
    return number, 0


_mounts = _Mounts()
