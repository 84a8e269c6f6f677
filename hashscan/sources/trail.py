"""Track the path from a target down to the current folder of a walk, with a bounded number of descriptors."""

from __future__ import annotations

import os
from array import array
from types import TracebackType
from typing import Self

from hashscan.sources.base import FileError
from hashscan.sources.beneath import PASS_FLAGS, open_beneath
from hashscan.sources.patterns import PatternState
from hashscan.sources.posix import file_trouble, require_identity

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
        """Start at a target.

        Args:
            target: its descriptor, which this object closes.
            device: device of the target.
            inode: inode of the target.
            place: state of the exclude patterns in the target.
        """
        self._path = bytearray()
        self._ends = array("Q", [0])
        self._devices = array("Q", [device])
        self._inodes = array("Q", [inode])
        self._places = [place]
        self._identities = {(device, inode)}
        self._held = {0: target}  # in order of depth

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    def __contains__(self, identity: tuple[int, int]) -> bool:
        """Return True if a folder with this device and inode is on the path."""
        return identity in self._identities

    @property
    def depth(self) -> int:
        """Depth of the current folder."""
        return len(self._ends) - 1

    @property
    def folder(self) -> bytes:
        """Path of the current folder beneath the target."""
        return bytes(self._path)

    @property
    def device(self) -> int:
        """Device of the current folder."""
        return self._devices[-1]

    @property
    def place(self) -> PatternState:
        """State of the exclude patterns in the current folder."""
        return self._places[-1]

    @property
    def inode(self) -> int:
        """Inode of the current folder."""
        return self._inodes[-1]

    def child(self, name: bytes, depth: int | None = None) -> bytes:
        """Return the path beneath the target of a name in the current folder, or in a folder above it.

        Args:
            name: the name.
            depth: depth of the folder that contains it; None for the current folder.
        """
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
        """Return a descriptor of the current folder to open names in; it may not allow listing.

        Raises:
            FileError: the folder is no longer where it was.
        """
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
