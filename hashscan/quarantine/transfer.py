"""Move a file out of or into a folder that its owner may change meanwhile, and prove its content."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import (
    CapturedFile,
    Outcome,
    QuarantineSkipped,
    SkipCause,
    same_status,
    to_skipped,
)
from hashscan.quarantine.file_facts import FileFacts, is_sealed, restore_facts, seal
from hashscan.quarantine.folder import QuarantineFolder
from hashscan.sources.filesystem.quarantined_files import sha256_of
from hashscan.sources.filesystem.safe_open import (
    FILE_FLAGS,
    LIST_FLAGS,
    PASS_FLAGS,
    closing_descriptor,
    open_absolute,
    open_child,
    reopen_for_reading,
)

_BLOCK = 1 << 20


class DisplacedError(Exception):
    """An error for a file moved by mistake that can't go back: its name is taken or its folder gone."""

    parent_path = b""
    """Path of the folder that it came from, if known."""


def open_folder(path: bytes) -> int:
    """Open a folder with `O_PATH`, without following a symlink."""
    try:
        return open_absolute(path, PASS_FLAGS)
    except OSError as error:
        outcome = Outcome.GONE if error.errno == errno.ENOENT else Outcome.RACED
        raise QuarantineSkipped(outcome, f"its folder can't be opened: {error.strerror}") from error


def take_out(folder: int, name: bytes, inode: tuple[int, int], into: int, entry: bytes) -> None:
    """Move a file into a folder of ours; if another file was put in its place, move that back at once
    (DisplacedError if that is not possible). Both folders are descriptors, on one mount; `inode` is the
    file's device and inode, `entry` its new name."""
    try:
        system.rename(folder, name, into, entry)
    except OSError as error:
        gone = error.errno == errno.ENOENT
        crossed = SkipCause.CROSSED if error.errno == errno.EXDEV else None
        outcome = Outcome.RACED if gone else Outcome.REFUSED
        raise QuarantineSkipped(outcome, error.strerror or str(error), crossed) from error
    found = os.stat(entry, dir_fd=into, follow_symlinks=False)
    if (found.st_dev, found.st_ino) != inode:
        give_back(into, entry, folder, name)
        raise QuarantineSkipped(Outcome.RACED, "something else was put in its place, and was left there")


def give_back(into: int, entry: bytes, folder: int, name: bytes) -> None:
    """Undo `take_out`."""
    try:
        give_name(into, entry, folder, name)
    except OSError as error:
        raise DisplacedError(error.strerror) from error


