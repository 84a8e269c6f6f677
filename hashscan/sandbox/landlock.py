"""Restrict this process with Landlock: remove all rights to open files or sockets and to send signals.

The interface is that of linux/landlock.h and the kernel's userspace-api/landlock page.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import NamedTuple

from hashscan.sandbox.libc import syscall

# The numbers are the same on every architecture, like those of all system calls since Linux 5.1.
_CREATE_RULESET = 444
_RESTRICT_SELF = 446
_ASK_VERSION = 1


class _RulesetAttributes(ctypes.Structure):
    _fields_ = [("filesystem", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64)]


class Rights(NamedTuple):
    """All rights that this kernel can remove, as bit masks."""

    version: int
    """The ABI version the kernel reports."""
    filesystem: int
    network: int
    """Network rights; 0 before ABI version 4."""
    scopes: int
    """Abstract sockets and signals; 0 before ABI version 6."""


def _create(filesystem: int, network: int, scopes: int) -> int:
    attributes = _RulesetAttributes(filesystem, network, scopes)
    return syscall(_CREATE_RULESET, ctypes.addressof(attributes), ctypes.sizeof(attributes), 0)


def _handled(filesystem: int = 0, network: int = 0, scopes: int = 0) -> bool:
    try:
        os.close(_create(filesystem, network, scopes))
    except OSError as error:
        # EINVAL: the bit is unknown. E2BIG: the kernel's structure ends before this field.
        if error.errno in (errno.EINVAL, errno.E2BIG):
            return False
        raise
    return True


def supported_rights() -> Rights:
    """Ask the kernel bit by bit which rights it can remove.

    A table of versions would leave out rights that kernels learn after it was written. No right that can be
    removed without a rule is useful to a decoder.

    Raises:
        OSError: the kernel has no Landlock (ENOSYS), or it is not switched on (EOPNOTSUPP).
    """
    version = syscall(_CREATE_RULESET, 0, 0, _ASK_VERSION)
    bits = [1 << position for position in range(64)]
    return Rights(
        version,
        filesystem=sum(bit for bit in bits if _handled(filesystem=bit)),
        network=sum(bit for bit in bits if _handled(network=bit)),
        scopes=sum(bit for bit in bits if _handled(scopes=bit)),
    )


def restrict(rights: Rights) -> None:
    """Deny this thread all of `rights`, permanently; PR_SET_NO_NEW_PRIVS must be set before.

    Raises:
        OSError: the kernel refused.
    """
    ruleset = _create(rights.filesystem, rights.network, rights.scopes)
    try:
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
