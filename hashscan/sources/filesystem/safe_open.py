"""Open a path beneath a folder's descriptor, without following a symlink or entering another user's FUSE."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from hashscan.sources.filesystem.mounts import refuse_foreign_mount, seen

FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Flags to read a file. If a FIFO or a terminal is put in its place, it can neither block this process nor
become its controlling terminal."""

LIST_FLAGS = FILE_FLAGS | os.O_DIRECTORY

PASS_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to pass through a folder: this needs the right to search it, not to list it. The kernel refuses
O_NONBLOCK and O_NOCTTY together with O_PATH, which runs no driver's open function and so can't block."""

EXAMINE_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to examine anything: nothing is opened, whatever it is, and a symlink is not followed."""

_AGAIN_FLAGS = FILE_FLAGS & ~os.O_NOFOLLOW
_own = -1
"""A descriptor of this process's /proc/self/fd; below 0 if none is open."""

_OPENAT2 = 437  # on all architectures but MIPS and Alpha, where it fails and we go step by step
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08  # linux/openat2.h
_RESOLVE = _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS | _NO_XDEV

_LONGEST = 4000  # bytes in one call; the kernel accepts 4095
_EINTR_TRIES = 100
# If somebody holds a lease on a file, opening it fails with EAGAIN until the lease is released. Honest
# holders (file servers) release it within milliseconds. Others must not be able to slow the scan down.
EAGAIN_PAUSES = (0.0, 0.005, 0.01, 0.02, 0.04)


class _OpenHow(ctypes.Structure):
    """The C structure `struct open_how` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


# CDLL objects don't share their functions, so these argument types apply here only. errno is kept per thread.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_long,
    ctypes.c_char_p,
    ctypes.POINTER(_OpenHow),
    ctypes.c_size_t,
)
_libc.syscall.restype = ctypes.c_long


def open_child(folder: int, name: bytes, flags: int) -> int:
    """Open one name in a folder; don't follow a symlink.

    Args:
        name: one path component, neither `.` nor `..`.
        flags: one of the constants of this module.

    Returns:
        A new descriptor. With EXAMINE_FLAGS and PASS_FLAGS it may be the root of a foreign FUSE;
        `refuse_foreign_mount` and `seen` detect that.

    Raises:
        ForeignMountError: another user's FUSE is mounted there, and it was to be opened.
        OSError: as openat(2); ELOOP or ENOTDIR for a symlink, except with EXAMINE_FLAGS.
    """
    if name in {b"", b".", b".."} or b"/" in name:
        raise ValueError(f"not a name in a folder: {name!r}")
    if flags & os.O_PATH:
        return _open_step(folder, name, flags)
    if _has_openat2():
        try:
            return _openat2(folder, name, flags)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    return _enter_step(folder, name, flags)


def stat_child(folder: int, name: bytes) -> os.stat_result:
    """Return the lstat result for one name in a folder.

    Raises:
        ForeignMountError: another user's FUSE is mounted there.
        OSError: as fstatat(2).
    """
    found = open_child(folder, name, EXAMINE_FLAGS)
    try:
        refuse_foreign_mount(found, seen(folder))
        return os.fstat(found)
    finally:
        os.close(found)


@contextmanager
def closing_descriptor(descriptor: int) -> Iterator[int]:
    """Yield a descriptor, and close it when the block ends."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def reopen_for_reading(descriptor: int) -> int:
    """Open for reading what was opened with O_PATH only.

    Args:
        descriptor: of a regular file or a folder, opened with EXAMINE_FLAGS or PASS_FLAGS.

    Raises:
        OSError: as open(2); ENOENT if there is no /proc, EAGAIN if a lease is held on the file.
    """
    # The kernel goes by the descriptor that this link stands for; no name of a customer's is looked up.
    return os.open(b"%d" % descriptor, _AGAIN_FLAGS, dir_fd=own_descriptors())


def own_descriptors() -> int:
    """Return a descriptor of /proc/self/fd.

    It is kept open: from there a file is opened in 4.1 us, by its path from the root in 5.4.
    """
    global _own  # noqa: PLW0603
    if _own < 0:
        _own = os.open("/proc/self/fd", PASS_FLAGS & ~os.O_NOFOLLOW)
    return _own


def _forget_own() -> None:
    """Forget the descriptor in a forked child, where it leads to the descriptors of its parent."""
    global _own  # noqa: PLW0603
    _own = -1


os.register_at_fork(after_in_child=_forget_own)


def open_beneath(root: int, path: bytes, flags: int) -> int:
    """Open a path (components joined by single slashes, without `.` and `..`; empty for the folder itself)
    beneath an open folder; follow no symlink, and enter no foreign FUSE (ForeignMountError)."""
    if _has_openat2():
        try:
            return open_by_openat2(root, path, flags)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    return open_by_steps(root, path, flags)


