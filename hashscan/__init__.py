"""Find known child-abuse material by hash on disks and in buckets, without looking at a picture."""

import os as _os
import resource as _resource
import sys as _sys

__version__ = "0.1.0"


def _can_keep_bytecode() -> bool:
    """Whether there is room for what the interpreter compiles.

    CPython 3.11 keeps bytecode that was cut short by a full disk or a limit on the size of files, and no
    command that needs such a module works any more.
    """
    disk = _os.statvfs(_os.path.dirname(__file__))
    size, _ = _resource.getrlimit(_resource.RLIMIT_FSIZE)
    return size == _resource.RLIM_INFINITY and disk.f_bavail * disk.f_frsize >= 64 << 20


# Here, since each process of ours imports this before any other module that may have to be compiled.
if not _can_keep_bytecode():
    _sys.dont_write_bytecode = True
