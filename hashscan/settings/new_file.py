"""Write a new settings file without overwriting an existing one."""

from __future__ import annotations

import os
from pathlib import Path

from hashscan.atomic_files import (
    PRIVATE_FILE,
    output_errors,
    replace_file,
    sync_folder,
    temporary_name,
)
from hashscan.errors import UsageError

_KEPT_MAX = 1000


_GROUP_FILE = 0o640


def write_new(
    path: Path, data: bytes, *, force: bool, group: int | None = None, trusted: bool = False
) -> Path | None:
    """Write a new file atomically, for its owner alone, or readable for a group; `force` backs an old one up.

    The folder is created if only that is missing. Returns the name of the backup, if any.

    Args:
        group: the group that may read the file; only with `trusted`.
        trusted: whether this user alone controls the path. All users may then enter a folder that is created.

    Raises:
        UsageError: there is a file already.
        OutputError: it can't be written.
    """
    with output_errors(f"{path} can't be written"):
        if not path.parent.exists():
            path.parent.mkdir(mode=0o755)
            if trusted:
                # The umask may have removed permissions.
                path.parent.chmod(0o755)
        aside = temporary_name(path)
        try:
            replace_file(aside, data, PRIVATE_FILE)
            if group is not None:
                _give_to_group(aside, group)
            return _link_into_place(aside, path, force=force)
        finally:
            aside.unlink(missing_ok=True)


def _give_to_group(path: Path, group: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, _GROUP_FILE)
    finally:
        os.close(descriptor)


def _link_into_place(aside: Path, path: Path, *, force: bool) -> Path | None:
    """Give a temporary file its final name."""
    try:
        # Unlike a rename, a hard link never replaces a file that appears meanwhile.
        os.link(aside, path)
    except FileExistsError:
        if not force:
            raise UsageError(
                f"{path} is there already", advice="Name another file, or keep this aside with --force."
            ) from None
        kept = _back_up(path)
        aside.replace(path)
        sync_folder(path.parent)
        return kept
    sync_folder(path.parent)
    return None


def _back_up(path: Path) -> Path:
    """Hard-link the existing file to a free backup name."""
    for number in range(_KEPT_MAX):
        kept = path.with_name(f"{path.name}.bak{number or ''}")
        try:
            os.link(path, kept, follow_symlinks=False)
        except FileExistsError:
            continue
        return kept
    raise UsageError(f"there are {_KEPT_MAX} old ones of {path}", advice="Remove some of them.")
