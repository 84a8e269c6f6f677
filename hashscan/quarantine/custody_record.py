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

_KEPT_BYTES = 1 << 16
"""Of extended attributes in a record; anybody can give a file more of them than a log should hold. On its own
file system a file keeps the others, and a copy of it on another lacks them."""

_ACL = "system.posix_acl_access"
_RIGHTS = (_ACL, "security.capability")
"""Attributes that decide who may do what with a file; none is larger than 64 KiB."""

_NO_ATTRIBUTE = frozenset({errno.ENODATA, errno.ENOTSUP})
"""It was removed meanwhile, or there are none of its kind."""
_UNREAD_ATTRIBUTE = frozenset({errno.E2BIG, errno.ERANGE, errno.EACCES, errno.EPERM})
"""It is too large, grows as it is read, or may not be read."""


def facts_of(descriptor: int, status: os.stat_result) -> Facts:
    """Take down what can be known of a file beside its content.

    Args:
        descriptor: open for reading.
        status: what fstat said of it before it was read.

    Raises:
        OSError: as flistxattr(2).
    """
    attributes, left = _attributes(descriptor)
    further = {"xattrs_left": left} if left else {}
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
        "xattrs": {name: base64.b64encode(v).decode() for name, v in attributes.items()},
        **further,
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
    there, _ = _attributes(descriptor)
    # Where there were more than the record has, those that it doesn't name may be of them.
    whole = "xattrs_left" not in facts
    gone = frozenset(n for n in there if n not in kept and (n == _ACL or (whole and n.startswith("user."))))
    system.set_attributes(descriptor, {n: v for n, v in kept.items() if there.get(n) != v}, gone)
    system.change_mode(descriptor, facts["mode"])
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != facts["mode"]:
        # Bits that lend a group are dropped without a word for whoever is not of it.
        raise OSError(errno.EPERM, "its permissions can't be set again")
    system.set_times(descriptor, facts["atime_ns"], facts["mtime_ns"])


def _attributes(descriptor: int) -> tuple[dict[str, bytes], int]:
    """Extended attributes of a file, those that lend rights first, and how many more it has or may have.

    Its owner can add, change and remove them as they are read, and have more than the kernel lists (E2BIG).
    None of that may keep the file from being moved.

    Raises:
        OSError: as flistxattr(2), except E2BIG.
    """
    left = 0
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}, 0
        if error.errno not in {errno.E2BIG, errno.ERANGE}:
            raise
        names, left = [], 1
    values: dict[str, bytes] = {}
    total = 0
    # Whatever the names, the first ones are asked for, since they decide who may do what.
    ordered = dict.fromkeys((*_RIGHTS, *sorted(names)))
    for name in ordered:
        if name in _RIGHTS and name not in names and not left:
            continue
        try:
            value = os.getxattr(descriptor, name)
        except OSError as error:
            if error.errno in _NO_ATTRIBUTE:
                continue
            if error.errno not in _UNREAD_ATTRIBUTE:
                raise
            left += name in names
            continue
        total += len(os.fsencode(name)) + len(value)
        if total > _KEPT_BYTES:
            left += 1
        else:
            values[name] = value
    return values, left


@lru_cache(maxsize=1024)
def _user(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
