"""Finds out which processes have a file open for writing."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

_INODE = re.compile(rb"^ino:\s*(\d+)$", re.MULTILINE)
_FLAGS = re.compile(rb"^flags:\s*([0-7]+)$", re.MULTILINE)


def open_writers(identities: Collection[tuple[int, int]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Ask /proc who could still write into files that were taken.

    Only root sees all processes. A file that is merely mapped, its descriptor closed, is not seen.

    Args:
        identities: device and inode of the files.

    Returns:
        For each file that somebody writes to: pid, uid and program of each such process.
    """
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
