"""Decide whether the interpreter may write its compiled bytecode to the disk.

CPython 3.11 keeps bytecode that was cut short by a full disk or by a limit on the size of files. After that,
no command that needs such a module works any more.
"""

import os
import resource

_FREE_BYTES = 64 << 20


def may_write() -> bool:
    """Return True if there is no limit on the size of files, and enough free space on the disk."""
    disk = os.statvfs(os.path.dirname(__file__))
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return size == resource.RLIM_INFINITY and disk.f_bavail * disk.f_frsize >= _FREE_BYTES
