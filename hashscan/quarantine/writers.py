"""Finds out which processes have a file open for writing."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any

_INODE = re.compile(rb"^ino:\s*(\d+)$", re.MULTILINE)
_FLAGS = re.compile(rb"^flags:\s*([0-7]+)$", re.MULTILINE)


def open_writers(files: Collection[int]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Ask who could still write into files that were taken.

    Args:
        files: their descriptors, open for reading.

    Returns:
        For each file that somebody writes to, by device and inode: pid, uid and program of each such process.
        Only root sees all; one that can't be seen, or has the file merely mapped, has no pid and uid.
    """
    suspected: dict[tuple[int, int], bool] = {}
    for file in files:
        if (known := _is_written(file)) is not False:
            status = os.fstat(file)
            suspected[status.st_dev, status.st_ino] = known is True
    # A machine may have a hundred thousand descriptors: all are looked at only where there is a reason to.
    found = _processes(suspected) if suspected else {}
    unseen = {"program": "a program that can't be seen, or has it mapped"}
    return found | {file: [unseen] for file, known in suspected.items() if known and file not in found}


def _is_written(file: int) -> bool | None:
    """Whether anybody has a file open, or mapped, for writing; None where the kernel doesn't say."""
    try:
        # Whoever opened it meanwhile would break the lease by a signal, which else ends a process.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:  # another's file, or a file system without leases
        return None
    return False


def _processes(identities: Collection[tuple[int, int]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Those who have files open for writing, as far as /proc shows."""
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    inodes = {inode for _, inode in identities}
    for process in os.listdir("/proc"):
        if not process.isdigit() or int(process) == os.getpid():
            continue
        try:
            descriptors = os.listdir(f"/proc/{process}/fd")
        except OSError:  # ended, or another user's
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
    """Whether it is open for writing and of one of these inodes, as far as the kernel says without a stat.

    A stat can hang where a file server has gone, or a customer's own.
    """
    # There may be a hundred thousand of them, so without the layers of a file object.
    info = os.open(f"/proc/{process}/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        said = os.read(info, 1024)
    finally:
        os.close(info)
    flags, inode = _FLAGS.search(said), _INODE.search(said)  # the inode since Linux 5.14
    writes = flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return writes and (inode is None or int(inode[1]) in inodes)
