"""Check whether a file or folder of an earlier scan is gone, by the rules by which scans open paths."""

from __future__ import annotations

import errno
import os
import stat

from hashscan.sources.beneath import LIST_FLAGS, PASS_FLAGS, open_absolute, stat_child

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def is_folder_gone(path: bytes) -> bool:
    """Return True if the folder no longer exists; one that is reached by a symlink is another folder."""
    try:
        os.close(open_absolute(path, PASS_FLAGS))
    except OSError as error:
        return error.errno in _GONE
    return False


def is_file_gone(path: bytes) -> bool:
    """Return True if the file no longer exists; one that is reached by a symlink is another file."""
    folder, name = os.path.split(path)
    try:
        descriptor = open_absolute(folder, PASS_FLAGS)
    except OSError as error:
        return error.errno in _GONE
    try:
        return not stat.S_ISREG(stat_child(descriptor, name).st_mode)
    except OSError as error:
        return error.errno in _GONE
    finally:
        os.close(descriptor)


def files_in(path: bytes) -> frozenset[bytes] | None:
    """Return the names of a folder's files, empty if it is gone; None where that can't be determined."""
    try:
        descriptor = open_absolute(path, LIST_FLAGS)
    except OSError as error:
        return frozenset() if error.errno in _GONE else None
    try:
        with os.scandir(descriptor) as entries:
            return frozenset(os.fsencode(one.name) for one in entries if one.is_file(follow_symlinks=False))
    except OSError:
        return None
    finally:
        os.close(descriptor)
