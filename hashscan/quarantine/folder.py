"""Find or make the quarantine folder of each filesystem, and check that no other user can replace it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hashscan.errors import OutputError, UsageError
from hashscan.quarantine import system
from hashscan.sources.filesystem.quarantined_files import FOLDER_MODE, FOLDER_NAME, TAG, TAG_NAME
from hashscan.sources.filesystem.safe_open import (
    LIST_FLAGS,
    PASS_FLAGS,
    closing_descriptor,
    open_absolute,
    open_child,
)

_MOUNT_ID = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)
_OCTAL = re.compile(rb"\\([0-7]{3})")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class QuarantineFolder:
    """A quarantine folder, held open."""

    def __init__(self, path: bytes, descriptor: int) -> None:
        self.path = path
        """Absolute path of the folder itself."""
        self.descriptor = descriptor
        self.mount = mount_of(descriptor)


class OpenFolders:
    """A cache of open quarantine folders, by the path that log records name."""

    def __init__(self) -> None:
        self._by_path: dict[bytes, QuarantineFolder] = {}

    def at(self, path: bytes) -> QuarantineFolder:
        """Return the quarantine folder at a path."""
        if path not in self._by_path:
            self._by_path[path] = QuarantineFolder(path, _require_private(open_absolute(path, LIST_FLAGS)))
        return self._by_path[path]

    def close(self) -> None:
        for place in self._by_path.values():
            os.close(place.descriptor)
        self._by_path.clear()


class QuarantineFolders(OpenFolders):
    """The quarantine folders of a machine, by mount."""

    def __init__(self, own: Path, chosen: Iterable[Path] = ()) -> None:
        """Open the default folder, for files that can't be kept on their own filesystem, and the chosen
        folders, one for each mount. Only root can choose any, since scans recognize other users' quarantine
        folders only by name."""
        super().__init__()
        self._by_mount: dict[int, QuarantineFolder | None] = {}
        try:
            self.own = self._make(os.path.realpath(os.fsencode(own)))
            """The quarantine folder in the state folder, for files whose filesystem has none."""
        except OSError as error:
            raise OutputError(f"can't keep evidence in {own}: {error.strerror or error}") from error
        self._by_mount[self.own.mount] = self.own
        self.chosen = self.own
        """The folder for objects, which lie on no filesystem here: the first chosen one, else the default."""
        for folder in chosen:
            if os.geteuid() != 0:
                raise UsageError(
                    "only root can choose where evidence is kept",
                    advice="Without --quarantine-dir it is kept in the state folder, which scans leave out.",
                )
            try:
                place = self._make(os.path.realpath(os.fsencode(folder)))
            except OSError as error:
                raise UsageError(
                    f"can't keep evidence in {folder}: {error.strerror or error}",
                    advice="Name a folder of root's, in which no other user can rename anything.",
                ) from error
            self._by_mount[place.mount] = place
            if self.chosen is self.own:
                self.chosen = place

    def of(self, folder: int) -> QuarantineFolder:
        """Return the quarantine folder for files of a folder: on its mount, or else the default folder."""
        mount = mount_of(folder)
        if mount not in self._by_mount:
            self._by_mount[mount] = self._at_mount_point(mount)
        return self._by_mount[mount] or self.own

    def _at_mount_point(self, mount: int) -> QuarantineFolder | None:
        top = mount_point(mount)
        if os.geteuid() != 0 or top is None:
            return None
        try:
            place = self._make(top)
        except OSError:
            # Read-only, a customer's, or a filesystem without owners: copies go to the default folder.
            return None
        return place if place.mount == mount else None

    def _make(self, above: bytes) -> QuarantineFolder:
        """Open or make the quarantine folder in a folder; `OSError` if another user could replace it."""
        path = above.rstrip(b"/") + b"/" + FOLDER_NAME
        with closing_descriptor(_open_trusted(above)) as folder:
            if path not in self._by_path:
                with suppress(FileExistsError):
                    system.make_folder(folder, FOLDER_NAME, FOLDER_MODE)
                descriptor = _require_private(open_child(folder, FOLDER_NAME, LIST_FLAGS))
                self._by_path[path] = QuarantineFolder(path, descriptor)
                system.clear_project_inheritance(descriptor)
                _tag(descriptor)
                system.sync_folder(folder)
        return self._by_path[path]


def mount_of(descriptor: int) -> int:
    """Return the kernel's id of the mount through which a file was opened."""
    # This runs for every file, so it avoids the layers of a file object.
    with closing_descriptor(os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)) as info:
        found = _MOUNT_ID.search(os.read(info, 1024))
    assert found is not None  # since Linux 3.15
    return int(found[1])


def mount_point(mount: int) -> bytes | None:
    """Return the mount point of a mount, if it is visible in this mount namespace."""
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        if int(fields[0]) == mount:
            return _OCTAL.sub(lambda code: bytes((int(code[1], 8),)), fields[4])
    return None


def _open_trusted(path: bytes) -> int:
    """Open a folder; `OSError` also if another user could rename anything in its path."""
    trusted = {0, os.geteuid()}
    current = os.open(b"/", PASS_FLAGS)
    try:
        for name in (None, *(name for name in path.split(b"/") if name)):
            if name is not None:
                deeper = open_child(current, name, PASS_FLAGS)
                os.close(current)
                current = deeper
            status = os.fstat(current)
            sticky = status.st_mode & stat.S_ISVTX
            if status.st_uid not in trusted or (status.st_mode & _OTHERS_WRITE and not sticky):
                raise PermissionError(
                    errno.EPERM, f"other users can rename the content of {os.fsdecode(path)!r}"
                )
    except BaseException:
        os.close(current)
        raise
    return current


def _require_private(descriptor: int) -> int:
    """Return the descriptor of a folder, after checking that it is this user's alone."""
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != FOLDER_MODE:
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "the folder there is not this user's alone")
    return descriptor


def _tag(folder: int) -> None:
    with suppress(FileExistsError), closing_descriptor(system.create(folder, TAG_NAME, 0o600)) as file:
        system.write(file, TAG)
        system.sync(file)
