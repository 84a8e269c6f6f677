"""Search by inode for a file that was renamed, or whose folder was renamed, since it was found."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from hashscan.sources.beneath import LIST_FLAGS, open_absolute, open_child

_DEPTH = 64
"""Maximum depth of nested folders that are open at the same time."""


@dataclass(slots=True)
class SearchBudget:
    """The remaining budget for files that are renamed meanwhile; customers decide how many there are."""

    names: int = 1_000_000
    """Directory entries that may still be examined."""
    seconds: float = 60.0
    """Seconds to wait for leases to be broken; the kernel gives their holders 45 by default."""


@dataclass(frozen=True, slots=True)
class FileLocation:
    """The current location of a file."""

    parent: int
    """Descriptor of its folder, which the receiver closes."""
    parent_path: bytes
    name: bytes

    @property
    def path(self) -> bytes:
        """Path of the file by which the search found it."""
        return self.parent_path.rstrip(b"/") + b"/" + self.name


def search(path: bytes, inodes: Collection[int], effort: SearchBudget) -> Iterator[tuple[int, FileLocation]]:
    """Search for files by inode: beneath the folder of a path, then beneath parent folders owned by users.

    A customer can rename nothing in a folder of root's, so the search ends below it. An inode number is no
    proof: the caller must compare the content of what it takes.

    Args:
        path: the absolute path at which a file was found.
        inodes: inode numbers of the files.
        effort: the budget; reduced by the entries that were examined.

    Yields:
        An inode number and the location of a file with it; one number may come several times.
    """
    folder, seen = path.rpartition(b"/")[0] or b"/", None
    while effort.names > 0:
        try:
            descriptor = open_absolute(folder, LIST_FLAGS)
        except (OSError, ValueError):
            if folder == b"/":
                return
            folder = folder.rpartition(b"/")[0] or b"/"
            continue
        try:
            status = os.fstat(descriptor)
            if seen is not None and (status.st_uid == 0 or status.st_dev != seen[0]):
                return
            yield from _beneath(descriptor, folder, inodes, effort, seen, 0)
        finally:
            os.close(descriptor)
        if folder == b"/":
            return
        seen = (status.st_dev, status.st_ino)
        folder = folder.rpartition(b"/")[0] or b"/"


def _beneath(
    folder: int,
    path: bytes,
    inodes: Collection[int],
    effort: SearchBudget,
    seen: tuple[int, int] | None,
    depth: int,
) -> Iterator[tuple[int, FileLocation]]:
    folders: list[bytes] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            effort.names -= 1
            if effort.names <= 0:
                return
            name = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif entry.inode() in inodes and not entry.is_symlink():
                yield entry.inode(), FileLocation(os.dup(folder), path, name)
    if depth == _DEPTH:
        return
    device = os.fstat(folder).st_dev
    for name in folders:
        with suppress(OSError):
            deeper = open_child(folder, name, LIST_FLAGS)
            try:
                status = os.fstat(deeper)
                if status.st_dev == device and (status.st_dev, status.st_ino) != seen:
                    below = path.rstrip(b"/") + b"/" + name
                    yield from _beneath(deeper, below, inodes, effort, seen, depth + 1)
            finally:
                os.close(deeper)
