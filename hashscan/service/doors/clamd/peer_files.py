"""Open the files that a local client names, with the client's own rights.

The service may read files that its clients may not, and its answers would say what these contain. So a thread
of its own opens them, as the client: before it opens anything, it takes the client's groups and user id for
access to files, and gives up its capabilities, by system calls that concern this thread alone; it never takes
them back, and ends with the request. The kernel then decides, at the moment of opening, by modes, access
lists and the folders above, so there is no check that a client could outrun by exchanging a file.

Paths are opened beneath one folder, as a scan does: no link is followed, no other user's FUSE is entered, and
nothing but regular files and folders is opened at all.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import stat
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from msgspec import Struct

from hashscan.sources.filesystem.mounts import refuse_foreign_mount, seen
from hashscan.sources.filesystem.safe_open import (
    EXAMINE_FLAGS,
    closing_descriptor,
    open_absolute,
    open_child,
    reopen_for_reading,
)

_DEPTH_MAX = 32
_AHEAD = 8  # files that are open and wait for their check
_PATH_MAX = 4096
_CAPABILITY_VERSION = 0x20080522  # linux/capability.h
_UNCHANGED = 0xFFFFFFFF
_UNKNOWN_USER = 65534
"""User id that a user namespace shows for ids without a mapping; elsewhere, that of `nobody`."""

# linux/capability.h and asm/unistd.h: by machine, the numbers of setgroups, setfsgid, setfsuid and capset.
_CALLS = {"x86_64": (116, 123, 122, 126), "aarch64": (159, 152, 151, 91), "riscv64": (159, 152, 151, 91)}
_libc = ctypes.CDLL(None, use_errno=True)


class Peer(Struct, frozen=True):
    """The client of a Unix socket, as of when it connected."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class PeerFile(Struct, frozen=True):
    """One file that a client has named, or that is in a folder which it has named."""

    path: bytes
    descriptor: int
    """Open for reading; -1 if it can't be opened."""
    uid: int = -1
    """User id of the file's owner; -1 if it can't be opened."""
    problem: str = ""
    """The reason why it can't be opened, in clamd's own words."""


async def peer_files(peer: Peer, path: bytes) -> AsyncGenerator[PeerFile]:
    """Yield a file, or all files beneath a folder, opened as the client; the caller closes the descriptors.
    The path is as `beneath` returns it."""
    opener = _Opener(peer, path)
    opener.start()
    try:
        while (found := await opener.next()) is not None:
            yield found
    finally:
        opener.stop()


