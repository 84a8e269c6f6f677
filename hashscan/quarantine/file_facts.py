"""Record and restore owner, mode, times and attributes of a file; find inode flags that forbid a move."""

from __future__ import annotations

import base64
import errno
import fcntl
import os
import pwd
import shlex
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from hashscan.quarantine import system
from hashscan.sources.filesystem.safe_open import closing_descriptor, reopen_for_reading

FileFacts = Mapping[str, Any]
"""Owner, mode, times, link count, size and extended attributes of a file; JSON values by key."""

_KEPT_BYTES = 1 << 16
"""Limit in bytes for extended attributes in a record: any user can give a file more than a log should hold.
A file that stays on its filesystem keeps the other attributes; a copy on another filesystem lacks them."""

_ACL = "system.posix_acl_access"
_RIGHTS = (_ACL, "security.capability")
"""Attributes that decide access rights or capabilities; none is larger than 64 KiB."""

_NO_ATTRIBUTE = frozenset({errno.ENODATA, errno.ENOTSUP})
"""The attribute was removed in the meantime, or the filesystem does not support this kind."""
_UNREAD_ATTRIBUTE = frozenset({errno.E2BIG, errno.ERANGE, errno.EACCES, errno.EPERM})
"""The attribute is too large, grows while it is read, or may not be read."""


def facts_of(descriptor: int, status: os.stat_result) -> FileFacts:
    """Return all that is known of a file besides its content; `status` is from before it was read."""
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
    """Remove the owner's access to a file, since the owner may have another hard link to it.

    As root, the file becomes root's with mode 0. For an ordinary user, the file stays that user's, and nobody
    else can read it.
    """
    if os.geteuid() == 0:
        system.change_owner(descriptor, 0, 0)
        system.change_mode(descriptor, 0)
    else:
        system.change_mode(descriptor, stat.S_IRUSR)


def is_sealed(status: os.stat_result) -> bool:
    """Return True if a file has the owner and mode that `seal` sets."""
    sealed = 0 if os.geteuid() == 0 else stat.S_IRUSR
    return status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == sealed


def restore_facts(descriptor: int, facts: FileFacts) -> None:
    """Set owner, mode, attributes and times of a file, or of a copy of it, to the result of `facts_of`."""
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (facts["uid"], facts["gid"]):
        system.change_owner(descriptor, facts["uid"], facts["gid"])
    # Changing the owner drops capabilities and the setuid and setgid bits, so those are set afterwards.
    kept = {name: base64.b64decode(value) for name, value in facts["xattrs"].items()}
    there, _ = _attributes(descriptor)
    # If the record is not complete, attributes that it doesn't name may have been there before.
    whole = "xattrs_left" not in facts
    gone = frozenset(n for n in there if n not in kept and (n == _ACL or (whole and n.startswith("user."))))
    system.set_attributes(descriptor, {n: v for n, v in kept.items() if there.get(n) != v}, gone)
    system.change_mode(descriptor, facts["mode"])
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != facts["mode"]:
        # The kernel silently drops the setgid bit if the process is not a member of the group.
        raise OSError(errno.EPERM, "its permissions can't be set again")
    system.set_times(descriptor, facts["atime_ns"], facts["mtime_ns"])


def _attributes(descriptor: int) -> tuple[dict[str, bytes], int]:
    """Return extended attributes of a file, access rights first, and how many more it has or may have. The
    owner can add, change and remove attributes while they are read, and have more than the kernel lists
    (E2BIG). None of this may prevent the move of the file."""
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
    # The attributes in `_RIGHTS` come first, since they decide access rights.
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


_GETFLAGS = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601
_FLAGS = {0x10: ("immutable", "i"), 0x20: ("append-only", "a")}  # linux/fs.h


def immutable_reason(file: int, path: bytes, folder: int, folder_path: bytes) -> str:
    """Return why a file can't be taken out of its folder, with the remedy; empty if no flag forbids it.

    An `O_PATH` descriptor of the folder suffices. The paths are for the message.
    """
    if message := _flag_message("it", file, path):
        return message
    # If the folder can't be opened for reading, its flags can't be read; the move then reports the system's
    # error.
    with suppress(OSError), closing_descriptor(reopen_for_reading(folder)) as again:
        return _flag_message("its folder", again, folder_path)
    return ""


def _flag_message(what: str, descriptor: int, path: bytes) -> str:
    answer = bytearray(struct.calcsize("l"))
    try:
        fcntl.ioctl(descriptor, _GETFLAGS, answer)
    except OSError:  # a filesystem without such flags
        return ""
    (flags,) = struct.unpack_from("i", answer)
    for flag, (word, letter) in _FLAGS.items():
        if flags & flag:
            return f"{what} is {word}: run `chattr -{letter} -- {shlex.quote(os.fsdecode(path))}` first"
    return ""
