"""A customer who changes files between two scans, so that as little as possible tells of it.

    python -m tests.cli.ctime_attacker INSIDE OUTSIDE EVIL SLOW

It makes a file for each attack in INSIDE, writes their names to standard output as JSON, and waits for a
line. Then it changes each file's content to that of EVIL, sets mtimes back, and writes the names again.
OUTSIDE is on the same filesystem and not scanned. SLOW is a file of which reading ends only between the two
scans; empty where there is none.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from hashscan.sources.filesystem.ctime import TYPES_TRUSTED_BY_OPTION
from hashscan.sources.filesystem.mounts import filesystem_type

NOBODY = 65534
PAGE = mmap.PAGESIZE
ZEROS_AT = 8 * PAGE
"""Offset of a page of zeros in the listed content."""

_FICLONE = 0x40049409
_PUNCH, _KEEP_SIZE = 2, 1
_MREMAP_MAYMOVE = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
_libc.write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_libc.write.restype = ctypes.c_ssize_t
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
_libc.splice.argtypes = (
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_long)),
    *(ctypes.c_size_t, ctypes.c_uint),
)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = (ctypes.c_long, *(ctypes.c_void_p,) * 6)
_FAILED = ctypes.c_void_p(-1).value

Strike = Callable[[], object]


class NotPossibleError(Exception):
    """This machine or filesystem doesn't do what an attack needs."""


def mapped(
    descriptor: int, size: int, protection: int = mmap.PROT_READ | mmap.PROT_WRITE, at: int = 0
) -> int:
    """The address of a new shared mapping of a file."""
    address: int | None = _libc.mmap(None, size, protection, mmap.MAP_SHARED, descriptor, at)
    if address is None or address == _FAILED:
        raise NotPossibleError(os.strerror(ctypes.get_errno()))
    return address


class Ring:
    """An io_uring for one request at a time (io_uring(7)), with a file and a buffer that stay registered."""

    _SETUP, _ENTER, _REGISTER = 425, 426, 427
    _READ_FIXED, _WRITE = 4, 23

    def __init__(self) -> None:
        params = ctypes.create_string_buffer(120)
        self._ring = _libc.syscall(self._SETUP, 4, params, *(None,) * 4)
        if self._ring < 0:
            raise NotPossibleError(os.strerror(ctypes.get_errno()))
        fields = struct.unpack("<30I", params.raw)
        self._tail, self._mask, self._array = fields[11], fields[12], fields[16]
        self._queue = mmap.mmap(self._ring, fields[16] + 4 * fields[0] + 64, offset=0)
        self._entries = mmap.mmap(self._ring, 64 * fields[0], offset=0x10000000)

    def _register(self, code: int, argument: object, count: int) -> None:
        if _libc.syscall(self._REGISTER, self._ring, code, argument, count, None, None) < 0:
            raise NotPossibleError(os.strerror(ctypes.get_errno()))

    def register_file(self, descriptor: int) -> None:
        self._register(2, (ctypes.c_int * 1)(descriptor), 1)

    def register_buffer(self, address: int, size: int) -> None:
        self._register(0, ctypes.create_string_buffer(struct.pack("<QQ", address, size), 16), 1)

    def _run(self, code: int, flags: int, descriptor: int, address: int, size: int) -> None:
        entry = struct.pack(
            "<BBHiQQIIQHHIQQ", code, flags, 0, descriptor, 0, address, size, 0, 0, 0, 0, 0, 0, 0
        )
        tail = struct.unpack_from("<I", self._queue, self._tail)[0]
        place = tail & struct.unpack_from("<I", self._queue, self._mask)[0]
        self._entries[64 * place : 64 * place + 64] = entry
        struct.pack_into("<I", self._queue, self._array + 4 * place, place)
        struct.pack_into("<I", self._queue, self._tail, tail + 1)
        assert _libc.syscall(self._ENTER, self._ring, 1, 1, 1, None, None) == 1

    def write(self, content: bytes) -> None:
        """Write to the registered file."""
        buffer = ctypes.create_string_buffer(content, len(content))
        self._run(self._WRITE, 1, 0, ctypes.addressof(buffer), len(content))

    def read_into_buffer(self, source: int, address: int, size: int) -> None:
        """Read into the registered buffer, which may not be mapped any more."""
        self._run(self._READ_FIXED, 0, source, address, size)


class Child:
    """Another process that does something now, and something with the outcome later."""

    def __init__(self, now: Callable[[], int], later: Callable[[int], None]) -> None:
        done, doing = os.pipe()
        self._waits, self._goes = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._goes)
            outcome = now()
            os.write(doing, b".")
            os.read(self._waits, 1)
            later(outcome)
            os._exit(0)
        os.close(self._waits)
        os.close(doing)
        assert os.read(done, 1)
        os.close(done)

    def go_on(self) -> None:
        os.close(self._goes)
        os.waitpid(self._process, 0)


