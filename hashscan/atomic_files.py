"""Atomic, durable writes: after a crash a file or folder has its old or its new content, never a mixture."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hashscan.errors import OutputError

PRIVATE_FILE = 0o600
PUBLIC_FILE = 0o644
PRIVATE_FOLDER = 0o700
_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
TEMPORARY_PREFIX = ".tmp-"
"""Prefix of the names of temporary files; a killed writer may leave one behind."""


def temporary_name(path: Path) -> Path:
    """Return a new temporary name beside `path`, to be renamed to `path` later."""
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that renames and removals in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Sync a file, so that its content survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Replace the content of `path` atomically by `data`; for other arguments and errors see `replacing`."""
    replace_stream(path, (data,), mode)


def replace_stream(path: Path, pieces: Iterable[bytes], mode: int = PRIVATE_FILE) -> None:
    """Replace the content of `path` atomically by some pieces; if iterating raises, nothing changes.

    For the other arguments and errors see `replacing`.
    """
    with replacing(path, mode) as stream:
        stream.writelines(pieces)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make a new folder with these files, readable by everybody, or nothing; a killed writer leaves a
    temporary folder behind.

    Raises:
        OSError: it could not be written, or there is something of that name that is no empty folder.
    """
    aside = temporary_name(path)
    aside.mkdir()
    try:
        for name, data in files.items():
            replace_file(aside / name, data, PUBLIC_FILE)
        aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(path.parent)


@contextmanager
def replacing(path: Path, mode: int = PRIVATE_FILE) -> Iterator[BinaryIO]:
    """Yield a stream whose content replaces `path` when the body ends; if the body raises, nothing changes.

    Where the filesystem supports files without a name, the new file has none until then, so that a killed
    writer leaves nothing behind.

    Args:
        mode: permissions of the new file, before the umask.

    Raises:
        OSError: the file could not be written; the old file is unchanged.
    """
    aside = temporary_name(path)
    descriptor, named = _open_aside(path.parent, aside, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if not named:
                # Python follows the symlink in /proc only if a folder descriptor is passed.
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
    """Open a new file in `folder`; return its descriptor, and True if it already has the name `aside`."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode), False
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), True


def replace_link(path: Path, target: str) -> None:
    """Replace the symlink `path` atomically by one to `target`.

    Raises:
        OSError: the link could not be made; the old link is unchanged.
    """
    aside = temporary_name(path)
    aside.symlink_to(target)
    aside.replace(path)
    sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed writers left in `folder`; the caller holds its lock."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def is_refusal(error: BaseException) -> bool:
    """Return True if an error is about permissions, limits or memory, and not about a file's content."""
    return isinstance(error, OSError) and error.errno in _REFUSALS


@contextmanager
def output_errors(doing: str) -> Iterator[None]:
    """Turn an OSError of the body into an OutputError, which ends the command.

    Args:
        doing: what failed, for the message, such as "the list 'x' can't be written".

    Raises:
        OutputError: the body raised an OSError.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise OutputError(f"{doing}: {error.strerror or error}{where}") from error
