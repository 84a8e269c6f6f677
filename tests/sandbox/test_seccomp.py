from __future__ import annotations

import ctypes
import os
import socket

import pytest

from hashscan.sandbox.linux_process import prctl
from hashscan.sandbox.seccomp import ALLOWED, KILLING, LIBRARY, compile_filter, conditional, install


def test_lists_don_t_overlap() -> None:
    names = [*ALLOWED, *conditional(3), *KILLING]
    assert len(set(names)) == len(names)
    # What is allowed at all is to stay a list one can read.
    assert len(ALLOWED) + len(conditional(3)) <= 40


def test_no_call_tells_of_a_file() -> None:
    """The glibc of some distributions makes all of them by path, so that no decoder may need one."""
    assert not {name for name in ALLOWED if "stat" in name or name.startswith("access")}


def test_library_knows_every_name() -> None:
    # A name with a spelling mistake would be left out in silence, as one that is too new.
    library = ctypes.CDLL(LIBRARY)
    names = (*ALLOWED, *conditional(3), *KILLING)
    assert [name for name in names if library.seccomp_syscall_resolve_name(name.encode()) == -1] == []


def test_program_is_within_the_kernel_s_bounds() -> None:
    program = compile_filter(3)
    assert len(program) % 8 == 0
    assert 0 < len(program) // 8 <= 4096


def test_missing_library_is_an_oserror() -> None:
    with pytest.raises(OSError, match=r"libmissing\.so\.9"):
        compile_filter(3, "libmissing.so.9")


def test_only_the_named_socket_can_be_written_to() -> None:
    """In a forked child, since there is no way back."""
    reader, writer = (one.detach() for one in socket.socketpair())
    program = compile_filter(writer)
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        prctl(38, 1)
        install(program)
        allowed = libc.send(writer, b"x", 1, 0) == 1
        refused = libc.send(reader, b"x", 1, 0) == -1 and ctypes.get_errno() == 1
        os._exit(0 if allowed and refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(reader)
    os.close(writer)
