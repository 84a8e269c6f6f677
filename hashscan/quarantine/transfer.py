"""Takes one file out of a stranger's folder, and proves that it is what was hashed."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Held, NotDone, Outcome, same
from hashscan.quarantine.custody_record import Facts, is_sealed, put_back, seal
from hashscan.quarantine.exchange import (
    DisplacedError,
    copy_content,
    give_back,
    open_folder,
    private_folder,
    take_out,
)
from hashscan.quarantine.folder import Place
from hashscan.sources.beneath import FILE_FLAGS, PASS_FLAGS, open_absolute, open_child
from hashscan.sources.evidence import sha256_of

_TRIES = 100
"""To take a file whose owner renames it meanwhile."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DELETED = b" (deleted)"


def take(held: Held, latest: os.stat_result, place: Place, *, within: bool) -> dict[str, int]:
    """Move one file, seal it, and see that it is still what was hashed.

    Where the content is known by its sha256, that alone counts: it is compared once nobody can open the file
    any more. So neither a chmod nor a new name keeps it. Else it must have stayed where it is, unchanged.

    Args:
        held: the file.
        latest: its status when it was touched last.
        place: where to.
        within: whether it is renamed into that, and not copied.

    Returns:
        Times of the folder before and after.

    Raises:
        NotDone: it stays where it is.
        DisplacedError: something else is in quarantine now and can't go back.
        OutputError: the quarantine can't be written.
    """
    if held.request.sha256 is None:
        _require_unchanged(held, latest)
    parent, path, name = os.dup(held.parent), held.parent_path, held.name
    try:
        for tries in range(1, _TRIES + 1):
            before = os.fstat(parent)
            try:
                _require_there(held, parent, name)
                (_take_within if within else _take_across)(held, parent, name, place)
                break
            except NotDone as error:
                if error.outcome is not Outcome.RACED or held.request.sha256 is None or tries == _TRIES:
                    raise
                # The system knows the name that the open file has by now.
                path, name = _name_of(held.file) or (path, name)
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


def keep_copies(files: list[tuple[Held, Place]]) -> dict[str, NotDone]:
    """Copy files of other file systems, and see that the copies last before any file is removed.

    What is copied while it changes is not what was hashed; it is told from that when the file is taken.

    Returns:
        By item, why there is no copy: for want of space, which is no reason to leave others.

    Raises:
        OutputError: one can't be written for another reason.
    """
    lacking: dict[str, NotDone] = {}
    for held, place in files:
        try:
            copy = system.create(place.descriptor, held.entry, 0o600)
            try:
                copy_content(held.file, copy, held.status.st_size)
                seal(copy)
            finally:
                os.close(copy)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                where = os.fsdecode(place.path)
                raise OutputError(f"can't keep a copy in {where}: {error.strerror}") from error
            with suppress(FileNotFoundError):
                system.unlink(place.descriptor, held.entry)
            detail = f"there is no room for a copy in {os.fsdecode(place.path)}: {error.strerror}"
            lacking[held.item] = NotDone(Outcome.REFUSED, detail)
    for place in {place.mount: place for _, place in files}.values():
        system.sync_file_system(place.descriptor)
    return lacking


def _require_unchanged(held: Held, latest: os.stat_result) -> None:
    parent = open_folder(held.parent_path)
    try:
        if not os.path.samestat(os.fstat(parent), os.fstat(held.parent)):
            raise NotDone(Outcome.RACED, "another folder was put in place of its own")
        try:
            there = os.stat(held.name, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            raise NotDone(Outcome.RACED, error.strerror or str(error)) from error
        if not same(there, latest):
            raise NotDone(Outcome.RACED, "something else was put in its place, or it was changed")
    finally:
        os.close(parent)


def _require_there(held: Held, parent: int, name: bytes) -> None:
    """See that a name is the file's, so that nothing else is taken which might not be able to go back."""
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        raise NotDone(Outcome.RACED, error.strerror or str(error)) from error
    if (there.st_dev, there.st_ino) != (held.status.st_dev, held.status.st_ino):
        raise NotDone(Outcome.RACED, "something else was put in its place")


def _name_of(file: int) -> tuple[bytes, bytes] | None:
    """The folder and the name that an open file has now, where the system can say it."""
    try:
        path = os.readlink(b"/proc/self/fd/%d" % file)
    except OSError:
        return None
    if not path.startswith(b"/") or path.endswith(_DELETED):
        return None
    parent, _, name = path.rpartition(b"/")
    return parent or b"/", name


def _take_within(held: Held, parent: int, name: bytes, place: Place) -> None:
    inode = (held.status.st_dev, held.status.st_ino)
    take_out(parent, name, inode, place.descriptor, held.entry)
    facts = _facts_now(held)
    try:
        seal(held.file)
        _require_content(held)
    except (OSError, NotDone) as error:
        put_back(held.file, facts)
        give_back(place.descriptor, held.entry, parent, name)
        raise error if isinstance(error, NotDone) else _refused(error) from error


def _take_across(held: Held, parent: int, name: bytes, place: Place) -> None:
    """Remove a file of which a copy is kept, once it is proved to be the one that was copied."""
    if not _is_whole(held, place):
        raise NotDone(Outcome.CHANGED, "it changed while it was copied")
    with private_folder(parent, held.entry) as private:
        inode = (held.status.st_dev, held.status.st_ino)
        take_out(parent, name, inode, private, held.entry)
        facts = _facts_now(held)
        try:
            # Its owner may have given it another name at the last moment.
            seal(held.file)
            _require_content(held)
        except (OSError, NotDone) as error:
            put_back(held.file, facts)
            give_back(private, held.entry, parent, name)
            raise error if isinstance(error, NotDone) else _refused(error) from error
        system.unlink(private, held.entry)


def _facts_now(held: Held) -> Facts:
    """What a file is to be again if it goes back: its owner may have changed it since it was hashed."""
    status = os.fstat(held.file)
    if is_sealed(status):
        return held.facts
    return {
        **held.facts,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mode": stat.S_IMODE(status.st_mode),
        "atime_ns": status.st_atime_ns,
        "mtime_ns": status.st_mtime_ns,
    }


def _is_whole(held: Held, place: Place) -> bool:
    copy = open_child(place.descriptor, held.entry, FILE_FLAGS)
    try:
        return sha256_of(copy) == held.digests["sha256"]
    finally:
        os.close(copy)


def _require_content(held: Held) -> None:
    if sha256_of(held.file, held.status.st_size) != held.digests["sha256"]:
        raise NotDone(Outcome.CHANGED, "it was changed as it was moved")


def _refused(error: OSError) -> NotDone:
    if error.errno in {errno.EIO, errno.EROFS}:
        return NotDone(Outcome.REFUSED, f"the disk fails: {error.strerror}")
    return NotDone(Outcome.REFUSED, error.strerror or str(error))
