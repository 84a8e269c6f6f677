"""Resolve the paths that an administrator names to folders and files, each once, and the symlinks in them."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from hashscan.errors import TargetError
from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.filesystem.mounts import ForeignMountError, is_pseudo, refuse_foreign_mount, seen
from hashscan.sources.filesystem.regular_files import describe_file_type, open_regular
from hashscan.sources.filesystem.safe_open import (
    EXAMINE_FLAGS,
    LIST_FLAGS,
    PASS_FLAGS,
    open_absolute,
    open_child,
    stat_absolute,
)
from hashscan.sources.patterns import Patterns

_BUCKET = re.compile(rb"(s3|gs|az|https?):/", re.IGNORECASE)
"""The beginning of a URL whose second slash may be missing."""
_LINKS_MAX = 40
"""Maximum number of symlinks in one path, as in the kernel."""


def resolve_admin_links(path: bytes) -> bytes:
    """Return the path of a folder with the symlinks of root and of the scanning user resolved.

    Symlinks of customers can lead anywhere, so from the first of these on, the path stays unchanged; so does
    the part that does not exist.

    Args:
        path: absolute, without `.` and `..`.
    """
    trusted = {0, os.geteuid()}
    real, left = b"", path.strip(b"/").split(b"/")
    links = 0
    while left:
        part, *left = left
        if part in {b"", b"."}:
            continue
        if part == b"..":
            real = os.path.dirname(real).rstrip(b"/")
            continue
        here = b"%b/%b" % (real, part)
        try:
            found = stat_absolute(here)
            if not stat.S_ISLNK(found.st_mode):
                real = here
                continue
            links += 1
            if found.st_uid not in trusted or links > _LINKS_MAX:
                return b"/".join((here, *left))
            target = os.readlink(here)
        except (OSError, ValueError):
            return b"/".join((here, *left))
        if target.startswith(b"/"):
            real = b""
        left = [*target.split(b"/"), *left]
    return real or b"/"


def owner_at(path: bytes) -> int | None:
    """Return the user who owns a file, by its path or one through the administrator's symlinks; None if it is
    not there, or on another user's FUSE."""
    try:
        return stat_absolute(resolve_admin_links(path)).st_uid
    except (OSError, ValueError):
        return None


class PathStep(NamedTuple):
    """A folder on the path from the root of the file system to a target."""

    device: int
    inode: int
    pseudo: bool
    """True if a file system that stores no files starts here."""


@dataclass(frozen=True, slots=True)
class Target:
    """A folder to walk, or a single file to read."""

    path: bytes
    """Absolute path of the folder, with every symlink resolved. For a single file, the folder that contains
    it."""
    name: bytes | None
    way: tuple[PathStep, ...]
    """The folders from `/` to the target folder, both included; empty if another user's FUSE is mounted on
    it.

    The walk then reports that: whoever mounted it must not be able to stop the scan of other targets."""

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the folder; 0 and 0 if it can't be entered."""
        if not self.way:
            return 0, 0
        return self.way[-1].device, self.way[-1].inode


def resolve(
    paths: Iterable[bytes],
    *,
    exclude: Patterns,
    one_file_system: bool,
    protected: frozenset[tuple[int, int]],
) -> tuple[Target, ...]:
    """Find the targets, in the given order.

    A target that the scan of another one reaches is left out, so that its files get one verdict. A target
    beneath another one is kept if a pattern or a mount point hides it from that scan, because it was named
    explicitly.
    """
    found = [_find(path, protected) for path in paths]
    kept: list[Target] = []
    # Shallow targets first: if a target is left out because of another one, that one must be kept itself.
    for target in sorted(found, key=lambda target: len(target.way)):
        if not any(_reaches(other, target, exclude, one_file_system) for other in kept):
            kept.append(target)
    return tuple(sorted(kept, key=found.index))


def _find(given: bytes, protected: frozenset[tuple[int, int]]) -> Target:
    shown = repr(os.fsdecode(given))
    if not given:
        raise TargetError(
            "a target is empty",
            advice="Name a folder or file; a variable of the shell in the command may be unset.",
        )
    if b"\0" in given:
        raise TargetError(f"{shown} is not a path")
    try:
        # Symlinks in the path are the administrator's own; they are followed here, once, and never again.
        path = real_path(given)
        folder, name, way = _examine_target(path)
    except ForeignMountError:
        return Target(os.path.abspath(given), None, ())
    except OSError as error:
        if error.errno == errno.ENOENT:
            bucket = _BUCKET.match(given)
            here = "" if given.startswith(b"/") or bucket else _current_folder()
            raise TargetError(
                f"the target {shown} does not exist{here}",
                advice=f"Write it as {bucket[1].decode()}://, with two slashes." if bucket else None,
            ) from error
        raise TargetError(f"the target {shown} can't be opened: {error.strerror}") from error
    except FileError as error:
        if error.reason is Reason.FUSE:
            return Target(os.path.abspath(given), None, ())
        raise TargetError(f"the target {shown} can't be opened: {error.detail or error}") from error
    if any((step.device, step.inode) in protected for step in way):
        raise TargetError(
            f"the target {shown} is in hashscan's own folder",
            advice="Name other targets; hashscan's own state, lists and reports are never scanned.",
        )
    return Target(folder, name, way)


