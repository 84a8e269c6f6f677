"""Restrict this process with seccomp to the system calls that a decoding loop needs.

The filter is compiled once by libseccomp, which knows the numbers of every architecture, and installed in
each decoder by a single call. See seccomp(2) and seccomp_rule_add(3).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from typing import NamedTuple

from hashscan.sandbox.linux_process import prctl

LIBRARY = "libseccomp.so.2"

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_BAD_ARCHITECTURE = 2  # SCMP_FLTATR_ACT_BADARCH
_MASKED_EQUAL = 7  # SCMP_CMP_MASKED_EQ
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_INT = 0xFFFFFFFF

ALLOWED: tuple[str, ...] = (
    # The file and the socket; none of these calls opens anything new.
    *("read", "readv", "pread64", "preadv", "lseek", "close"),
    # Memory.
    *("brk", "munmap", "mremap", "madvise"),
    # The interpreter's lock, hash seeds, clocks.
    *("futex", "sched_yield", "getrandom", "getpid", "gettid"),
    *("clock_gettime", "clock_getres", "gettimeofday", "time"),
    # Signals to itself that the kernel sends; restart_syscall follows a stop and a continue.
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("exit", "exit_group"),
)
"""System calls allowed with any arguments."""

KILLING: tuple[str, ...] = (
    *("execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise"),
    *("kill", "tkill", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "rt_sigqueueinfo"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd"),
    *("keyctl", "add_key", "request_key", "open_by_handle_at", "memfd_secret", "fanotify_init"),
    *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fspick", "mount_setattr"),
    *("pivot_root", "chroot", "unshare", "setns", "personality", "modify_ldt", "iopl", "ioperm"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("setuid", "setreuid", "setresuid", "setgid", "setregid", "setresgid", "setgroups"),
    *("setfsuid", "setfsgid", "capset", "swapon", "swapoff", "acct", "quotactl", "syslog"),
)
"""System calls that no decoding library makes: a decoder that makes one has been taken over and is killed.

All other calls are refused with EPERM: libraries may try to query the terminal, read a configuration file or
start a thread, and work without it. A specific error is better than a lost decoder."""


class Condition(NamedTuple):
    """A condition on one argument of a call: `argument & mask == value`."""

    argument: int
    mask: int
    value: int


def conditional(socket: int) -> dict[str, tuple[Condition, ...]]:
    """Return the calls that a decoder with this socket descriptor may make if every condition holds."""
    not_executable = Condition(2, mmap.PROT_EXEC, 0)
    on_socket = Condition(0, _INT, socket)
    return {
        # Anonymous only: a scanned file that is mapped and then truncated would kill this process.
        "mmap": (not_executable, Condition(3, mmap.MAP_ANONYMOUS, mmap.MAP_ANONYMOUS)),
        "mprotect": (not_executable,),
        "recvmsg": (on_socket,),
        # Unlike sendmsg it can't pass a descriptor, and without an address it can't reach any other socket.
        "sendto": (on_socket, Condition(4, 0xFFFFFFFFFFFFFFFF, 0)),
        "sched_getaffinity": (Condition(0, _INT, 0),),
    }


LOADING: tuple[str, ...] = ("fstat", "newfstatat", "statx")
"""More system calls with any arguments, while libraries are loaded."""


def conditional_while_loading(socket: int) -> dict[str, tuple[tuple[Condition, ...], ...]]:
    """Return the conditional calls while libraries are loaded: those of any of several rules are allowed.

    They include those of `conditional`, as this filter stays in force beneath the last one. Files are opened
    for reading only, and no memory can be written and executed.
    """
    writes = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
    return {
        **{name: (rule,) for name, rule in conditional(socket).items()},
        "openat": ((Condition(2, writes, os.O_RDONLY),),),
        "open": ((Condition(1, writes, os.O_RDONLY),),),
        "mmap": ((Condition(2, mmap.PROT_EXEC, 0),), (Condition(2, mmap.PROT_WRITE, 0),)),
        # For the last filter.
        "prctl": ((Condition(0, _INT, _PR_SET_SECCOMP),),),
    }


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _load(library: str) -> ctypes.CDLL:
    loaded = ctypes.CDLL(library)
    loaded.seccomp_init.argtypes = [ctypes.c_uint32]
    loaded.seccomp_init.restype = ctypes.c_void_p
    loaded.seccomp_release.argtypes = [ctypes.c_void_p]
    loaded.seccomp_release.restype = None
    loaded.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    loaded.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    loaded.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    loaded.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return loaded


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def compile_filter(socket: int, library: str = LIBRARY, *, loading: bool = False) -> bytes:
    """Compile the filter for a decoder whose socket is descriptor `socket` into instructions of classic BPF,
    eight bytes each. It accepts only this machine's native architecture: libseccomp handles any other with
    the action for a bad architecture, so the 32-bit calls of an x86_64 kernel can't bypass the list.
    `loading` is True for the filter under which libraries are loaded, before the other is installed, too."""
    seccomp = _load(library)
    context = seccomp.seccomp_init(_REFUSE)
    if not context:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    try:
        _check(seccomp.seccomp_attr_set(context, _BAD_ARCHITECTURE, _KILL_PROCESS))

        def add(action: int, name: str, conditions: tuple[Condition, ...] = ()) -> None:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            if number == -1:
                # A call newer than the library: it stays refused.
                return
            compared = (_Comparison * len(conditions))(
                *(_Comparison(c.argument, _MASKED_EQUAL, c.mask, c.value) for c in conditions)
            )
            _check(seccomp.seccomp_rule_add_array(context, action, number, len(conditions), compared))

        for name in (*ALLOWED, *LOADING) if loading else ALLOWED:
            add(_ALLOW, name)
        rules = {name: (rule,) for name, rule in conditional(socket).items()}
        for name, several in (conditional_while_loading(socket) if loading else rules).items():
            for conditions in several:
                add(_ALLOW, name, conditions)
        for name in KILLING:
            add(_KILL_PROCESS, name)
        return _export(seccomp, context)
    finally:
        seccomp.seccomp_release(context)


def _export(seccomp: ctypes.CDLL, context: int) -> bytes:
    # A pipe holds 64 KiB; the longest program that the kernel accepts (4096 instructions) is half of that.
    reader, writer = os.pipe()
    try:
        _check(seccomp.seccomp_export_bpf(context, writer))
        return os.read(reader, 65536)
    finally:
        os.close(reader)
        os.close(writer)


def install(program: bytes) -> None:
    """Install the filter for this thread, permanently; PR_SET_NO_NEW_PRIVS must be set before."""
    instructions = ctypes.create_string_buffer(program, len(program))
    filter_program = _Program(len(program) // 8, ctypes.addressof(instructions))
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(filter_program))