def give_name(source: int, entry: bytes, folder: int, name: bytes) -> None:
    """Move a file from our folder into a customer's; set the customer folder's project id on it if needed."""
    try:
        system.rename(source, entry, folder, name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with (
            closing_descriptor(open_child(source, entry, FILE_FLAGS)) as file,
            closing_descriptor(reopen_for_reading(folder)) as listed,
        ):
            system.copy_project_id(file, listed)
        system.rename(source, entry, folder, name)


def private_name(entry: bytes) -> bytes:
    """Return the name of the private folder in which one item crosses filesystems."""
    return b".hashscan-" + entry


@contextmanager
def private_folder(parent: int, entry: bytes) -> Iterator[int]:
    """Yield the descriptor of a new folder of ours in a customer's folder, closed to everybody else."""
    name = private_name(entry)
    try:
        system.make_folder(parent, name, stat.S_IRWXU)
        folder = open_child(parent, name, LIST_FLAGS)
    except OSError as error:
        raise QuarantineSkipped(
            Outcome.REFUSED, f"no folder can be made beside it: {error.strerror}"
        ) from error
    try:
        status = os.fstat(folder)
        # The parent's owner can replace it, but not by an empty folder of our user.
        if status.st_uid != os.geteuid() or status.st_mode & 0o077 or os.listdir(folder):
            raise QuarantineSkipped(Outcome.RACED, "another folder was put in place of ours")
        try:
            system.clear_project_inheritance(folder)
        except OSError as error:
            raise QuarantineSkipped(
                Outcome.REFUSED, f"its project can't be left: {error.strerror}"
            ) from error
        yield folder
    finally:
        os.close(folder)
        with suppress(OSError):  # it was moved away, or holds a file that can't go back
            system.remove_folder(parent, name)


def copy_content(source: int, target: int, size: int) -> None:
    """Copy at most `size` bytes of a file; it could grow without end."""
    offset = 0
    while block := os.pread(source, min(_BLOCK, size - offset), offset):
        system.write(target, block)
        offset += len(block)


_TRIES = 100
"""Number of tries for a file whose owner renames it at the same time."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DELETED = b" (deleted)"


def take_file(
    captured: CapturedFile, latest: os.stat_result, place: QuarantineFolder, *, within: bool
) -> dict[str, int]:
    """Move one file, seal it, and check that it is still what was hashed; it is renamed if its folder in
    quarantine is on its mount (`within`), else its copy is kept. `latest` is its status after the last change
    that we made. If the sha256 is known, only the content counts: it is compared when nobody can open the
    file any more, so neither a chmod nor a rename prevents the move. Otherwise the file must still be in its
    place, unchanged. Return access and modification time of its folder before, modification time after, in
    nanoseconds. DisplacedError: another file is in quarantine now and can't go back."""
    if captured.request.sha256 is None:
        _require_unchanged(captured, latest)
    parent, path, name = os.dup(captured.parent), captured.parent_path, captured.name
    try:
        for tries in range(1, _TRIES + 1):
            before = os.fstat(parent)
            try:
                _require_there(captured, parent, name)
                if within:
                    _take_into(captured, parent, name, place.descriptor)
                else:
                    _take_copied(captured, parent, name, place)
                break
            except QuarantineSkipped as error:
                if error.outcome is not Outcome.RACED or captured.request.sha256 is None or tries == _TRIES:
                    raise
                # The kernel knows the current name of the open file.
                path, name = _name_of(captured.file) or (path, name)
                with suppress(OSError, ValueError):
                    there = open_absolute(path, PASS_FLAGS)
                    os.close(parent)
                    parent = there
            except DisplacedError as error:
                error.parent_path = path
                raise
        after = os.fstat(parent).st_mtime_ns
    finally:
        os.close(parent)
    return {"atime_ns": before.st_atime_ns, "mtime_ns": before.st_mtime_ns, "after_ns": after}


def copy_files(files: list[tuple[CapturedFile, QuarantineFolder]]) -> dict[str, QuarantineSkipped]:
    """Copy files from other filesystems, and sync the copies before any original is removed; return by item
    the error if there is no space for its copy. A copy of a file that changes meanwhile has other content
    than was hashed; `take` detects that."""
    lacking: dict[str, QuarantineSkipped] = {}
    for captured, place in files:
        try:
            with closing_descriptor(system.create(place.descriptor, captured.entry, 0o600)) as copy:
                copy_content(captured.file, copy, captured.status.st_size)
                seal(copy)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                where = os.fsdecode(place.path)
                raise OutputError(f"can't keep a copy in {where}: {error.strerror}") from error
            with suppress(FileNotFoundError):
                system.unlink(place.descriptor, captured.entry)
            detail = f"there is no room for a copy in {os.fsdecode(place.path)}: {error.strerror}"
            lacking[captured.item] = QuarantineSkipped(Outcome.REFUSED, detail)
    for place in {place.mount: place for _, place in files}.values():
        system.sync_file_system(place.descriptor)
    return lacking


def _require_unchanged(captured: CapturedFile, latest: os.stat_result) -> None:
    with closing_descriptor(open_folder(captured.parent_path)) as parent:
        if not os.path.samestat(os.fstat(parent), os.fstat(captured.parent)):
            raise QuarantineSkipped(Outcome.RACED, "another folder was put in place of its own")
        if not same_status(_require_there(captured, parent, captured.name), latest):
            raise QuarantineSkipped(Outcome.RACED, "it was changed since it was found")


def _require_there(captured: CapturedFile, parent: int, name: bytes) -> os.stat_result:
    """Check that a name is the file's: another file, if taken by mistake, might not be able to go back."""
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        raise QuarantineSkipped(Outcome.RACED, error.strerror or str(error)) from error
    if (there.st_dev, there.st_ino) != captured.inode:
        raise QuarantineSkipped(Outcome.RACED, "something else was put in its place")
    return there


def _name_of(file: int) -> tuple[bytes, bytes] | None:
    """Return the folder and name that an open file has now; None if the kernel can't say it."""
    try:
        path = os.readlink(b"/proc/self/fd/%d" % file)
    except OSError:
        return None
    if not path.startswith(b"/") or path.endswith(_DELETED):
        return None
    parent, _, name = path.rpartition(b"/")
    return parent or b"/", name


def _take_into(captured: CapturedFile, parent: int, name: bytes, into: int) -> None:
    """Move a file into a folder of ours and seal it; move it back if it is not what was hashed."""
    take_out(parent, name, captured.inode, into, captured.entry)
    facts = _facts_now(captured)
    try:
        # Also if it is deleted next: its owner may have made another hard link at the last moment.
        seal(captured.file)
        if sha256_of(captured.file, captured.status.st_size) != captured.digests["sha256"]:
            raise QuarantineSkipped(Outcome.CHANGED, "it was changed as it was moved")
    except (OSError, QuarantineSkipped) as error:
        restore_facts(captured.file, facts)
        give_back(into, captured.entry, parent, name)
        raise to_skipped(error) from error


def _take_copied(captured: CapturedFile, parent: int, name: bytes, place: QuarantineFolder) -> None:
    """Remove a file that was copied, after proving that it is the one that was copied."""
    with closing_descriptor(open_child(place.descriptor, captured.entry, FILE_FLAGS)) as copy:
        if sha256_of(copy) != captured.digests["sha256"]:
            raise QuarantineSkipped(Outcome.CHANGED, "it changed while it was copied")
    with private_folder(parent, captured.entry) as private:
        _take_into(captured, parent, name, private)
        system.unlink(private, captured.entry)


def _facts_now(captured: CapturedFile) -> FileFacts:
    """Return the facts to restore if the file goes back; its owner may have changed it since the hashing."""
    status = os.fstat(captured.file)
    if is_sealed(status):
        return captured.facts
    return {
        **captured.facts,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mode": stat.S_IMODE(status.st_mode),
        "atime_ns": status.st_atime_ns,
        "mtime_ns": status.st_mtime_ns,
    }
