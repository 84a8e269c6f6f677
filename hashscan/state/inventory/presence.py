"""Whether what a sweep has left by a path is gone, as far as another sweep would see."""

from __future__ import annotations

import errno
import os
import stat

from hashscan.sources.beneath import LIST_FLAGS, PASS_FLAGS, open_absolute, stat_child

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def is_folder_gone(path: bytes) -> bool:
    """Whether there is no such folder any more; one that is reached by a link is another."""
    try:
        os.close(open_absolute(path, PASS_FLAGS))
    except OSError as error:
        return error.errno in _GONE
    return False


def is_file_gone(path: bytes) -> bool:
    """Whether there is no such file any more; one that is reached by a link is another."""
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
    """The names of a folder's files, none if it is gone; None where that can't be told."""
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