class Customer:
    """The attacks; each makes a file and returns what changes it later."""

    def __init__(self, inside: Path, outside: Path, evil: Path, slow: str) -> None:
        self.inside, self.outside, self.evil_path, self.slow = inside, outside, evil, slow
        self.evil = evil.read_bytes()
        self.size = len(self.evil)

    def make(self, path: Path, content: bytes | None = None) -> Path:
        path.write_bytes(os.urandom(self.size) if content is None else content)
        return path

    def dirty(self, path: Path) -> int:
        """Map a file and touch each of its pages, so that none makes a fault when it is written to again."""
        descriptor = os.open(path, os.O_RDWR)
        address = mapped(descriptor, self.size)
        os.close(descriptor)
        for place in range(address, address + self.size, PAGE):
            byte = ctypes.string_at(place, 1)
            ctypes.memmove(place, byte, 1)
        return address

    def put(self, address: int) -> None:
        ctypes.memmove(address, self.evil, self.size)

    def mapping_kept(self, path: Path) -> Strike:
        address = self.dirty(self.make(path))
        return lambda: self.put(address)

    def mapping_renewed(self, path: Path) -> Strike:
        """Moved to another address before it is written to."""
        address = self.dirty(self.make(path))

        def strike() -> None:
            moved = _libc.mremap(address, self.size, 2 * self.size, _MREMAP_MAYMOVE)
            assert moved != _FAILED
            self.put(moved)

        return strike

    def mapping_copied(self, path: Path) -> Strike:
        """A second mapping of the same pages, made out of the first without the file; the first goes."""
        address = self.dirty(self.make(path))
        second = _libc.mremap(address, 0, self.size, _MREMAP_MAYMOVE)
        assert second not in (None, _FAILED)
        _libc.munmap(address, self.size)
        return lambda: self.put(second)

    def mapping_of_a_child(self, path: Path) -> Strike:
        """A child has it, and nobody has the file open."""
        self.make(path)
        child = Child(lambda: self.dirty(path), self.put)
        return child.go_on

    def mapping_through_a_hard_link(self, path: Path) -> Strike:
        other = self.make(self.outside / path.name)
        os.link(other, path)
        address = self.dirty(other)
        return lambda: self.put(address)

    def mapping_before_a_rename(self, path: Path) -> Strike:
        other = self.make(self.outside / path.name)
        address = self.dirty(other)
        other.rename(path)
        return lambda: self.put(address)

    def mapping_made_writable(self, path: Path) -> Strike:
        """Mapped for reading, through a descriptor that may write; made writable only in the end."""
        self.make(path)
        descriptor = os.open(path, os.O_RDWR)
        address = mapped(descriptor, self.size, mmap.PROT_READ)
        os.close(descriptor)

        def strike() -> None:
            assert _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(self.size), 3) == 0
            self.put(address)

        return strike

    def mapping_of_a_later_time(self, path: Path) -> Strike:
        self.make(path)
        return lambda: self.put(self.dirty(path))

    def mapping_dirty_and_gone(self, path: Path) -> Strike:
        """Dirty pages stay in memory when the mapping goes; it comes back after the scan."""
        _libc.munmap(self.dirty(self.make(path)), self.size)
        return lambda: self.put(self.dirty(path))

    def one_long_write(self, path: Path) -> Strike:
        """One write(2) that notes the time when it begins, and goes on after the scan."""
        if not self.slow:
            raise NotPossibleError("no slow file")
        self.make(path)
        before = path.stat().st_ctime_ns

        def write() -> None:
            with open(self.slow, "rb") as source:
                address = mapped(source.fileno(), self.size, mmap.PROT_READ)
            target = os.open(path, os.O_WRONLY)
            # It stops at the first page of what it writes.
            assert _libc.write(target, address, self.size) == self.size

        child = os.fork()
        if child == 0:
            write()
            os._exit(0)
        # The write has begun once the time has changed.
        while path.stat().st_ctime_ns == before:
            os.sched_yield()
        return lambda: os.waitpid(child, 0)

    def direct_write(self, path: Path) -> Strike:
        self.make(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_DIRECT)
        except OSError as error:
            raise NotPossibleError(str(error)) from error
        memory = mmap.mmap(-1, self.size)
        memory[:] = self.evil
        return lambda: os.pwrite(descriptor, memory, 0)

    def descriptor_kept(self, path: Path) -> Strike:
        descriptor = os.open(self.make(path), os.O_RDWR)
        return lambda: os.pwrite(descriptor, self.evil, 0)

    def descriptor_in_flight(self, path: Path) -> Strike:
        """Hold the descriptor in a socket, where no process has it open."""
        descriptor = os.open(self.make(path), os.O_RDWR)
        one, other = socket.socketpair()
        socket.send_fds(one, [b"."], [descriptor])
        os.close(descriptor)

        def strike() -> None:
            _, (received,), _, _ = socket.recv_fds(other, 1, 1)
            os.pwrite(received, self.evil, 0)

        return strike

    def io_uring_file(self, path: Path) -> Strike:
        ring = Ring()
        descriptor = os.open(self.make(path), os.O_RDWR)
        ring.register_file(descriptor)
        os.close(descriptor)
        return lambda: ring.write(self.evil)

    def io_uring_buffer(self, path: Path) -> Strike:
        """The file's pages as a buffer of io_uring's, with no mapping left."""
        ring = Ring()
        self.make(path)
        address = self.dirty(path)
        ring.register_buffer(address, self.size)
        _libc.munmap(address, self.size)
        source = os.open(self.evil_path, os.O_RDONLY)
        return lambda: ring.read_into_buffer(source, address, self.size)

    def spliced_from_a_pipe(self, path: Path) -> Strike:
        descriptor = os.open(self.make(path), os.O_RDWR)
        reading, writing = os.pipe()
        fcntl.fcntl(writing, 1031, self.size)  # F_SETPIPE_SZ
        os.write(writing, self.evil)

        def strike() -> None:
            left, offset = self.size, ctypes.c_long(0)
            while left:
                moved = _libc.splice(reading, None, descriptor, ctypes.byref(offset), left, 1)
                assert moved > 0
                left -= moved

        return strike

    def hole_punched(self, path: Path) -> Strike:
        content = bytearray(self.evil)
        content[ZEROS_AT : ZEROS_AT + PAGE] = os.urandom(PAGE)
        self.make(path, bytes(content))

        def strike() -> None:
            descriptor = os.open(path, os.O_RDWR)
            if _libc.fallocate(descriptor, _PUNCH | _KEEP_SIZE, ZEROS_AT, PAGE) != 0:
                os.pwrite(descriptor, self.evil, 0)
            os.close(descriptor)

        return strike

    def cloned(self, path: Path) -> Strike:
        self.make(path)
        other = self.make(self.outside / path.name, self.evil)

        def strike() -> None:
            with path.open("r+b") as target, other.open("rb") as source:
                try:
                    fcntl.ioctl(target, _FICLONE, source.fileno())
                except OSError as error:
                    if error.errno not in {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV}:
                        raise
                    os.pwrite(target.fileno(), self.evil, 0)

        return strike

    def extents_exchanged(self, path: Path) -> Strike:
        """XFS gives each of two files the content of the other (xfs_swapext(2))."""
        self.make(path)
        other = self.make(self.outside / path.name, self.evil)
        times = path.stat()

        def strike() -> None:
            with path.open("r+b") as target, other.open("r+b") as source:
                for file in (target, source):
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                _exchange_extents(target.fileno(), source.fileno(), times)

        if not _is_xfs(path):
            raise NotPossibleError("not XFS")
        return strike

    def other_file_renamed_over(self, path: Path) -> Strike:
        self.make(path)
        other = self.make(self.outside / path.name, self.evil)
        return lambda: other.rename(path)


