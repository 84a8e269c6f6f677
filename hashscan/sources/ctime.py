"""Tells whether a file's ctime will change with its content, so that it need not be read again until it does.

A file that somebody has mapped writable can change without any sign: the kernel notes a time when a page is
written first, and not again until the page has been written out. A single call of write(2) notes it once, at
its beginning. So before a file is read, and after the first fstat, it is asked whether anybody has it open
for writing: a read lease (fcntl(2), F_SETLEASE) is refused with EAGAIN then, also where only a mapping, a
child, a request of io_uring or a descriptor on its way through a socket still holds it open. Where the lease
is granted, whoever writes to the file later has to open it first, and that changes ctime on filesystems of
the types in `PROVEN` (docs/state.md).

The lease is given back at once. Whoever opens the file for writing in between waits for that.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress

from hashscan.model import CtimeTrust
from hashscan.sources.mounts import filesystem_type

PROVEN = {"ext4": 0xEF53, "btrfs": 0x9123683E}
"""Types by which nothing that a file's owner may do changes its content and not its ctime; their numbers from
linux/magic.h. ext2 and ext3 have the number of ext4, whose driver they use."""

ON_TRUST = {
    # Its owner may exchange the contents of two files: XFS_IOC_SWAPEXT.
    "xfs": 0x58465342,
    # Clients write without the server's knowledge, or the server as it likes.
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
"""Types of which a file's ctime is believed only where the operator says so, by their names."""

_PROVEN_NUMBERS = frozenset(PROVEN.values())
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
"""Errors of a lease that say nothing about the file: it is another user's and CAP_LEASE is missing, or the
kernel, the filesystem or a system call filter has no leases."""


def _lease_in_python(descriptor: int) -> int:
    try:
        # The usual signal, SIGIO, ends a process.
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
with suppress(ImportError):
    from hashscan.sources._kernel_calls import lease as _lease
    from hashscan.sources._kernel_calls import write_out as _write_out


def is_on_trust(kind: int | None, on_trust: Collection[str]) -> bool:
    """Whether a type is believed on the operator's word.

    Args:
        kind: its number.
        on_trust: names of those that are.
    """
    return any(ON_TRUST[name] == kind for name in on_trust)


def probe(descriptor: int, kind: int | None, on_trust: Collection[str] = ()) -> CtimeTrust:
    """Find out how far a file's ctime is to be trusted from now on.

    To be asked after the fstat whose ctime is kept, and before anything of the file is read.

    Args:
        descriptor: of a regular file, open for reading only.
        kind: number of the type of its filesystem; None where it isn't known.
        on_trust: names of types in `ON_TRUST` that are believed.
    """
    proven = kind in _PROVEN_NUMBERS
    if not proven and not is_on_trust(kind, on_trust):
        return CtimeTrust.FILESYSTEM
    error = _lease(descriptor)
    if not error and proven:
        return CtimeTrust.PROVEN
    if error and error not in _REFUSED:
        return CtimeTrust.WRITER
    # What was changed through mappings is written out: writing to such a page again changes ctime.
    if _write_out(descriptor):
        return CtimeTrust.WRITER
    return CtimeTrust.UNPROVEN if proven else CtimeTrust.ON_TRUST


class TypeOfFiles:
    """The filesystem type of the files in a folder that is held open.

    It is asked once for all files that are on the folder's device, since that can't be given to another
    filesystem as long as the folder is open, and again for each other file. Files beneath an overlay may have
    the device of what lies beneath it, and device numbers are used again once a filesystem is unmounted.
    """

    def __init__(self, device: int) -> None:
        """Know none yet.

        Args:
            device: of the folder.
        """
        self._device = device
        self._known: int | None = None

    def of(self, descriptor: int, device: int) -> int | None:
        """Return the number of the type of an open file's filesystem; None where it can't be asked."""
        if device != self._device:
            return filesystem_type(descriptor)
        if self._known is None:
            self._known = filesystem_type(descriptor)
        return self._known
