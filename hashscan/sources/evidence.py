"""Tells the folders in which a quarantine keeps evidence, which no sweep enters."""

from __future__ import annotations

import os
import stat

FOLDER_NAME = b".hashscan-quarantine"
FOLDER_MODE = 0o700


def is_evidence(folder: int, name: bytes) -> bool:
    """Whether a name in a folder is that of a quarantine.

    The name alone would let anybody hide files from sweeps; only root can make a folder that is root's.

    Args:
        folder: the folder's descriptor.
        name: one path component.
    """
    if name != FOLDER_NAME:
        return False
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and stat.S_IMODE(status.st_mode) == FOLDER_MODE
