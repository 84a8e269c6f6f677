"""Looks for a file that was renamed, or whose folder was, since it was found."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from hashscan.sources.beneath import LIST_FLAGS, open_absolute, open_child

_DEPTH = 64
"""Folders below each other that are held open at a time."""


@dataclass(slots=True)
class Effort:
    """How much may still be done for files that slip away; customers decide how many there are."""

    names: int = 1_000_000
    """In folders, to be looked at."""
    seconds: float = 60.0
    """To wait until leases are broken; the kernel gives their holders 45 by default."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a file is now."""

    parent: int
    """Descriptor of its folder, which the receiver closes."""
    parent_path: bytes
    name: bytes

    @property
    def path(self) -> bytes:
        """Of the file, as the search came by it."""
        return self.parent_path.rstrip(b"/") + b"/" + self.name


def search(path: bytes, inodes: Collection[int], effort: Effort) -> Iterator[tuple[int, Whereabouts]]:
    """Look for files by inode: in the folder of a path and beneath it, then in those above of users.

    A folder of root's is where a customer can rename nothing, so the search ends below it. An inode proves
    nothing: whoever takes what was found compares the content.

    Args:
        path: where a file was found, absolute.
        inodes: of the files.
        effort: reduced by what was looked at.

    Yields:
        An inode and where a file with it is; there may be several of one.
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
    effort: Effort,
    seen: tuple[int, int] | None,
    depth: int,
) -> Iterator[tuple[int, Whereabouts]]:
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
                yield entry.inode(), Whereabouts(os.dup(folder), path, name)
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
