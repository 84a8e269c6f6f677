"""What is recorded of a file before it is touched, and put back on it when it returns."""

from __future__ import annotations

import base64
import errno
import os
import pwd
import stat
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from hashscan.quarantine import system

Facts = Mapping[str, Any]
"""Owner, mode, times, links, size and extended attributes of a file; JSON values by key."""

_KEPT_BYTES = 1 << 18
"""Of extended attributes; anybody can give a file more of them than a log should hold."""

_ACL = "system.posix_acl_access"


def facts_of(descriptor: int, status: os.stat_result) -> Facts:
    """Take down what can be known of a file beside its content.

    Args:
        descriptor: open for reading.
        status: what fstat said of it before it was read.

    Raises:
        OSError: E2BIG where its extended attributes are too large to be kept; else as flistxattr(2).
    """
    return {
        "uid": status.st_uid,
        "gid": status.st_gid,
        "user": _user(status.st_uid),
        "mode": stat.S_IMODE(status.st_mode),
        "size": status.st_size,
        "links": status.st_nlink,
        "device": status.st_dev,
        "inode": status.st_ino,
        "atime_ns": status.st_atime_ns,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "xattrs": {name: base64.b64encode(v).decode() for name, v in _attributes(descriptor).items()},
    }


def seal(descriptor: int) -> None:
    """Take a file from its owner, who may have another name for it.

    What an ordinary user seals stays that user's, readable by nobody else.

    Raises:
        OSError: it can't be changed.
    """
    if os.geteuid() == 0:
        system.change_owner(descriptor, 0, 0)
        system.change_mode(descriptor, 0)
    else:
        system.change_mode(descriptor, stat.S_IRUSR)


def is_sealed(status: os.stat_result) -> bool:
    """Whether a file looks as `seal` leaves it."""
    sealed = 0 if os.geteuid() == 0 else stat.S_IRUSR
    return status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == sealed


def put_back(descriptor: int, facts: Facts) -> None:
    """Make a file what it was when its facts were taken down.

    Args:
        descriptor: of the file, or of a copy of it.
        facts: as `facts_of` gave them.

    Raises:
        OSError: it can't be changed.
    """
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (facts["uid"], facts["gid"]):
        system.change_owner(descriptor, facts["uid"], facts["gid"])
    # To change the owner drops capabilities and the bits that lend it, so those come after.
    kept = {name: base64.b64decode(value) for name, value in facts["xattrs"].items()}
    there = _attributes(descriptor)
    gone = frozenset(n for n in there if n not in kept and (n == _ACL or n.startswith("user.")))
    system.set_attributes(descriptor, {n: v for n, v in kept.items() if there.get(n) != v}, gone)
    system.change_mode(descriptor, facts["mode"])
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != facts["mode"]:
        # Bits that lend a group are dropped without a word for whoever is not of it.
        raise OSError(errno.EPERM, "its permissions can't be set again")
    system.set_times(descriptor, facts["atime_ns"], facts["mtime_ns"])


def _attributes(descriptor: int) -> dict[str, bytes]:
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    values: dict[str, bytes] = {}
    total = 0
    for name in names:
        values[name] = os.getxattr(descriptor, name)
        total += len(name) + len(values[name])
        if total > _KEPT_BYTES:
            raise OSError(errno.E2BIG, "its extended attributes are too large to be kept")
    return values


@lru_cache(maxsize=1024)
def _user(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
