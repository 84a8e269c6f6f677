"""Leaves a text in the place of a file that was moved, and takes it away when the file comes back."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Held, NotDone, Outcome
from hashscan.quarantine.exchange import DisplacedError, give_back, take_out
from hashscan.quarantine.items import Item, Note, NoteState
from hashscan.quarantine.store import Quarantine
from hashscan.sources.beneath import FILE_FLAGS, open_child
from hashscan.sources.evidence import sha256_of

_MOST = 1 << 14
"""Bytes."""

_MODE = 0o644
_ALLOWED = frozenset("\n\r\t")


def read_note(path: Path) -> bytes:
    """The text of a file that an operator wrote for customers.

    Raises:
        UsageError: it can't be read, or is no plain text of at most 16 KiB.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise UsageError(
            f"can't read the note {path}: {error.strerror}", advice="Name a text file."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is no text in UTF-8", advice="A note is plain text, never a picture."
        ) from error
    if not text.strip() or len(content) > _MOST:
        raise UsageError(f"{path} is empty or has more than {_MOST} bytes", advice="Write a short text.")
    if any(unicodedata.category(c) == "Cc" and c not in _ALLOWED for c in text) or "<svg" in text.lower():
        raise UsageError(f"{path} is not plain text", advice="A note is plain text, never a picture.")
    return content


def leave_notes(quarantine: Quarantine, moved: Sequence[Held], text: bytes) -> Mapping[str, str]:
    """Put a text where files were; the name is theirs, and nothing that has it by now is replaced.

    Args:
        quarantine: that has them, and whose log says so already.
        moved: the files.
        text: as `read_note` gave it.

    Returns:
        By item, why there is no note.

    Raises:
        OSError: the disk fails.
        OutputError: the log can't be written.
    """
    digest = hashlib.sha256(text).hexdigest()
    without: dict[str, str] = {}
    with ExitStack() as stack:
        made: list[tuple[Held, int]] = []
        for held in moved:
            try:
                note = system.create_unnamed(held.parent, _MODE)
            except OSError as error:
                without[held.item] = f"none can be made there: {error.strerror}"
                continue
            stack.callback(os.close, note)
            system.write(note, text)
            # It is read by the customer, whatever mask this process has.
            system.change_mode(note, _MODE)
            system.sync(note)
            # Which file it is, should we die as soon as it has a name.
            quarantine.note(NoteState.NOTING, held.item, inode=os.fstat(note).st_ino, sha256=digest)
            made.append((held, note))
        quarantine.log.sync()
        for held, note in made:
            before = os.fstat(held.parent)
            try:
                system.name_file(note, held.parent, held.name)
            except OSError as error:
                without[held.item] = error.strerror or str(error)
                quarantine.note(NoteState.NO_NOTE, held.item, detail=without[held.item])
                continue
            # As if nothing had been done in the folder, or its times could not come back with the file.
            with suppress(PermissionError):
                system.set_folder_times(held.parent, before.st_atime_ns, before.st_mtime_ns)
            quarantine.note(NoteState.NOTED, held.item)
        for descriptor in {held.status.st_dev: note for held, note in made}.values():
            system.sync_file_system(descriptor)
    quarantine.settle()
    return without


def take_away(item: Item, into: int, into_path: bytes, parent: int, name: bytes) -> None:
    """Remove the note from the place of a file that is to come back; whatever else is there stays.

    Args:
        item: which.
        into: descriptor of a folder of ours on the same mount.
        into_path: of that folder, for words.
        parent: descriptor of the folder that has the note.
        name: of the file.

    Raises:
        NotDone: something else was put in its place as we looked.
        OSError: the disk fails.
    """
    if item.note is None or item.note.state is NoteState.NO_NOTE or not _is_there(item.note, parent, name):
        return
    there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    entry = entry_of(item)
    try:
        take_out(parent, name, (there.st_dev, item.note.inode), into, entry)
        if not _is_there(item.note, into, entry):
            give_back(into, entry, parent, name)
            raise NotDone(Outcome.RACED, "its note was changed as it was taken away")
    except DisplacedError as error:
        where = os.fsdecode(into_path + b"/" + entry)
        raise NotDone(
            Outcome.RACED, f"something else was put in the place of its note, and is kept as {where}: {error}"
        ) from error
    system.unlink(into, entry)


def finish_note(quarantine: Quarantine, item: Item, parent: int, name: bytes) -> None:
    """Say in the log whether a note came to be whose writer died."""
    if item.note is not None and item.note.state is NoteState.NOTING:
        there = parent >= 0 and _is_there(item.note, parent, name)
        quarantine.note(NoteState.NOTED if there else NoteState.NO_NOTE, item.id, repaired=True)


def drop_taken_note(item: Item, folder: int) -> None:
    """Remove a note that was taken away by a process that died before it was gone.

    Raises:
        OSError: the disk fails.
    """
    if item.note is not None and _is_there(item.note, folder, entry_of(item)):
        system.unlink(folder, entry_of(item))


def entry_of(item: Item) -> bytes:
    """The name that a note has for a moment in a folder of ours."""
    return item.id.encode() + b".note"


def _is_there(note: Note, folder: int, name: bytes) -> bool:
    """Whether a name is that of the very note that was left."""
    try:
        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if seen.st_ino != note.inode or not stat.S_ISREG(seen.st_mode):
            return False
        file = open_child(folder, name, FILE_FLAGS)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
            return False
        raise
    try:
        status = os.fstat(file)
        # Its number may be another file's by now, but only ours has its content and is of this user.
        return (
            (status.st_ino, status.st_uid) == (note.inode, os.geteuid())
            and status.st_size <= _MOST
            and sha256_of(file, status.st_size) == note.sha256
        )
    finally:
        os.close(file)
