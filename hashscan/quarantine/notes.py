"""Put a text note in the place of a file that was moved, and remove it when the file is restored."""

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
from hashscan.quarantine.captured_file import CapturedFile, Outcome, QuarantineSkipped
from hashscan.quarantine.items import Item, Note, NoteState
from hashscan.quarantine.store import Quarantine
from hashscan.quarantine.transfer import DisplacedError, give_back, take_out
from hashscan.sources.filesystem.quarantined_files import sha256_of
from hashscan.sources.filesystem.safe_open import FILE_FLAGS, closing_descriptor, open_child

_MOST = 1 << 14
"""Maximum size in bytes."""

_MODE = 0o644
_ALLOWED = frozenset("\n\r\t")


def read_note(path: Path) -> bytes:
    """Read the text file that an operator wrote for customers.

    Raises:
        UsageError: it can't be read, is empty, or is not plain text of at most 16 KiB.
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
            f"{path} is not text in UTF-8", advice="A note is plain text, never a picture."
        ) from error
    if not text.strip() or len(content) > _MOST:
        raise UsageError(f"{path} is empty or has more than {_MOST} bytes", advice="Write a short text.")
    if any(unicodedata.category(c) == "Cc" and c not in _ALLOWED for c in text) or "<svg" in text.lower():
        raise UsageError(f"{path} is not plain text", advice="A note is plain text, never a picture.")
    return content


def write_notes(quarantine: Quarantine, moved: Sequence[CapturedFile], text: bytes) -> Mapping[str, str]:
    """Put a text in the place of moved files, under their names; never replace a file that is there by
    now. The log must already say that the files are moved. Return by item the reason for which there is no
    note."""
    digest = hashlib.sha256(text).hexdigest()
    without: dict[str, str] = {}
    with ExitStack() as stack:
        made: list[tuple[CapturedFile, int]] = []
        for captured in moved:
            try:
                note = system.create_unnamed(captured.parent, _MODE)
            except OSError as error:
                without[captured.item] = f"none can be made there: {error.strerror}"
                continue
            stack.callback(os.close, note)
            system.write(note, text)
            # The customer must be able to read it, whatever umask this process has.
            system.change_mode(note, _MODE)
            system.sync(note)
            # The inode identifies the note if this process dies right after it was named.
            quarantine.log_event(NoteState.NOTING, captured.item, inode=os.fstat(note).st_ino, sha256=digest)
            made.append((captured, note))
        quarantine.log.sync()
        for captured, note in made:
            before = os.fstat(captured.parent)
            try:
                system.name_file(note, captured.parent, captured.name)
            except OSError as error:
                without[captured.item] = error.strerror or str(error)
                quarantine.log_event(NoteState.NO_NOTE, captured.item, detail=without[captured.item])
                continue
            # Set the folder's times back: otherwise they can't be restored together with the file.
            with suppress(PermissionError):
                system.set_folder_times(captured.parent, before.st_atime_ns, before.st_mtime_ns)
            quarantine.log_event(NoteState.NOTED, captured.item)
        for descriptor in {captured.status.st_dev: note for captured, note in made}.values():
            system.sync_file_system(descriptor)
    quarantine.sync()
    return without


def remove_note(item: Item, into: int, into_path: bytes, parent: int, name: bytes) -> None:
    """Remove the note from the place of a file that is to be restored, by moving it `into` a folder of ours
    on the same mount; leave anything else that is there, also if it was put there during the operation."""
    if item.note is None or item.note.state is NoteState.NO_NOTE or not _is_there(item.note, parent, name):
        return
    there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    entry = entry_of(item)
    try:
        take_out(parent, name, (there.st_dev, item.note.inode), into, entry)
        if not _is_there(item.note, into, entry):
            give_back(into, entry, parent, name)
            raise QuarantineSkipped(Outcome.RACED, "its note was changed as it was removed")
    except DisplacedError as error:
        where = os.fsdecode(into_path + b"/" + entry)
        raise QuarantineSkipped(
            Outcome.RACED, f"something else was put in the place of its note, and is kept as {where}: {error}"
        ) from error
    system.unlink(into, entry)


def finish_note(quarantine: Quarantine, item: Item, parent: int, name: bytes) -> None:
    """Record in the log if a note exists whose writer died before recording it."""
    if item.note is not None:
        log_note(quarantine, item, found=_is_there(item.note, parent, name))


def log_note(quarantine: Quarantine, item: Item, *, found: bool) -> None:
    """Record in the log if the note of an item was found by a repair."""
    quarantine.log_event(NoteState.NOTED if found else NoteState.NO_NOTE, item.id, repaired=True)


def drop_taken_note(item: Item, folder: int) -> None:
    """Delete a note that a dead process had moved into a folder of ours and not yet deleted."""
    if item.note is not None and _is_there(item.note, folder, entry_of(item)):
        system.unlink(folder, entry_of(item))


def entry_of(item: Item) -> bytes:
    """Return the name that a note has in a folder of ours before it is deleted."""
    return item.id.encode() + b".note"


def _is_there(note: Note, folder: int, name: bytes) -> bool:
    """Return True if a name belongs to the note that was left, by inode, owner and content."""
    try:
        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if seen.st_ino != note.inode or not stat.S_ISREG(seen.st_mode):
            return False
        file = open_child(folder, name, FILE_FLAGS)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
            return False
        raise
    with closing_descriptor(file):
        status = os.fstat(file)
        # The inode number may be another file's by now, but only our note has this content and this owner.
        return (
            (status.st_ino, status.st_uid) == (note.inode, os.geteuid())
            and status.st_size <= _MOST
            and sha256_of(file, status.st_size) == note.sha256
        )
