"""A filesystem of a few files in memory, of any type and with any inode numbers (fuse(4)); for root."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_ENTRY, _ATTR_HEAD = struct.Struct("<4Q2I"), struct.Struct("<Q2I")
_READ = struct.Struct("<QQI")
_DIRENT = struct.Struct("<QQII")
_FORGETS = {2, 42}
_READ_CODE = 15
_ROOT = 1
_LONGEST = 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


class SmallFile(NamedTuple):
    """One of them."""

    content: bytes
    inode: int
    seconds: int = 0
    """Times since 1970."""
    gate: threading.Event | None = None
    """Reading it waits for this."""


class _Server:
    """Answers the kernel, in a thread, until the filesystem is unmounted."""

    def __init__(self, device: int, files: Mapping[bytes, SmallFile]) -> None:
        self._device = device
        self._names = list(files)
        self._by_name = files
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def _files(self) -> list[SmallFile]:
        return [self._by_name[name] for name in self._names]

    def _run(self) -> None:
        while True:
            try:
                request = os.read(self._device, _LONGEST)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.EINTR}:
                    continue
                return
            _, code, unique, node, *_ = _IN.unpack_from(request)
            if code in _FORGETS:
                continue
            gate = self._files[node - _ROOT - 1].gate if code == _READ_CODE else None
            if gate is None:
                self._reply(code, node, unique, request)
            else:
                threading.Thread(
                    target=self._reply_behind, args=(gate, code, node, unique, request), daemon=True
                ).start()

    def _reply_behind(self, gate: threading.Event, code: int, node: int, unique: int, request: bytes) -> None:
        gate.wait()
        self._reply(code, node, unique, request)

    def _reply(self, code: int, node: int, unique: int, request: bytes) -> None:
        answer = self._answer(code, node, request[_IN.size :])
        error, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
        # Whoever asked may have gone meanwhile.
        with suppress(OSError):
            os.write(self._device, _OUT.pack(_OUT.size + len(body), error, unique) + body)

    def _answer(self, code: int, node: int, body: bytes) -> bytes | int:
        """Return the reply, or the number of an error."""
        match code:
            case 26:  # INIT
                return struct.pack("<4I2H2I2H8I", 7, 31, 1 << 17, 0, 8, 8, 4096, 1, 32, 0, *[0] * 8)
            case 1:  # LOOKUP
                name = body.rstrip(b"\0")
                if name not in self._names:
                    return errno.ENOENT
                found = self._names.index(name) + _ROOT + 1
                return _ENTRY.pack(found, 0, 0, 0, 0, 0) + self._attributes(found)
            case 3:  # GETATTR
                return _ATTR_HEAD.pack(0, 0, 0) + self._attributes(node)
            case 14 | 27:  # OPEN, OPENDIR
                return bytes(16)
            case 15:  # READ
                _, offset, size = _READ.unpack_from(body)
                return self._files[node - _ROOT - 1].content[offset : offset + size]
            case 28:  # READDIR
                _, offset, size = _READ.unpack_from(body)
                return self._folder(offset, size)
            case 17:  # STATFS
                return bytes(80)
            case 18 | 25 | 29:  # RELEASE, FLUSH, RELEASEDIR
                return b""
            case _:
                return errno.ENOSYS

    def _attributes(self, node: int) -> bytes:
        if node == _ROOT:
            return _ATTR.pack(_ROOT, 0, 0, 0, 0, 0, 0, 0, 0, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0)
        file = self._files[node - _ROOT - 1]
        times = (file.seconds,) * 3
        return _ATTR.pack(
            *(file.inode, len(file.content), 1, *times, 0, 0, 0),
            *(stat.S_IFREG | 0o644, 1, 0, 0, 0, 4096, 0),
        )

    def _folder(self, offset: int, size: int) -> bytes:
        found = b""
        for number, (name, file) in enumerate(zip(self._names, self._files, strict=True)):
            if number >= offset:
                entry = _DIRENT.pack(file.inode, number + 1, len(name), stat.S_IFREG >> 12) + name
                entry += bytes(-len(entry) % 8)
                if len(found) + len(entry) > size:
                    break
                found += entry
        return found


class _Silent(_Server):
    """Lets itself be mounted, and answers nothing else."""

    def _run(self) -> None:
        answered = False
        while True:
            try:
                request = os.read(self._device, _LONGEST)
                if not answered:
                    unique = _IN.unpack_from(request)[2]
                    body = self._answer(26, 0, b"")
                    assert isinstance(body, bytes)
                    os.write(self._device, _OUT.pack(_OUT.size + len(body), 0, unique) + body)
                    answered = True
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.EINTR}:
                    return


@contextmanager
def silent_filesystem(at: Path, user: int) -> Iterator[None]:
    """Have a filesystem mounted that never answers.

    Args:
        at: a folder or a file.
        user: who is said to have mounted it.
    """
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    mode = stat.S_IFREG | 0o644 if at.is_file() else stat.S_IFDIR | 0o755
    options = f"fd={device},rootmode={mode:o},user_id={user},group_id={user},allow_other".encode()
    if _libc.mount(b"silent", os.fsencode(at), b"fuse.silent", 0, options) != 0:
        os.close(device)
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _Silent(device, {})
    try:
        yield
    finally:
        # Whoever waits for an answer gets an error.
        _libc.umount2(os.fsencode(at), 1 | 2)  # MNT_FORCE, MNT_DETACH
        os.close(device)


@contextmanager
def small_filesystem(at: Path, kind: str, files: Mapping[bytes, SmallFile]) -> Iterator[None]:
    """Have it mounted for a while.

    Args:
        at: a folder.
        kind: what is said behind `fuse.` in the type.
        files: by their names. A name may be given another file meanwhile, of which the kernel learns nothing.
    """
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
    if _libc.mount(b"small", os.fsencode(at), b"fuse." + kind.encode(), 0, options) != 0:
        os.close(device)
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    server = _Server(device, files)
    try:
        yield
    finally:
        # By force, or the server would go on for as long as anybody had a file of it open, with a descriptor
        # that is another's by then.
        subprocess.run(["umount", "-f", "-l", at], check=True)
        server.thread.join(60)
        assert not server.thread.is_alive()
        os.close(device)