def _current_folder() -> str:
    """Return the end of a message with the folder that a relative path begins in; empty if it was removed."""
    try:
        return f" in {os.fsdecode(os.getcwdb())!r}"
    except OSError:
        return ""


def leads_somewhere(path: bytes) -> bool:
    """Return True if a path, with its symlinks, leads to something or into another user's FUSE."""
    try:
        real_path(path)
    except ForeignMountError:
        return True
    except (OSError, ValueError):
        return False
    return True


def real_path(path: bytes) -> bytes:
    """Resolve a path as os.path.realpath with `strict` does, without calling another user's FUSE server.

    Raises:
        ForeignMountError: it leads into such a FUSE.
        OSError: it does not exist, or contains too many symlinks.
    """
    if not path.startswith(b"/"):
        path = os.getcwdb() + b"/" + path
    coming = path.split(b"/")[::-1]
    names: list[bytes] = []
    links = 0
    while coming:
        name = coming.pop()
        if name in {b"", b"."}:
            continue
        if name == b"..":
            del names[-1:]
            continue
        folder = open_absolute(b"/" + b"/".join(names), PASS_FLAGS)
        try:
            found = open_child(folder, name, EXAMINE_FLAGS)
            try:
                if not stat.S_ISLNK(refuse_foreign_mount(found, seen(folder)).mode):
                    names.append(name)
                    continue
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink(b"", dir_fd=found)
            finally:
                os.close(found)
        finally:
            os.close(folder)
        if target.startswith(b"/"):
            names.clear()
        coming.extend(target.split(b"/")[::-1])
    return b"/" + b"/".join(names)


def _examine_target(path: bytes) -> tuple[bytes, bytes | None, tuple[PathStep, ...]]:
    """Return the folder at a path, or the folder and the name of a file, and the steps to the folder."""
    way: list[PathStep] = []
    names = [name for name in path.split(b"/") if name]
    current = os.open(b"/", PASS_FLAGS)
    try:
        way.append(_step(current, None))
        for position, name in enumerate(names):
            deeper = open_child(current, name, EXAMINE_FLAGS)
            try:
                refuse_foreign_mount(deeper, seen(current))
            except OSError:
                os.close(deeper)
                raise
            status = os.fstat(deeper)
            last = position == len(names) - 1
            if last and is_pseudo(deeper):
                os.close(deeper)
                raise TargetError(
                    f"the target {os.fsdecode(path)!r} is on a kernel file system, which stores no files",
                    advice="Name the folders that store files; /proc, /sys and their like are never scanned.",
                )
            if last and stat.S_ISREG(status.st_mode):
                os.close(deeper)
                _require_readable(current, name, status)
                return path[: -len(name) - 1] or b"/", name, tuple(way)
            os.close(current)
            current = deeper
            if not stat.S_ISDIR(status.st_mode):
                what = describe_file_type(status.st_mode)
                raise TargetError(f"the target {os.fsdecode(path)!r} is {what}, not a folder or a file")
            way.append(_step(current, way[-1]))
        os.close(os.open(b".", LIST_FLAGS, dir_fd=current))
        return path, None, tuple(way)
    finally:
        os.close(current)


def _require_readable(folder: int, name: bytes, status: os.stat_result) -> None:
    """Check that a file can be opened. A lease on it is not an error, because the scan waits for it."""
    try:
        os.close(open_regular(folder, name, status.st_dev, status.st_ino)[0])
    except FileError as trouble:
        if trouble.reason is not Reason.LEASED:
            raise


def _step(descriptor: int, above: PathStep | None) -> PathStep:
    status = os.fstat(descriptor)
    crossed = above is None or above.device != status.st_dev
    return PathStep(status.st_dev, status.st_ino, crossed and is_pseudo(descriptor))


def _reaches(outer: Target, inner: Target, exclude: Patterns, one_file_system: bool) -> bool:
    """Return True if walking the target `outer` reaches the target `inner`."""
    if not (outer.way and inner.way):
        return outer.path == inner.path
    if outer.name is not None:
        return outer.name == inner.name and outer.identity == inner.identity
    # Compare identities instead of paths, so that bind mounts of a folder count as that folder.
    passed = [(step.device, step.inode) for step in inner.way]
    if outer.identity not in passed:
        return False
    start = len(passed) - passed[::-1].index(outer.identity)
    place = exclude.start
    names = [name for name in inner.path.split(b"/") if name]
    for name, step in zip(names[start - 1 :], inner.way[start:], strict=True):
        if exclude.excludes(place, name, is_folder=True) or step.pseudo:
            return False
        if one_file_system and step.device != outer.way[-1].device:
            return False
        place = exclude.descend(place, name)
    return True
