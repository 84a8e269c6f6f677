"""Distinguish file systems that store files from pseudo file systems of the kernel."""

from __future__ import annotations

import ctypes
import platform
import sys

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
