"""Writes files and folders so that a crash leaves the old or the new, never a mixture."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hashscan.errors import OutputError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
TEMPORARY_PREFIX = ".tmp-"
"""How the name of a file begins that is not in its place yet; a killed writer may leave one."""


def temporary_name(path: Path) -> Path:
    """A fresh name beside `path`, to be renamed to it later."""
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's content survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Put `data` at `path` at once: aside, synced, renamed.

    Args:
        path: an existing file is replaced.
        data: the whole content.
        mode: permissions of the new file, before the umask.

    Raises:
        OSError: it could not be written; the old file stands.
    """
    replace_stream(path, (data,), mode)


def replace_stream(path: Path, pieces: Iterable[bytes], mode: int = PRIVATE_FILE) -> None:
    """The same with data that comes in pieces.

    Args:
        path: an existing file is replaced.
        pieces: the content, in order; where that raises anything, the old file stands.
        mode: permissions of the new file, before the umask.

    Raises:
        OSError: it could not be written; the old file stands.
    """
    with replacing(path, mode) as stream:
        stream.writelines(pieces)


@contextmanager
def replacing(path: Path, mode: int = PRIVATE_FILE) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of `path` when the body ends, and not where it raises.

    Until then it has no name, where the file system knows such files, so that a killed writer leaves nothing.

    Args:
        path: an existing file is replaced.
        mode: permissions of the new file, before the umask.

    Raises:
        OSError: it could not be written; the old file stands.
    """
    aside = temporary_name(path)
    descriptor, named = _open_aside(path.parent, aside, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if not named:
                # Only with a folder's descriptor does Python ask for the link in /proc to be followed.
                folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.link(f"/proc/self/fd/{stream.fileno()}", aside.name, dst_dir_fd=folder)
                finally:
                    os.close(folder)
                named = True
        aside.replace(path)
    except BaseException:
        if named:
            with suppress(OSError):
                aside.unlink()
        raise
    sync_folder(path.parent)


def _open_aside(folder: Path, aside: Path, mode: int) -> tuple[int, bool]:
    """A new file in a folder, and whether it has its name already."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode), False
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), True


def replace_link(path: Path, target: str) -> None:
    """Point the symbolic link `path` at `target` at once.

    Raises:
        OSError: it could not be made; the old link stands.
    """
    aside = temporary_name(path)
    aside.symlink_to(target)
    aside.replace(path)
    sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in `folder`; only for the holder of its lock."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def is_refusal(error: BaseException) -> bool:
    """Whether an error says nothing of a file's content: a permission, a limit or memory that is missing."""
    return isinstance(error, OSError) and error.errno in _REFUSALS


@contextmanager
def output_errors(doing: str) -> Iterator[None]:
    """Turn the system's errors into one that ends the command.

    Args:
        doing: what was tried, for a person, such as "the list 'x' can't be written".

    Raises:
        OutputError: the body met an OSError.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise OutputError(f"{doing}: {error.strerror or error}{where}") from error
