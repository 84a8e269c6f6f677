"""Store the bytes of an object while they arrive, in memory or in a file, and open them for a worker."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator

from hashscan.errors import OutputError
from hashscan.model import FileStat, Reason
from hashscan.sources.base import FileError, OpenFile, StoredChecksum
from hashscan.sources.objects.receiver import Receiver
from hashscan.sources.objects.store import Chunk

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class NoSpaceError(Exception):
    """The error that an object can't be stored, because there is no space for a file of its size."""


class Spool:
    """A store for received bytes, which then offers them as bytes, or as a read-only descriptor.

    The descriptor goes to a decoder, which malicious content may take over: the decoder must not be able to
    change what others read through it.
    """

    def __init__(
        self,
        *,
        in_memory: bool,
        may_grow: Callable[[int], bool],
        may_fill: Callable[[int], bool] = lambda _: True,
        expected: int = 0,
    ) -> None:
        """Create an empty spool. `may_grow` and `may_fill` are called before more bytes go to memory or to a
        file, with the total number; if the first returns False, all bytes go to a file."""
        self._may_grow = may_grow
        self._may_fill = may_fill
        self._expected = expected
        self.size = 0
        self._only: Chunk | None = b""
        """All bytes, as long as they arrived in one piece and are in memory."""
        self._memory = -1
        self._sealed = False
        self._file = -1
        self._reading = -1
        if not in_memory:
            try:
                self._move_to_file()
            except BaseException:
                self.close()
                raise

    @property
    def content(self) -> memoryview | None:
        """All bytes, if they arrived in one piece and no descriptor was requested; otherwise None."""
        return None if self._only is None else memoryview(self._only)

    @property
    def descriptor(self) -> int:
        """Return a descriptor to read all bytes; its offset is 0. Afterwards nothing may be written."""
        if self._file < 0 and not self._append_to_memory(b""):
            self._move_to_file()
        if self._file >= 0:
            return self._reading
        if not self._sealed:
            fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, _SEALS)
            self._sealed = True
        return self._memory

    def write(self, chunk: Chunk) -> None:
        """Append bytes."""
        if self._file < 0:
            if self._may_grow(self.size + len(chunk)):
                if not self.size:
                    self._only, self.size = chunk, len(chunk)
                    return
                if self._append_to_memory(chunk):
                    self.size += len(chunk)
                    return
            self._move_to_file()
        if not self._may_fill(self.size + len(chunk)):
            raise NoSpaceError
        self._append(chunk)

    def restart(self) -> None:
        """Discard what was written."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
        else:
            self._drop_memory()
            self._only = b""
        self.size = 0

    def close(self) -> None:
        """Release memory and descriptors."""
        self._only = None
        self._drop_memory()
        for descriptor in {self._file, self._reading} - {-1}:
            os.close(descriptor)
        self._file = self._reading = -1

    def _append_to_memory(self, chunk: Chunk) -> bool:
        """Write bytes to the memory file; return False if the system has no memory for it."""
        try:
            if self._memory < 0:
                self._memory = os.memfd_create("hashscan-object", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            if self._only is not None:
                _write(self._memory, self._only, 0)
                self._only = None
            _write(self._memory, chunk, self.size)
        except OSError:
            return False
        return True

    def _drop_memory(self) -> None:
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _move_to_file(self) -> None:
        if not self._may_fill(self.size):
            raise NoSpaceError
        try:
            self._file, path = tempfile.mkstemp(prefix="hashscan-", dir=temporary_folder())
            try:
                self._reading = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            finally:
                os.unlink(path)
            room = os.fstatvfs(self._file)
            if self._expected > room.f_bavail * room.f_frsize:
                # Check it now, before the disk that others use is full.
                raise NoSpaceError
            if self._only is not None:
                _write(self._file, self._only, 0)
            else:
                copied = 0
                while copied < self.size:
                    copied += os.sendfile(self._file, self._memory, copied, self.size - copied)
        except OSError as error:
            raise _trouble(error) from error
        self._only = None
        self._drop_memory()

    def _append(self, chunk: Chunk) -> None:
        try:
            _write(self._file, chunk, self.size)
        except OSError as error:
            raise _trouble(error) from error
        self.size += len(chunk)


def _write(descriptor: int, chunk: Chunk, offset: int) -> None:
    """Write all bytes of a chunk, without using the descriptor's own offset."""
    rest = memoryview(chunk)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest = rest[written:]
        offset += written


def temporary_folder() -> str:
    """Return the folder for large objects: TMPDIR, or /var/tmp, because /tmp may itself be in memory."""
    # The files there are unlinked at once and have random names, so nobody can have created them before.
    for folder in (os.environ.get("TMPDIR"), "/var/tmp"):  # noqa: S108
        if folder and os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            return folder
    return tempfile.gettempdir()


def _trouble(error: OSError) -> OutputError | NoSpaceError:
    if error.errno in _NO_ROOM:
        return NoSpaceError()
    return OutputError(
        f"a temporary file in {temporary_folder()} for a large object failed: {error.strerror or error}",
        advice="Free some space there, or name another folder in TMPDIR.",
    )


class _ReceivedObject(OpenFile):
    """An object about which its receiver knows."""

    fetched = True

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    @property
    def compressed(self) -> str:
        return self._receiver.compressed

    @property
    def media_type(self) -> str:
        return self._receiver.media_type

    @property
    def checksum(self) -> StoredChecksum | None:
        return self._receiver.checksum


class KeptObject(_ReceivedObject):
    """An object whose bytes were downloaded to memory or to a temporary file."""

    def __init__(self, receiver: Receiver, spool: Spool, free: Callable[[], None]) -> None:
        super().__init__(receiver)
        self._spool = spool
        self._free = free
        self.stat = _sized(receiver.item.stat, spool.size)
        self._closed = False

    @property
    def descriptor(self) -> int:
        try:
            return self._spool.descriptor
        except NoSpaceError:
            raise FileError(Reason.IO_ERROR, "no room for it, neither in memory nor in TMPDIR") from None

    @property
    def content(self) -> memoryview | None:
        """All bytes, if they arrived in one piece; otherwise None."""
        return self._spool.content

    def check_unchanged(self) -> None:
        # The downloaded bytes can't change; the object in the store can.
        self._receiver.check()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._spool.close()
            self._free()


class PassingObject(_ReceivedObject):
    """An object for whose bytes there is no space: they are streamed once."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver)
        self._pieces = receiver.chunks()
        self.stat = receiver.item.stat

    @property
    def descriptor(self) -> int:
        """Not available: the bytes are not stored."""
        raise AssertionError("its bytes are nowhere")

    @property
    def stream(self) -> Iterator[Chunk]:
        """All bytes, readable once."""
        return self._pieces

    def check_unchanged(self) -> None:
        self.stat = _sized(self.stat, self._receiver.received)
        self._receiver.check()

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def _sized(stat: FileStat, size: int) -> FileStat:
    return stat if stat.size == size else stat._replace(size=size)
