"""Builds and removes trees of any depth, step by step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import mkdtemp

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@contextmanager
def temporary_tree(*, large: bool = False) -> Iterator[bytes]:
    """A folder that every user may enter, removed afterwards however deep it has become.

    Args:
        large: for thousands of folders. Memory is taken where there is some; a disk's file system may
            need a quarter of a minute for that many, if as many have just been deleted.
    """
    memory = "/dev/shm" if large and os.access("/dev/shm", os.W_OK | os.X_OK) else None
    path = os.path.realpath(os.fsencode(mkdtemp(prefix="hashscan-tree-", dir=memory)))
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        remove_tree(path)


def write(path: bytes, content: bytes = b"x") -> None:
    """Write a file, and the folders above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(content)


def make_chain(root: bytes, names: Iterable[bytes], *, file: bytes | None = None) -> None:
    """Make folders each in the one before, and a file in every one if asked."""
    current = os.open(root, FOLDER)
    for name in names:
        os.mkdir(name, dir_fd=current)
        deeper = os.open(name, FOLDER, dir_fd=current)
        os.close(current)
        current = deeper
        if file is not None:
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=current))
    os.close(current)


def fill(folder: bytes, count: int, name: bytes = b"%06d") -> None:
    """Make that many empty files in a folder."""
    descriptor = os.open(folder, FOLDER)
    for number in range(count):
        os.close(os.open(name % number, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=descriptor))
    os.close(descriptor)


def remove_tree(path: bytes) -> None:
    """Remove a tree, with a descriptor or two whatever its depth."""
    names: list[str] = []
    current = os.open(path, FOLDER)
    try:
        while True:
            deeper = _clear(current)
            if deeper is not None:
                following = _enter(current, deeper)
                names.append(deeper)
            elif names:
                following = os.open("..", FOLDER, dir_fd=current)
                os.rmdir(names.pop(), dir_fd=following)
            else:
                break
            os.close(current)
            current = following
    finally:
        os.close(current)
    os.rmdir(path)


def _clear(folder: int) -> str | None:
    """Remove what can be removed at once; the name of a folder that can't."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=folder)
                continue
            try:
                os.rmdir(entry.name, dir_fd=folder)
            except OSError:
                return entry.name
    return None


def _enter(folder: int, name: str) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=folder)
        return os.open(name, FOLDER, dir_fd=folder)