def beneath(root: Path, path: bytes) -> bytes | None:
    """Return a client's path in the plain form that can be opened, or None if it isn't beneath the root."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if not path.startswith(b"/") or b".." in parts or b"\0" in path or len(path) > _PATH_MAX:
        return None
    top = [part for part in os.fsencode(root).split(b"/") if part]
    if parts[: len(top)] != top:
        return None
    return b"/" + b"/".join(parts)


class _Opener(threading.Thread):
    """The thread that opens files as a client, some ahead of their check."""

    def __init__(self, peer: Peer, path: bytes) -> None:
        super().__init__(daemon=True, name="peer files")
        self._peer = peer
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[PeerFile | None] = asyncio.Queue()
        self._slots = threading.Semaphore(_AHEAD)
        self._stopped = False

    async def next(self) -> PeerFile | None:
        """Return the next file, or None after the last."""
        found = await self._queue.get()
        self._slots.release()
        return found

    def stop(self) -> None:
        """Open nothing more, and close what was not fetched."""
        self._stopped = True
        self._slots.release()
        while not self._queue.empty():
            self._close(self._queue.get_nowait())

    def run(self) -> None:
        """Open the files; runs in the thread."""
        try:
            become(self._peer)
        except OSError as error:
            self._put(PeerFile(self._path, -1, problem=f"Can't take the client's rights: {error.strerror}."))
        else:
            for found in opened(self._path):
                self._slots.acquire()
                self._put(found)
                if self._stopped:
                    break
        self._put(None)

    def _put(self, found: PeerFile | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._received, found)
        except RuntimeError:  # the loop has ended
            self._close(found)

    def _received(self, found: PeerFile | None) -> None:
        if self._stopped:
            self._close(found)
        else:
            self._queue.put_nowait(found)

    @staticmethod
    def _close(found: PeerFile | None) -> None:
        if found is not None and found.descriptor >= 0:
            os.close(found.descriptor)


def become(peer: Peer) -> None:
    """Give this thread the access to files that the client has; it can't be taken back.

    A client with user id 0 may read whatever this process may. A process without the right to change its
    groups and ids, CAP_SETGID and CAP_SETUID, can only serve clients that are equal to it.
    """
    if peer.uid == _UNKNOWN_USER and not _knows_all_users():
        raise OSError(errno.EPERM, "the client's user is not known in this service's user namespace")
    if peer.uid == 0:
        return
    groups = frozenset((peer.gid, *peer.groups))
    if peer.uid == os.geteuid() and groups >= {os.getegid(), *os.getgroups()}:
        return
    calls = _CALLS.get(os.uname().machine)
    if calls is None:
        raise OSError(errno.ENOSYS, "unknown kind of machine")
    setgroups, setfsgid, setfsuid, capset = calls
    _call(setgroups, len(peer.groups), (ctypes.c_uint32 * len(peer.groups))(*peer.groups))
    for number, wanted in ((setfsgid, peer.gid), (setfsuid, peer.uid)):
        _libc.syscall(ctypes.c_long(number), ctypes.c_uint32(wanted))
        # These calls report no errors, but return the id from before.
        if _libc.syscall(ctypes.c_long(number), ctypes.c_uint32(_UNCHANGED)) & _UNCHANGED != wanted:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    _call(capset, (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)())


def _knows_all_users() -> bool:
    """Return True if this process is in no user namespace with users of its own."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(_UNCHANGED)]


def _call(number: int, *arguments: object) -> None:
    if _libc.syscall(ctypes.c_long(number), *arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def opened(path: bytes) -> Iterator[PeerFile]:
    """Open a file, or each file beneath a folder in the order of names; a caller that stops closes it.

    Links and other things than files and folders are left out, unless the path itself is one.
    """
    try:
        found = open_absolute(path, EXAMINE_FLAGS)
    except OSError as error:
        yield PeerFile(path, -1, problem=f"File path check failure: {os.strerror(error.errno or 0)}.")
        return
    with closing_descriptor(found):
        yield from _opened(found, path, 0)


def _opened(found: int, path: bytes, depth: int) -> Iterator[PeerFile]:
    try:
        status = os.fstat(found)
        mode = status.st_mode
        if stat.S_ISREG(mode):
            yield PeerFile(path, reopen_for_reading(found), status.st_uid)
        elif not stat.S_ISDIR(mode):
            if not depth:
                yield PeerFile(path, -1, problem="Not supported file type")
        elif depth >= _DEPTH_MAX:
            yield PeerFile(path, -1, problem="Too many folders within each other.")
        else:
            with closing_descriptor(reopen_for_reading(found)) as folder:
                for name in sorted(os.fsencode(name) for name in os.listdir(folder)):
                    yield from _child(folder, name, path, depth)
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM)
        yield PeerFile(path, -1, problem="Access denied." if denied else f"{os.strerror(error.errno or 0)}.")


def _child(folder: int, name: bytes, path: bytes, depth: int) -> Iterator[PeerFile]:
    below = path.rstrip(b"/") + b"/" + name
    try:
        found = open_child(folder, name, EXAMINE_FLAGS)
    except FileNotFoundError:
        return
    except OSError as error:
        yield PeerFile(below, -1, problem=f"File path check failure: {os.strerror(error.errno or 0)}.")
        return
    with closing_descriptor(found):
        try:
            refuse_foreign_mount(found, seen(folder))
        except OSError:
            yield PeerFile(below, -1, problem="Not supported file type")
            return
        yield from _opened(found, below, depth + 1)
