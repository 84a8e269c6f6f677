"""The stack of a walk: the path down to the current folder, and the folders that wait to be walked."""

from __future__ import annotations

import os
import struct
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Self

from hashscan.errors import OutputError
from hashscan.locking import ClosedOnExit
from hashscan.sources.base import FileError
from hashscan.sources.filesystem.regular_files import file_trouble, require_identity
from hashscan.sources.filesystem.safe_open import PASS_FLAGS, open_beneath
from hashscan.sources.patterns import PatternState

_PENDING_RECORD = struct.Struct("<IH")  # depth, length of the name
_CONTENT = "list of folders still to be walked"


class PendingFolders(ClosedOnExit):
    """A stack of folder names with the depth of their parents.

    The depth refers to the walk's current path, so an entry needs only the space of its own name. The newest
    entries are kept in memory. The older ones are in blocks of an anonymous temporary file, which is
    truncated as they are read back.
    """

    def __init__(self, limit: int) -> None:
        """Create an empty stack that keeps at most `limit` entries, two or more, in memory."""
        if limit < 2:
            raise ValueError("the stack needs room for two entries")
        self._limit = limit
        self._recent: list[tuple[int, bytes]] = []
        self._blocks: list[int] = []
        self._end = 0
        self._file: IO[bytes] | None = None

    def push(self, depth: int, name: bytes) -> None:
        """Push a folder."""
        if len(self._recent) >= self._limit:
            self._spill()
        self._recent.append((depth, name))

    def pop(self) -> tuple[int, bytes] | None:
        """Pop the top folder: its parent's depth and its name; return None if the stack is empty."""
        if not self._recent and self._blocks:
            self._fetch()
        return self._recent.pop() if self._recent else None

    def close(self) -> None:
        self._recent.clear()
        self._blocks.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _spill(self) -> None:
        # Keep half in memory, so that a walk around this limit doesn't write and read at every step.
        half = len(self._recent) // 2
        block = b"".join(_PENDING_RECORD.pack(depth, len(name)) + name for depth, name in self._recent[:half])
        with temporary_file_errors(_CONTENT):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="hashscan-", buffering=0)  # noqa: SIM115
            written = 0
            while written < len(block):
                written += os.pwrite(self._file.fileno(), block[written:], self._end + written)
        self._blocks.append(self._end)
        self._end += len(block)
        del self._recent[:half]

    def _fetch(self) -> None:
        assert self._file is not None  # there are blocks, so there is a file
        start = self._blocks.pop()
        block = b""
        with temporary_file_errors(_CONTENT):
            while len(block) < self._end - start:
                more = os.pread(self._file.fileno(), self._end - start - len(block), start + len(block))
                if not more:
                    raise OSError("it is shorter than was written")
                block += more
            os.ftruncate(self._file.fileno(), start)
        self._end = start
        position = 0
        while position < len(block):
            depth, length = _PENDING_RECORD.unpack_from(block, position)
            position += _PENDING_RECORD.size
            self._recent.append((depth, block[position : position + length]))
            position += length


@contextmanager
def temporary_file_errors(content: str) -> Iterator[None]:
    """Turn an OSError of the body into an OutputError about the temporary file with this content."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"the {content}, a temporary file in {tempfile.gettempdir()}, failed: {error.strerror or error}",
            advice="Free some space there, or name another folder in TMPDIR.",
        ) from error


_WINDOW = 32  # descriptors held beneath the target's own
_CLIMB = 1000  # levels in one call; the kernel accepts 4095 bytes


class Trail:
    """The names, identities and nearest descriptors of the folders on the current path.

    Depth 0 is the target. Going down is one step for each folder. Going up uses the descriptor that is still
    held, or opens `..`: the result is used only if its device and inode are those recorded on the way down.
    If folders were moved meanwhile, the path is opened again from the target. So a step costs the same at any
    depth, and each level needs only a few bytes.
    """

    def __init__(self, target: int, device: int, inode: int, place: PatternState) -> None:
        """Start at a target; this object closes its descriptor."""
        self._path = bytearray()
        self._ends = array("Q", [0])
        self._devices = array("Q", [device])
        self._inodes = array("Q", [inode])
        self._places = [place]
        self._identities = {(device, inode)}
        self._held = {0: target}  # in order of depth

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    def __contains__(self, identity: tuple[int, int]) -> bool:
        """Return True if a folder with this device and inode is on the path."""
        return identity in self._identities

    @property
    def depth(self) -> int:
        return len(self._ends) - 1

    @property
    def folder(self) -> bytes:
        return bytes(self._path)

    @property
    def device(self) -> int:
        return self._devices[-1]

    @property
    def place(self) -> PatternState:
        return self._places[-1]

    @property
    def inode(self) -> int:
        return self._inodes[-1]

    def child(self, name: bytes, depth: int | None = None) -> bytes:
        """Return the path beneath the target of a name in the folder at `depth`, by default the current
        one."""
        folder = self.folder if depth is None else bytes(self._path[: self._ends[depth]])
        return folder + b"/" + name if folder else name

    def push(self, name: bytes, descriptor: int, device: int, inode: int, place: PatternState) -> None:
        """Go down into a folder; this object closes the descriptor later."""
        if self._path:
            self._path += b"/"
        self._path += name
        self._ends.append(len(self._path))
        self._devices.append(device)
        self._inodes.append(inode)
        self._places.append(place)
        self._identities.add((device, inode))
        self._held[self.depth] = descriptor
        farthest = self.depth - _WINDOW
        if farthest > 0 and farthest in self._held:
            os.close(self._held.pop(farthest))

    def cut(self, depth: int) -> None:
        """Go up to a depth; do nothing if it is the current one."""
        for level in range(depth + 1, len(self._ends)):
            self._identities.discard((self._devices[level], self._inodes[level]))
        del self._path[self._ends[depth] :]
        del self._ends[depth + 1 :], self._devices[depth + 1 :], self._inodes[depth + 1 :]
        del self._places[depth + 1 :]
        below: tuple[int, int] | None = None  # the nearest descriptor further down, to climb from
        while next(reversed(self._held)) > depth:
            if below is not None:
                os.close(below[1])
            below = self._held.popitem()
        if below is None:
            return
        try:
            if depth not in self._held:
                climbed = require_identity(
                    _open_ancestor(below[1], below[0] - depth), self._devices[depth], self._inodes[depth]
                )
                self._held[depth] = climbed
        except (OSError, FileError):
            pass  # moved or not permitted; `descriptor` retries from the target
        finally:
            os.close(below[1])

    def descriptor(self) -> int:
        """Return a descriptor of the current folder to open names in; it may not allow listing."""
        depth = self.depth
        if depth not in self._held:
            try:
                descriptor = open_beneath(self._held[0], bytes(self._path), PASS_FLAGS)
            except OSError as error:
                raise file_trouble(error) from error
            self._held[depth] = require_identity(descriptor, self._devices[depth], self._inodes[depth])
        return self._held[depth]


def _open_ancestor(descriptor: int, levels: int) -> int:
    """Open the folder that is now `levels` levels above a folder."""
    current = descriptor
    try:
        while True:
            hop = min(levels, _CLIMB)
            above = os.open(b"/".join([b".."] * hop), PASS_FLAGS, dir_fd=current)
            levels -= hop
            if levels == 0:
                return above
            if current != descriptor:
                os.close(current)
            current = above
    finally:
        if current != descriptor:
            os.close(current)