def open_absolute(path: bytes, flags: int) -> int:
    """Open an absolute path that contains no symlink.

    Raises:
        OSError: as `open_beneath`.
    """
    if not path.startswith(b"/"):
        raise ValueError(f"not an absolute path: {path!r}")
    top = os.open(b"/", PASS_FLAGS)
    try:
        return open_beneath(top, path[1:], flags)
    finally:
        os.close(top)


def stat_absolute(path: bytes) -> os.stat_result:
    """As lstat of an absolute path in whose folders no link is followed.

    Raises:
        ForeignMountError: it leads into another user's FUSE.
        OSError: as `open_beneath`.
        ValueError: it isn't plain and absolute.
    """
    descriptor = open_absolute(path, EXAMINE_FLAGS)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def open_by_openat2(root: int, path: bytes, flags: int) -> int:
    """Open a path as `open_beneath` does, with openat2(2); only a very long path needs several calls."""
    _require_plain_path(path)
    return _open_pieces(root, _long_pieces(path), flags, _openat2)


def open_by_steps(root: int, path: bytes, flags: int) -> int:
    """Open a path as `open_beneath` does, with one openat(2) per component.

    This works across mounts, and on kernels without openat2.
    """
    _require_plain_path(path)
    return _open_pieces(root, iter(path.split(b"/")), flags, _enter_step)


def _require_plain_path(path: bytes) -> None:
    """Reject paths that the kernel would interpret differently from this module."""
    framed = b"/" + path + b"/"
    if path and (b"//" in framed or b"/./" in framed or b"/../" in framed or b"\0" in path):
        raise ValueError(f"not a plain path beneath a folder: {path[:200]!r}")


def _long_pieces(path: bytes) -> Iterator[bytes]:
    """Split a path between components into pieces that fit into one call."""
    start = 0
    while len(path) - start > _LONGEST:
        cut = path.rfind(b"/", start, start + _LONGEST + 1)
        if cut < 0:  # longer than any file system allows; leave the error to the kernel
            break
        yield path[start:cut]
        start = cut + 1
    yield path[start:]


def _open_pieces(
    root: int, pieces: Iterator[bytes], flags: int, open_piece: Callable[[int, bytes, int], int]
) -> int:
    """Open the pieces of a path one after another, the last with `flags`; hold at most two descriptors."""
    current = root
    piece = next(pieces)
    try:
        for following in pieces:
            deeper = open_piece(current, piece, PASS_FLAGS)
            if current != root:
                os.close(current)
            current, piece = deeper, following
        return open_piece(current, piece or b".", flags)
    finally:
        if current != root:
            os.close(current)


def _open_step(folder: int, name: bytes, flags: int) -> int:
    for pause in EAGAIN_PAUSES:
        try:
            return os.open(name, flags, dir_fd=folder)
        except BlockingIOError:
            time.sleep(pause)
    return os.open(name, flags, dir_fd=folder)


def _enter_step(folder: int, name: bytes, flags: int) -> int:
    """Open one name in a folder, unless it is the root of a foreign FUSE."""
    if name == b".":
        return _open_step(folder, name, flags)
    # Opening a folder makes the kernel call the FUSE server; opening with these flags doesn't.
    first = flags if flags & os.O_PATH else (PASS_FLAGS if flags & os.O_DIRECTORY else EXAMINE_FLAGS)
    found = _open_step(folder, name, first)
    try:
        refuse_foreign_mount(found, seen(folder))
        if first == flags:
            return found
        if flags & os.O_DIRECTORY:
            opened = _open_step(found, b".", flags)
        elif stat.S_ISLNK(seen(found).mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        else:
            opened = _open_step(own_descriptors(), b"%d" % found, _AGAIN_FLAGS)
    except BaseException:
        os.close(found)
        raise
    os.close(found)
    return opened


def _openat2(folder: int, path: bytes, flags: int) -> int:
    how = ctypes.byref(_how(flags))
    interruptions = 0
    pauses = iter(EAGAIN_PAUSES)
    while True:
        descriptor: int = _libc.syscall(_OPENAT2, folder, path, how, ctypes.sizeof(_OpenHow))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number == errno.EINTR and interruptions < _EINTR_TRIES:
            interruptions += 1
        elif number == errno.EAGAIN and (pause := next(pauses, None)) is not None:
            time.sleep(pause)
        else:
            raise OSError(number, os.strerror(number))


@lru_cache(maxsize=8)
def _how(flags: int) -> _OpenHow:
    """Return the cached `open_how`; the kernel only reads it, so threads may share it."""
    return _OpenHow(flags, 0, _RESOLVE)


@lru_cache(maxsize=1)
def _has_openat2() -> bool:
    """Return True if openat2 works, by a call that can't fail otherwise.

    Old kernels answer ENOSYS; the system call filters of containers may also answer EPERM.
    """
    top = os.open(b"/", PASS_FLAGS)
    try:
        os.close(_openat2(top, b".", PASS_FLAGS))
    except OSError:
        return False
    finally:
        os.close(top)
    return True
