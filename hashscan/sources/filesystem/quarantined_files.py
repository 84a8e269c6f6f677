"""Recognize the files that a quarantine keeps as evidence, which no scan reads again.

A name, an owner and a mode are no proof: root of a container is uid 0 on the host too. A file is left out
only if the quarantine log of a state folder records it, in the folder that the log names, with the inode and
ctime that it had when it was sealed, or else with the sha256 that the log records. Everything else in that
folder, and everything in other folders of that name, is scanned.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from hashscan.model import FileStat
from hashscan.sources.base import FileError, KeptFiles
from hashscan.sources.filesystem.regular_files import open_regular
from hashscan.sources.filesystem.safe_open import PASS_FLAGS, open_absolute

FOLDER_NAME = b".hashscan-quarantine"
FOLDER_MODE = 0o700

TAG_NAME = b"CACHEDIR.TAG"
TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# Evidence that hashscan keeps; see `hashscan quarantine --help`. Backups leave this folder out.
"""

_BLOCK = 1 << 18
_WARNINGS = 5
"""Number of folders that get a warning each."""


class QuarantinedFile(NamedTuple):
    """A file in quarantine, as the quarantine log records it."""

    sha256: str
    """The sha256 of its content, in hex."""
    size: int | None = None
    inode: int | None = None
    ctime_ns: int | None = None
    """Its ctime when it was sealed."""

    def matches(self, folder: int, name: bytes, status: FileStat) -> bool:
        """Return True if a file is this one, unchanged.

        Whoever has another name (hard link) of the file can change its ctime by creating a further link; in
        this case the content is hashed.

        Args:
            folder: descriptor of the folder that contains the file.
        """
        if self.size not in {None, status.size}:
            return False
        if self.ctime_ns is not None and (self.inode, self.ctime_ns) == (status.inode, status.ctime_ns):
            return True
        with suppress(OSError, FileError):
            file, _ = open_regular(folder, name, status.device, status.inode)
            try:
                return sha256_of(file, status.size) == self.sha256
            finally:
                os.close(file)
        return False


_TAG_FILE = QuarantinedFile(hashlib.sha256(TAG).hexdigest(), len(TAG))


class QuarantineFolders:
    """The files that the quarantines of some state folders keep in folders of this machine.

    The quarantine logs are read only when a folder with the quarantine name is found.
    """

    def __init__(
        self,
        load: Callable[[], Mapping[bytes, KeptFiles]] = dict,
        notify: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Store how to load the logs; read nothing yet.

        Args:
            load: returns, by absolute path, the folders that the logs name, and the files in each.
            notify: called with warnings for the operator.
        """
        self._load = load
        self._notify = notify
        self._folders: dict[tuple[int, int], KeptFiles] | None = None
        self._warned = 0

    def kept_in(self, folder: int, path: bytes) -> KeptFiles | None:
        """Return the files that are kept in an open folder; None and a warning if no log names it."""
        if self._folders is None:
            self._folders = {}
            for recorded, files in self._load().items():
                # A folder that is not mounted now, or was moved or removed, can't be found by its path.
                with suppress(OSError, ValueError):
                    place = open_absolute(recorded, PASS_FLAGS)
                    try:
                        status = os.fstat(place)
                    finally:
                        os.close(place)
                    known = self._folders.get((status.st_dev, status.st_ino), {TAG_NAME: _TAG_FILE})
                    self._folders[status.st_dev, status.st_ino] = {**known, **files}
        status = os.fstat(folder)
        kept = self._folders.get((status.st_dev, status.st_ino))
        if kept is None:
            self._warn(path)
        return kept

    def _warn(self, path: bytes) -> None:
        self._warned += 1
        if self._warned <= _WARNINGS:
            self._notify(
                f"{os.fsdecode(path)!r} is named like a quarantine, and no log of one names it: it is "
                "scanned. If it belongs to another state folder, name that with --quarantine-state"
            )
        elif self._warned == _WARNINGS + 1:
            self._notify("there are more such folders, which are scanned as well")


def sha256_of(descriptor: int, size: int | None = None) -> str:
    """Return the sha256 of a file's whole content in hex.

    Args:
        size: the expected size. If the file is longer, reading stops soon after it, so that a file that grows
            without end can't block the scan.

    Raises:
        OSError: the file can't be read.
    """
    hasher = hashlib.sha256()
    offset = 0
    while block := os.pread(descriptor, _BLOCK, offset):
        if size is not None and offset > size:
            break
        hasher.update(block)
        offset += len(block)
    return hasher.hexdigest()
