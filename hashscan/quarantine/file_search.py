"""Search for a file that was renamed, by its inode, and for processes that have a file open for writing."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashscan.sources.filesystem.safe_open import LIST_FLAGS, closing_descriptor, open_absolute, open_child

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
        return self.parent_path.rstrip(b"/") + b"/" + self.name


def search(path: bytes, inodes: Collection[int], budget: SearchBudget) -> Iterator[tuple[int, FileLocation]]:
    """Search for files by inode: beneath the folder of an absolute path, then beneath parent folders owned by
    users; one inode may be yielded several times. The budget is reduced by the entries that were examined. A
    customer can rename nothing in a folder of root's, so the search ends below it. An inode number is no
    proof: the caller must compare the content of what it takes."""
    folder, seen = path.rpartition(b"/")[0] or b"/", None
    while budget.names > 0:
        try:
            descriptor = open_absolute(folder, LIST_FLAGS)
        except (OSError, ValueError):
            if folder == b"/":
                return
            folder = folder.rpartition(b"/")[0] or b"/"
            continue
        with closing_descriptor(descriptor):
            status = os.fstat(descriptor)
            if seen is not None and (status.st_uid == 0 or status.st_dev != seen[0]):
                return
            yield from _beneath(descriptor, folder, inodes, budget, seen, 0)
        if folder == b"/":
            return
        seen = (status.st_dev, status.st_ino)
        folder = folder.rpartition(b"/")[0] or b"/"


def _beneath(
    folder: int,
    path: bytes,
    inodes: Collection[int],
    budget: SearchBudget,
    seen: tuple[int, int] | None,
    depth: int,
) -> Iterator[tuple[int, FileLocation]]:
    folders: list[bytes] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            budget.names -= 1
            if budget.names <= 0:
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
        with suppress(OSError), closing_descriptor(open_child(folder, name, LIST_FLAGS)) as deeper:
            status = os.fstat(deeper)
            if status.st_dev == device and (status.st_dev, status.st_ino) != seen:
                below = path.rstrip(b"/") + b"/" + name
                yield from _beneath(deeper, below, inodes, budget, seen, depth + 1)


_INODE = re.compile(rb"^ino:\s*(\d+)$", re.MULTILINE)
_FLAGS = re.compile(rb"^flags:\s*([0-7]+)$", re.MULTILINE)


def open_writers(files: Collection[int]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Return, by device and inode, pid, uid and program of the processes that can still write into files that
    were moved, by descriptors open for reading. Only root sees all processes. A process that can't be seen,
    or has the file only mapped, has no pid and uid."""
    suspected: dict[tuple[int, int], bool] = {}
    for file in files:
        if (known := _is_written(file)) is not False:
            status = os.fstat(file)
            suspected[status.st_dev, status.st_ino] = known is True
    # A machine may have 100,000 descriptors: /proc is searched only if a file may have a writer.
    found = _processes(suspected) if suspected else {}
    unseen = {"program": "a program that can't be seen, or has it mapped"}
    return found | {file: [unseen] for file, known in suspected.items() if known and file not in found}


def _is_written(file: int) -> bool | None:
    """Return True if a process has a file open or mapped for writing; None if the kernel doesn't say."""
    try:
        # A process that opens the file now would break the lease; the default signal for that ends our
        # process.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:  # another user's file, or a filesystem without leases
        return None
    return False


def _processes(identities: Collection[tuple[int, int]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Return the processes that have files open for writing, as far as /proc shows them."""
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    inodes = {inode for _, inode in identities}
    for process in os.listdir("/proc"):
        if not process.isdigit() or int(process) == os.getpid():
            continue
        try:
            descriptors = os.listdir(f"/proc/{process}/fd")
        except OSError:  # the process has ended, or is another user's
            continue
        for descriptor in descriptors:
            try:
                if not _may_write(process, descriptor, inodes):
                    continue
                status = os.stat(f"/proc/{process}/fd/{descriptor}")
                identity = (status.st_dev, status.st_ino)
                if identity not in identities:
                    continue
                who = {
                    "pid": int(process),
                    "uid": os.stat(f"/proc/{process}").st_uid,
                    "program": Path(f"/proc/{process}/comm").read_bytes().decode(errors="replace").strip(),
                }
            except OSError:
                continue
            if who not in found.setdefault(identity, []):
                found[identity].append(who)
    return found


def _may_write(process: str, descriptor: str, inodes: Collection[int]) -> bool:
    """Return True if a descriptor is open for writing and has one of these inodes.

    If the kernel does not show the inode here, only the open mode counts. No stat is made: it can hang if a
    file server is unreachable, or is the customer's own.
    """
    # There may be 100,000 descriptors, so this avoids the layers of a file object.
    info = os.open(f"/proc/{process}/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        info_text = os.read(info, 1024)
    finally:
        os.close(info)
    flags, inode = (
        _FLAGS.search(info_text),
        _INODE.search(info_text),
    )  # the kernel shows the inode since Linux 5.14
    writes = flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return writes and (inode is None or int(inode[1]) in inodes)
