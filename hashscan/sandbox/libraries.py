"""Load the operator's own shared libraries into confined decoders, never into a process with rights.

The constructors of a library run when it is loaded. So the zygote only copies each file into memory, and each
decoder loads the copies after it has given up user, capabilities, network, files and programs (see
`confine.confine`). Only root can have written a file that is accepted here. It is checked when it is open and
copied at once, so that all decoders of a zygote load what was checked.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence

from hashscan.errors import UsageError
from hashscan.sandbox.protocol import LibraryFailedError
from hashscan.text import printable

LIBRARY_MAX = 256 << 20
"""Largest file of a library, in bytes."""
LIBRARIES_MAX = 16
_LINKS_MAX = 40
"""Number of symbolic links that the kernel follows at most (path_resolution(7))."""

FIRST_DESCRIPTOR = 64
"""Descriptor number of the first library's copy in the zygote and in its decoders; the others follow."""

_RUNTIME = (
    *("libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"),
    *("libpthread.so.0", "libdl.so.2", "librt.so.1"),
)
"""Libraries of the system that a library of C or C++ may need, beside that of C itself. The zygote loads
them, as a decoder can't find them any more."""


def check_library(path: str) -> None:
    """Check that only root can have written a shared library.

    Raises:
        UsageError: names the file or folder that others can change, or the problem, and the remedy.
    """
    os.close(_open_checked(path))


def copy_libraries(paths: Sequence[str]) -> None:
    """Copy checked libraries into sealed memory files, with descriptors from `FIRST_DESCRIPTOR` on.

    Also load the libraries of the system that they may need.
    """
    for place, path in enumerate(paths):
        source = _open_checked(path)
        try:
            memory = os.memfd_create("library", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            while os.sendfile(memory, source, None, LIBRARY_MAX):
                pass
        finally:
            os.close(source)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
        os.dup2(memory, FIRST_DESCRIPTOR + place, inheritable=False)
        os.close(memory)
    if paths:
        for name in _RUNTIME:
            with contextlib.suppress(OSError):
                ctypes.CDLL(name)


def load_copies(paths: Sequence[str]) -> list[ctypes.CDLL]:
    """Load the copies in their order, in a decoder, and close their descriptors. Their constructors run now.
    One finds those before it by the names that they were built with."""
    loaded = []
    for place, path in enumerate(paths):
        copy = f"/proc/self/fd/{FIRST_DESCRIPTOR + place}"
        try:
            loaded.append(ctypes.CDLL(copy))
        except OSError as error:
            raise LibraryFailedError(str(error).replace(copy, path)) from None
    for place in range(len(paths)):
        os.close(FIRST_DESCRIPTOR + place)
    return loaded


def _open_checked(path: str) -> int:
    shown = printable(path)
    if not os.path.isabs(path):
        raise UsageError(f"the library {shown} is no absolute path", advice="Write the path from / on.")
    try:
        for place in _passed(path):
            _check_owner(shown, place, os.lstat(place))
        real = os.path.realpath(path)
        # Non-blocking, because it may be a FIFO.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise UsageError(
            f"the library {shown} can't be read: {error.strerror}",
            advice="Install it there, readable for the user who runs hashscan.",
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"the library {shown} is not a regular file", advice="Name the library's file.")
        _check_owner(shown, real, status)
        if not 0 < status.st_size <= LIBRARY_MAX:
            raise UsageError(
                f"the library {shown} has {status.st_size} bytes, not 1 to {LIBRARY_MAX}",
                advice="Name the right file.",
            )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _passed(path: str) -> Iterator[str]:
    """Yield each folder and symbolic link through which an absolute path leads, and its file, from / on."""
    place, links = "/", 0
    yield place
    names = path.split("/")[::-1]
    while names:
        name = names.pop()
        if name == "..":
            place = os.path.dirname(place)
        elif name not in {"", "."}:
            inner = os.path.join(place, name)
            yield inner
            if not os.path.islink(inner):
                place = inner
                continue
            links += 1
            if links > _LINKS_MAX:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(inner)
            place = "/" if target.startswith("/") else place
            names += target.split("/")[::-1]


def _check_owner(library: str, path: str, status: os.stat_result) -> None:
    """Raise an error if others than root can change a file or a link, or replace what is in a folder.

    In a folder with the sticky bit, nobody else can replace what belongs to root.
    """
    shown = printable(path)
    if status.st_uid != 0:
        raise UsageError(
            f"the library {library} is not used: {shown} belongs to uid {status.st_uid}, not to root",
            advice=f"Whoever can change it decides what is found. If it can still be trusted: chown root "
            f"{shown}",
        )
    if stat.S_ISLNK(status.st_mode):
        return
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise UsageError(
            f"the library {library} is not used: others than root can write {shown}",
            advice=f"Whoever can change it decides what is found. If it can still be trusted: chmod go-w "
            f"{shown}",
        )
