"""Identify filesystems independently of their current device numbers."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re

from hashscan.sources.filesystem.mounts import filesystem_type
from hashscan.sources.filesystem.safe_open import LIST_FLAGS, PASS_FLAGS, open_absolute

_GET_UUID = 0x80111500
"""FS_IOC_GETFSUUID (linux/fs.h), since Linux 6.9: a length byte, then 16 bytes of which so many count."""
_BTRFS = 0x9123683E
_STATFS_BYTES = 512
_FSID_AT = 56
"""Offset of f_fsid in struct statfs, where longs have eight bytes."""
_ESCAPED = re.compile(rb"\\([0-7]{3})")

NETWORK_TYPES = frozenset(
    {
        *(
            "9p",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "coda",
            "fuse.ceph",
            "fuse.glusterfs",
            "fuse.rclone",
            "fuse.s3fs",
        ),
        *(
            "fuse.sshfs",
            "gfs2",
            "glusterfs",
            "gpfs",
            "lustre",
            "ncpfs",
            "nfs",
            "nfs4",
            "ocfs2",
            "orangefs",
            "smb3",
        ),
        *("smbfs", "virtiofs"),
    }
)
"""Filesystem types on which SQLite's write-ahead log, which uses shared memory, does not work."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)
_libc.fstatfs.restype = ctypes.c_int


def name_of(folder: bytes, device: int) -> bytes | None:
    """Return a stable name of the filesystem of the files in a folder (absolute path); None where it is gone.
    The name is the UUID, on Btrfs with the subvolume's number. Where there is no UUID, it is the mounted
    source and the mounted part of it. Where the files' device is not their folder's, as beneath overlays, the
    device is part of the name."""
    try:
        descriptor = open_absolute(folder, LIST_FLAGS)
    except OSError:
        return None
    try:
        own = os.fstat(descriptor).st_dev
        name = _uuid(descriptor) or _mount(own)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return name if own == device else name + b" device %d" % device


def kind_of(folder: bytes, device: int) -> int | None:
    """Return the number of the type of the filesystem that the files in a folder (absolute path) are on; None
    where it can't be read, or where the files' device is not their folder's."""
    try:
        descriptor = open_absolute(folder, PASS_FLAGS)
    except OSError:
        return None
    try:
        return filesystem_type(descriptor) if os.fstat(descriptor).st_dev == device else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def type_of(folder: bytes) -> str:
    """Return the type of the filesystem a folder is on, such as `ext4`; empty where it isn't known."""
    fields = _mount_fields(os.stat(folder).st_dev)
    return "" if fields is None else fields[2].decode(errors="replace")


def _uuid(descriptor: int) -> bytes:
    answer = bytearray(17)
    try:
        fcntl.ioctl(descriptor, _GET_UUID, answer)
    except OSError:
        return b""
    uuid = bytes(answer[1 : 1 + answer[0]])
    if not any(uuid):
        return b""
    return b"uuid " + uuid.hex().encode("ascii") + _subvolume(descriptor)


def _subvolume(descriptor: int) -> bytes:
    """Return the subvolume's number on Btrfs, where each subvolume numbers its own inodes; else nothing."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(descriptor, buffer) != 0:
        return b""
    kind = int.from_bytes(buffer.raw[:4], "little")
    return b" " + buffer.raw[_FSID_AT : _FSID_AT + 8].hex().encode("ascii") if kind == _BTRFS else b""


def _mount(device: int) -> bytes:
    fields = _mount_fields(device)
    if fields is None:
        return b"device %d" % device
    root, point, kind, source = fields
    # A source without a device of its own may be mounted several times under one name.
    where = b"" if source.startswith(b"/") or b":" in source else b" at " + point
    return b"mount %s %s %s%s" % (kind, source, root, where)


def _mount_fields(device: int) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Return root, mount point, type and source of a device's first mount (proc_pid_mountinfo(5))."""
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            for line in file:
                fields = line.split()
                if fields[2] == wanted:
                    behind = fields.index(b"-")
                    return (
                        _plain(fields[3]),
                        _plain(fields[4]),
                        fields[behind + 1],
                        _plain(fields[behind + 2]),
                    )
    except (OSError, ValueError, IndexError):
        pass
    return None


def _plain(field: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: bytes((int(found[1], 8) & 0xFF,)), field)
