"""Attempts of an intruder in a decoder: functions that raise OSError when refused."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import mmap
import os
import platform
import resource
import signal
import socket
import threading
from collections.abc import Callable

from hashscan.sandbox.protocol import DECODER_SOCKET, ZYGOTE_ENVIRONMENT

ZYGOTE = os.getpid()
MARKER = "HASHSCAN_TEST_MARKER"
"""Set in the worker's environment; nobody else may know it."""

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.getenv.restype = ctypes.c_char_p
PAGE = mmap.PAGESIZE
pages = mmap.mmap(-1, 2 * PAGE)
memory_address = ctypes.addressof(ctypes.c_char.from_buffer(pages))

Attempt = Callable[[int], object]


def _number(name: str) -> int:
    machine = platform.machine()
    table = {
        "x86_64": {"bpf": 321, "keyctl": 250, "clone": 56, "vfork": 58, "tgkill": 234, "execveat": 322},
        "aarch64": {"bpf": 280, "keyctl": 219, "clone": 220, "vfork": 220, "tgkill": 131, "execveat": 281},
    }
    return table[machine][name]


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _syscall(number: int, *values: int) -> int:
    return _checked(libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in values)))


def _open(path: str, flags: int) -> None:
    os.close(os.open(path, flags, 0o600))


def _close_all(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _forked(child: int) -> int:
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def _connect(family: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(address)
        except ConnectionRefusedError:
            if family == socket.AF_UNIX:
                raise
            # It got through to where nobody listens.


def _connect_abstract() -> None:
    # Landlock looks only at a name that somebody has bound: the worker has.
    _connect(socket.AF_UNIX, f"\0{listener}")


listener = "not set"
"""An abstract name the worker listens at."""


def _thread() -> None:
    try:
        thread = threading.Thread(target=int)
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EPERM, str(error)) from error
    thread.join()


def _environment() -> None:
    known = dict(os.environ)
    for name, value in ZYGOTE_ENVIRONMENT.items():
        assert known.pop(name) == value
    # The interpreter's own, when it finds itself in the C locale.
    known.pop("LC_CTYPE", None)
    if not known and libc.getenv(MARKER.encode()) is None and libc.getenv(b"PATH") is None:
        raise OSError(errno.ENOENT, "nothing in the environment")


def _descriptors(passed: int) -> None:
    for descriptor in range(1024):
        if descriptor in (passed, DECODER_SOCKET):
            continue
        try:
            os.lseek(descriptor, 0, os.SEEK_CUR)
        except OSError as error:
            if error.errno == errno.EBADF:
                continue
        return
    raise OSError(errno.EBADF, "none but its own")


def _raise_limits() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise OSError(errno.EPERM, str(error)) from error


def _pass_descriptor(passed: int) -> None:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=DECODER_SOCKET)
    try:
        channel.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [passed]))])
    finally:
        channel.detach()


def _mmap(descriptor: int, protection: int, flags: int) -> None:
    address = libc.mmap(None, PAGE, protection, flags, descriptor, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")


def _clone3() -> int:
    # struct clone_args up to CLONE_ARGS_SIZE_VER0, with nothing but exit_signal
    arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    return _forked(_syscall(435, ctypes.addressof(arguments), ctypes.sizeof(arguments)))


READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

ATTEMPTS: dict[str, Attempt] = {
    "open to read": lambda fd: _open("/etc/passwd", os.O_RDONLY),
    "open to write": lambda fd: _open(f"/tmp/{listener}", os.O_WRONLY | os.O_CREAT),
    "open the environment": lambda fd: _open("/proc/self/environ", os.O_RDONLY),
    "open a device": lambda fd: _open("/dev/null", os.O_RDWR),
    "stat a path": lambda fd: os.stat("/etc/passwd"),
    "list a folder": lambda fd: os.listdir("/"),
    "read a link": lambda fd: os.readlink("/proc/self/exe"),
    "remove": lambda fd: os.unlink(f"/tmp/{listener}"),
    "connect to the network": lambda fd: _connect(socket.AF_INET, ("127.0.0.1", 9)),
    "connect to a path": lambda fd: _connect(socket.AF_UNIX, "/run/hashscan-attempt"),
    "connect to an abstract name": lambda fd: _connect_abstract(),
    "make a pair of sockets": lambda fd: _close_all(*(one.detach() for one in socket.socketpair())),
    "make a pipe": lambda fd: _close_all(*os.pipe()),
    "fork": lambda fd: _forked(os.fork()),
    "vfork": lambda fd: _syscall(_number("vfork"), signal.SIGCHLD | 0x4000, 0, 0, 0, 0),
    "clone": lambda fd: _forked(_syscall(_number("clone"), signal.SIGCHLD, 0, 0, 0, 0)),
    "clone3": lambda fd: _clone3(),
    "start a thread": lambda fd: _thread(),
    "exec": lambda fd: os.execv("/bin/true", ["true"]),
    "exec by descriptor": lambda fd: _syscall(_number("execveat"), fd, memory_address, 0, 0, 0x1000),
    "signal its parent": lambda fd: os.kill(ZYGOTE, 0),
    "signal init": lambda fd: os.kill(1, 0),
    "signal a thread of its parent": lambda fd: _syscall(_number("tgkill"), ZYGOTE, ZYGOTE, 0),
    "hold its parent by pidfd": lambda fd: os.close(os.pidfd_open(ZYGOTE)),
    "ptrace": lambda fd: _checked(libc.ptrace(0, 0, 0, 0)),
    "read the environment": lambda fd: _environment(),
    "find a descriptor": _descriptors,
    "raise its limits": lambda fd: _raise_limits(),
    "become root": lambda fd: os.setuid(0),
    "become root's groups": lambda fd: os.setgroups([0]),
    "map executable memory": lambda fd: _mmap(-1, READ_WRITE | mmap.PROT_EXEC, ANONYMOUS),
    "make memory executable": lambda fd: _checked(
        libc.mprotect(ctypes.c_void_p(memory_address + PAGE), PAGE, mmap.PROT_READ | mmap.PROT_EXEC)
    ),
    "map the file": lambda fd: _mmap(fd, mmap.PROT_READ, mmap.MAP_PRIVATE),
    "change the file's flags": lambda fd: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK),
    "lock the file": lambda fd: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB),
    "duplicate the file": lambda fd: os.close(os.dup(fd)),
    "set up an io_uring": lambda fd: _syscall(425, 1, memory_address),
    "load a bpf program": lambda fd: _syscall(_number("bpf"), 0, memory_address, 64),
    "read the keyring": lambda fd: _syscall(_number("keyctl"), 0, -3, 0),
    "unshare": lambda fd: _checked(libc.unshare(0x10000000)),
    "mount": lambda fd: _checked(libc.mount(b"none", b"/nonexistent", b"tmpfs", 0, None)),
    "chroot": lambda fd: os.chroot("/"),
    "make a memory file": lambda fd: os.close(os.memfd_create("attempt")),
    "pass a descriptor": _pass_descriptor,
    "write to its socket as a file": lambda fd: os.write(DECODER_SOCKET, b"x"),
    "become dumpable": lambda fd: _checked(libc.prctl(4, 1, 0, 0, 0)),
    "outlive its parent": lambda fd: _checked(libc.prctl(1, 0, 0, 0, 0)),
    "change its affinity": lambda fd: os.sched_setaffinity(0, {0}),
}

if platform.machine() == "x86_64":
    # getpid by the numbers of x32, a second table of system calls in the same kernel
    ATTEMPTS["call by another table"] = lambda fd: _syscall(0x40000000 | 39)