def _is_xfs(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return filesystem_type(descriptor) == TYPES_TRUSTED_BY_OPTION["xfs"]
    finally:
        os.close(descriptor)


def _exchange_extents(target: int, source: int, times: os.stat_result) -> None:
    """Call XFS_IOC_SWAPEXT with `struct xfs_swapext`, whose last part is the status that the target has."""
    status = struct.pack(
        "<QHHIIIi4xqqi4xqi4xqi4x48x",
        *(times.st_ino, 0, 0, 0, 0, 0, 0, times.st_size, 0, 0),
        *(times.st_mtime_ns // 10**9, times.st_mtime_ns % 10**9),
        *(times.st_ctime_ns // 10**9, times.st_ctime_ns % 10**9),
    )
    request = struct.pack("<qqqqq16x", 0, target, source, 0, times.st_size) + status
    fcntl.ioctl(target, 3 << 30 | len(request) << 16 | ord("X") << 8 | 109, request)


ATTACKS = (
    Customer.mapping_kept,
    Customer.mapping_renewed,
    Customer.mapping_copied,
    Customer.mapping_of_a_child,
    Customer.mapping_through_a_hard_link,
    Customer.mapping_before_a_rename,
    Customer.mapping_made_writable,
    Customer.mapping_of_a_later_time,
    Customer.mapping_dirty_and_gone,
    Customer.one_long_write,
    Customer.direct_write,
    Customer.descriptor_kept,
    Customer.descriptor_in_flight,
    Customer.io_uring_file,
    Customer.io_uring_buffer,
    Customer.spliced_from_a_pipe,
    Customer.hole_punched,
    Customer.cloned,
    Customer.extents_exchanged,
    Customer.other_file_renamed_over,
)


def main(inside: Path, outside: Path, evil: Path, slow: str) -> None:
    # The interpreter may lie where only root may start it.
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    customer = Customer(inside, outside, evil, slow)
    strikes: dict[Path, Strike] = {}
    impossible = {}
    for attack in ATTACKS:
        path = inside / attack.__name__
        try:
            strikes[path] = attack(customer, path)
        except NotPossibleError as error:
            impossible[path.name] = str(error)
            path.unlink(missing_ok=True)
    say([[path.name for path in strikes], impossible])
    sys.stdin.readline()
    for path, strike in strikes.items():
        times = path.stat()
        strike()
        if path.stat().st_mtime_ns != times.st_mtime_ns:
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert path.read_bytes() == customer.evil, path
    say([path.name for path in strikes])
    # Mappings are kept until it is ended.
    sys.stdin.readline()


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
