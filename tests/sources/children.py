"""Runs parts of tests in forked children, where users, mounts and failing system calls can be real."""

from __future__ import annotations

import ctypes
import os
import pickle
import platform
import struct
import traceback
from collections.abc import Callable
from typing import TypeVar

import pytest

NOBODY = 65534
T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {  # getdents64, openat2
    "x86_64": (217, 437),
    "aarch64": (61, 437),
    "riscv64": (61, 437),
}
GETDENTS64, OPENAT2 = _NUMBERS.get(platform.machine(), (0, 0))

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may do this: mounts, devices, other owners"
)
needs_numbers = pytest.mark.skipif(
    not OPENAT2, reason="system call numbers of this architecture not known here"
)


def in_child(function: Callable[[], T], *, as_nobody: bool = False) -> T:
    """Run a function in a forked child and hand back what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            if as_nobody and os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            answer = pickle.dumps((True, function()))
        except BaseException:
            answer = pickle.dumps((False, traceback.format_exc()))
        with os.fdopen(writing, "wb") as stream:
            stream.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    well, value = pickle.loads(answer)
    if not well:
        pytest.fail(value)
    result: T = value
    return result


def fail_call(number: int, error: int) -> None:
    """Make a system call fail in this process from now on (a seccomp filter; it can't be taken back)."""
    instructions = (
        (0x20, 0, 0, 0),  # load the call's number
        (0x15, 0, 1, number),  # if it is not this one, skip
        (0x06, 0, 0, 0x00050000 | error),  # fail
        (0x06, 0, 0, 0x7FFF0000),  # allow
    )
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    program = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(program))
    assert _libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert _libc.prctl(22, 2, ctypes.c_char_p(header)) == 0  # PR_SET_SECCOMP


def own_mounts() -> None:
    """Give this process mounts of its own; needs root."""
    assert _libc.unshare(0x00020000) == 0, os.strerror(ctypes.get_errno())  # CLONE_NEWNS
    assert _libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # MS_REC | MS_PRIVATE


def mount(kind: bytes, source: bytes, where: bytes, *, bind: bool = False, data: bytes | None = None) -> None:
    """Mount something, after `own_mounts`."""
    done = _libc.mount(source, where, kind, 0x1000 if bind else 0, data)
    assert done == 0, os.strerror(ctypes.get_errno())
