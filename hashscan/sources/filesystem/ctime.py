"""Determine whether a file's ctime will change with its content, so that cached digests can be reused.

If somebody has mapped a file writable, its content can change without a visible sign: the kernel updates the
times when a page is written first, and not again until the page has been written out. A single write(2) call
updates them once, at its start. So before a file is read, and after the first fstat, this module checks
whether anybody has it open for writing: a read lease (fcntl(2), F_SETLEASE) is then refused with EAGAIN. It
is also refused if only a mapping, a child process, an io_uring request or a descriptor in transit through a
socket still holds the file open. If the lease is granted, whoever writes to the file later must open it
first, and that changes ctime on filesystems of the types in `PROVEN` (docs/state.md).

The lease is released at once. Whoever opens the file for writing in between waits for that.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Collection

from hashscan.c_parts import BUILT
from hashscan.model import CtimeTrust
from hashscan.sources.filesystem.mounts import filesystem_type

TRUSTED_TYPES = {"ext4": 0xEF53, "btrfs": 0x9123683E}
"""Filesystem types on which a file's owner can't change content without changing ctime, with their numbers
from linux/magic.h. ext2 and ext3 have the number of ext4 and use its driver."""

TYPES_TRUSTED_BY_OPTION = {
    # Its owner can exchange the contents of two files: XFS_IOC_SWAPEXT.
    "xfs": 0x58465342,
    # Clients can write without the server's knowledge, or the server decides the times freely.
    "nfs": 0x6969,
    "smb": 0xFE534D42,
    "cifs": 0xFF534D42,
    "ceph": 0x00C36400,
    "9p": 0x01021997,
    "afs": 0x5346414F,
    "lustre": 0x0BD00BD0,
    "gfs2": 0x01161970,
    "ocfs2": 0x7461636F,
}
"""Filesystem types, by name, on which ctime is trusted only if the operator says so."""

_PROVEN_NUMBERS = frozenset(TRUSTED_TYPES.values())
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
"""Errors of the lease call that say nothing about the file: it belongs to another user and CAP_LEASE is
missing, or the kernel, the filesystem or a system call filter doesn't support leases."""


def _lease_in_python(descriptor: int) -> int:
    try:
        # The default signal, SIGIO, would end the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _write_out_in_python(descriptor: int) -> int:
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


_lease: Callable[[int], int] = _lease_in_python
_write_out: Callable[[int], int] = _write_out_in_python
if BUILT:
    from hashscan.sources._kernel_calls import lease as _lease
    from hashscan.sources._kernel_calls import write_out as _write_out


def is_trusted_by_option(kind: int | None, on_trust: Collection[str]) -> bool:
    """Return True if the operator has declared this filesystem type to be trusted."""
    return any(TYPES_TRUSTED_BY_OPTION[name] == kind for name in on_trust)


def ctime_trust(descriptor: int, kind: int | None, on_trust: Collection[str] = ()) -> CtimeTrust:
    """Determine how far the ctime of a regular file, open for reading only, can be trusted from now on. Call
    it after the fstat whose ctime is stored, and before anything of the file is read. `kind` is the number of
    its filesystem type, None if unknown."""
    proven = kind in _PROVEN_NUMBERS
    if not proven and not is_trusted_by_option(kind, on_trust):
        return CtimeTrust.FILESYSTEM
    error = _lease(descriptor)
    if not error and proven:
        return CtimeTrust.PROVEN
    if error and error not in _REFUSED:
        return CtimeTrust.WRITER
    # Changes made through mappings are now written out: a new write to such a page changes ctime again.
    if _write_out(descriptor):
        return CtimeTrust.WRITER
    return CtimeTrust.UNPROVEN if proven else CtimeTrust.ON_TRUST


class FilesystemTypes:
    """The filesystem types of the files in a folder that is held open.

    The type is determined once for all files on the folder's device, because the device number can't be given
    to another filesystem while the folder is open. For each other file it is determined again: files beneath
    an overlay may have the device of a lower layer, and device numbers are reused after a filesystem is
    unmounted.
    """

    def __init__(self, device: int) -> None:
        self._device = device
        self._known: int | None = None

    def of(self, descriptor: int, device: int) -> int | None:
        """Return the number of the filesystem type of an open file; None if it can't be determined."""
        if device != self._device:
            return filesystem_type(descriptor)
        if self._known is None:
            self._known = filesystem_type(descriptor)
        return self._known
