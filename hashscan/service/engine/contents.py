"""Hold the bytes of an upload: in a sealed memory file, or behind a descriptor that a client passed.

Nothing of an upload is written to a disk. The bytes of all uploads together are bounded by `Room`.

A client keeps the descriptor that it passes, and may change the file, or move the offset that both share, at
any moment: one part could be digested and another one decoded. So a worker first copies the file into a
memory file, by pread, and checks only the copy. Only calls that need no server are made here, since the file
may be on a FUSE that never answers (see `sources.filesystem.mounts`); reading, which may wait without end, is
done by a worker that a watchdog ends. For the same reason `DescriptorCloser` closes it.
"""

from __future__ import annotations

import fcntl
import os
import queue
import stat
import threading
from collections.abc import Callable
from contextlib import suppress

from hashscan.locking import ClosedOnExit
from hashscan.service.engine.uploads import Overloaded, TooLarge, UnusableDescriptor
from hashscan.sources.filesystem.mounts import (
    DescriptorInfo,
    ForeignMountError,
    cached_size,
    refuse_foreign_mount,
    seen,
)
from hashscan.sources.filesystem.regular_files import describe_file_type

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

CLOSING_MAX = 64
"""Descriptors that may wait to be closed; beyond that none should be taken any more."""

_NO_FOLDER = DescriptorInfo(-1, -1, 0, -1)
"""The folder of a passed descriptor is not known, so its mount is always looked up."""


class Room:
    """The memory for the bytes of uploads: how much there is, and how much is taken."""

    def __init__(self, upload_bytes: int, bytes_in_flight: int) -> None:
        self.upload_bytes = upload_bytes
        self.bytes_in_flight = bytes_in_flight
        self.taken = 0
        """Bytes of all uploads that arrive or are checked."""
        self.contents = 0
        """Uploads whose bytes are held."""

    def require(self, held: int, size: int) -> None:
        """Check that an upload that has taken `held` bytes can take more."""
        if held + size > self.upload_bytes:
            raise TooLarge(f"the upload has more than {self.upload_bytes} bytes")
        if self.taken + size > self.bytes_in_flight:
            raise Overloaded(f"all uploads together have more than {self.bytes_in_flight} bytes")

    def take(self, held: int, size: int) -> None:
        """Take bytes for an upload; raises as `require`."""
        self.require(held, size)
        self.taken += size


def memory_file() -> int:
    """Return an empty memory file that can be sealed."""
    return os.memfd_create("hashscan-upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(descriptor: int) -> None:
    """Make a memory file unchangeable for every process that has it open, for good."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


class Content(ClosedOnExit):
    """The bytes of one upload, complete and open for reading."""

    def __init__(
        self, descriptor: int, size: int, room: Room, close: Callable[[int], None] = os.close, *, sealed: bool
    ) -> None:
        """Take over a descriptor, and `size` bytes that were taken from the room."""
        self.descriptor = descriptor
        self.size = size
        """Bytes."""
        self.sealed = sealed
        """True if nobody can change it: a memory file of this process."""
        self._room = room
        self._close = close
        room.contents += 1

    def replace(self, descriptor: int, size: int) -> None:
        """Take over a sealed copy in the place of a passed descriptor.

        Its size may differ from that of the file, which may have been cut meanwhile; it is never larger.
        """
        passed, self.descriptor, self.sealed = self.descriptor, descriptor, True
        close, self._close = self._close, os.close
        self._room.taken -= self.size - size
        self.size = size
        close(passed)

    def close(self) -> None:
        """Close the descriptor, and give back its share of the bytes in flight."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            self._room.taken -= self.size
            self._room.contents -= 1
            self._close(descriptor)


class Receiving(ClosedOnExit):
    """An upload whose bytes arrive; made by `Engine.receive`."""

    def __init__(self, room: Room, announced: int = 0) -> None:
        """Make the memory file. Announced bytes are refused at once if they do not fit, but take no room
        before they arrive: a few clients that send nothing could take all of it."""
        self.size = 0
        """Bytes so far."""
        self._room = room
        room.require(0, announced)
        try:
            self._descriptor = memory_file()
        except OSError as error:
            raise Overloaded(f"no memory file can be made: {error.strerror}") from error
        room.contents += 1

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        self._room.take(self.size, len(data))
        self.size += len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise Overloaded(f"there is no memory for an upload: {error.strerror}") from error

    def finish(self) -> Content:
        """Seal the memory file and return it; this object is closed with it."""
        seal(self._descriptor)
        self._room.contents -= 1
        descriptor, self._descriptor = self._descriptor, -1
        return Content(descriptor, self.size, self._room, sealed=True)

    def close(self) -> None:
        """Drop what has arrived, unless it was finished."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._room.taken -= self.size
            self._room.contents -= 1
            os.close(descriptor)


class DescriptorCloser:
    """The thread that closes what clients have passed, started with the first.

    A client chooses what it passes: a file of its own FUSE, whose server never answers, or a TCP socket that
    lingers until the other side has taken all data. One that waits holds up the others behind it.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def full(self) -> bool:
        """True if so many wait to be closed that no more may be taken."""
        return self._queue.qsize() >= CLOSING_MAX

    def close(self, descriptor: int) -> None:
        """Have a descriptor closed soon, and return at once."""
        if self._thread is None:
            # A daemon thread is not waited for at the end, since it may wait without end itself.
            self._thread = threading.Thread(target=self._close_all, name="closing", daemon=True)
            self._thread.start()
        self._queue.put(descriptor)

    def _close_all(self) -> None:
        while True:
            # A server may report an error only now; and the number may have been no descriptor.
            with suppress(OSError):
                os.close(self._queue.get())


class PassedDescriptors:
    """The taking over of descriptors that clients pass."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._closer = DescriptorCloser()

    def take(self, descriptor: int) -> Content:
        """Take over a descriptor; it is closed in any case. One that is no regular file, not open for
        reading, or on another user's FUSE is UnusableDescriptor."""
        try:
            size = _size_of(descriptor)
            if self._closer.full:
                raise Overloaded("passed descriptors wait to be closed")
            self._room.take(0, size)
        except BaseException:
            self._closer.close(descriptor)
            raise
        return Content(descriptor, size, self._room, self._closer.close, sealed=False)


def _size_of(descriptor: int) -> int:
    """Return the size of a regular file that is open for reading."""
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        found = seen(descriptor)
        if not stat.S_ISREG(found.mode):
            raise UnusableDescriptor(f"the passed descriptor is of {describe_file_type(found.mode)}")
        if flags & os.O_PATH or flags & os.O_ACCMODE == os.O_WRONLY:
            raise UnusableDescriptor("the passed file is not open for reading")
        try:
            refuse_foreign_mount(descriptor, _NO_FOLDER)
        except ForeignMountError as error:
            # A memory file has no mount, and a container's mounts are not known here.
            if error.user is not None:
                raise
        return cached_size(descriptor)
    except OSError as error:
        raise UnusableDescriptor(f"the passed descriptor can't be used: {error.strerror}") from error
