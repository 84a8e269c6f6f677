"""Verify a quarantine, and finish moves, restores and destructions that a dead process left unfinished.

Afterwards each file is either in its original place or in quarantine, never in both.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from hashscan.errors import OutputError
from hashscan.hash_chain import EMPTY, LogHead
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import QuarantineSkipped, split
from hashscan.quarantine.file_facts import restore_facts, seal
from hashscan.quarantine.folder import OpenFolders, QuarantineFolder
from hashscan.quarantine.item_storage import ItemStorage
from hashscan.quarantine.items import KEPT, UNFINISHED, Item, NoteState, State, apply_line
from hashscan.quarantine.log_checkpoint import known_heads
from hashscan.quarantine.notes import drop_taken_note, finish_note, log_note
from hashscan.quarantine.object_stores import Stores
from hashscan.quarantine.object_transfer import FINISH_OBJECT
from hashscan.quarantine.store import Quarantine, read_lines
from hashscan.quarantine.transfer import DisplacedError, give_back, open_folder, private_name
from hashscan.sources.filesystem.quarantined_files import sha256_of
from hashscan.sources.filesystem.safe_open import FILE_FLAGS, LIST_FLAGS, closing_descriptor, open_child
from hashscan.state_dir import StateDir
from hashscan.text import path_fields


def repair(quarantine: Quarantine) -> list[str]:
    """Finish moves, restores and destructions that were begun; return a message for each failure.

    Raises:
        OutputError: the quarantine can't be written.
    """
    troubles = []
    for item in quarantine.items().values():
        try:
            if item.state in UNFINISHED and item.is_object:
                FINISH_OBJECT[item.state](quarantine, item)
            elif item.state in UNFINISHED:
                _FINISH[item.state](quarantine, item, quarantine.storage.folder_of(item))
            if item.note is not None and item.note.state is NoteState.NOTING:
                _finish_noting(quarantine, item)
        except (OSError, QuarantineSkipped) as error:
            troubles.append(f"item {item.id} can't be finished: {error}")
    quarantine.sync()
    return troubles


def _finish_moving(quarantine: Quarantine, item: Item, place: QuarantineFolder) -> None:
    if item.record["way"] == "copy":
        _finish_copy(quarantine, item, place)
        return
    entry = item.id.encode()
    try:
        found = os.stat(entry, dir_fd=place.descriptor, follow_symlinks=False)
    except FileNotFoundError:
        quarantine.log_event(State.LEFT, item.id, outcome="interrupted", detail="it had not been moved yet")
        return
    if found.st_ino != item.record["file"]["inode"]:
        _return(quarantine, item, place, "something else was taken in its place")
        return
    with closing_descriptor(_open(place.descriptor, entry)) as file:
        if sha256_of(file) != item.sha256:
            restore_facts(file, item.record["file"])
            _return(quarantine, item, place, "it was changed as it was moved")
            return
        seal(file)
        system.sync(file)
        system.sync(place.descriptor)
        with suppress(QuarantineSkipped), closing_descriptor(open_folder(split(item.path)[0])) as parent:
            system.sync_folder(parent)
        quarantine.log_event(State.MOVED, item.id, links=os.fstat(file).st_nlink, repaired=True)


def _return(quarantine: Quarantine, item: Item, place: QuarantineFolder, why: str) -> None:
    """Move back a file that should not be in quarantine, or record that it can't be moved back."""
    parent_path, name = split(item.path)
    try:
        with closing_descriptor(open_folder(parent_path)) as parent:
            give_back(place.descriptor, item.id.encode(), parent, name)
            system.sync_folder(parent)
    except (DisplacedError, QuarantineSkipped) as error:
        quarantine.log_event(
            State.DISPLACED, item.id, place=path_fields(place.path), detail=f"{why}; {error}"
        )
    else:
        quarantine.log_event(State.LEFT, item.id, outcome="interrupted", detail=f"{why}, and was put back")


def _finish_copy(quarantine: Quarantine, item: Item, place: QuarantineFolder) -> None:
    """Keep the copy if the original is gone from its folder; otherwise delete the copy."""
    parent_path, name = split(item.path)
    entry = item.id.encode()
    whole = _is_whole(item, place)
    try:
        with closing_descriptor(open_folder(parent_path)) as parent:
            left = _in_private(parent, entry)
            if left is not None:
                with closing_descriptor(left):
                    if whole and _has_content(left, entry, item):
                        system.unlink(left, entry)
                    else:
                        _unseal(left, entry, item)
                        give_back(left, entry, parent, name)
                        whole = False
            with suppress(OSError):
                system.remove_folder(parent, private_name(entry))
            system.sync_folder(parent)
            # The inode number alone could be a later file's, after the copied file was deleted.
            whole = whole and not _has_content(parent, name, item)
    except QuarantineSkipped:
        if not whole:
            raise
    except DisplacedError as error:
        where = parent_path.rstrip(b"/") + b"/" + private_name(entry)
        quarantine.storage.drop(item)
        quarantine.log_event(State.DISPLACED, item.id, place=path_fields(where), detail=str(error))
        return
    if whole:
        with closing_descriptor(_open(place.descriptor, entry)) as file:
            seal(file)
            system.sync(file)
        quarantine.log_event(State.MOVED, item.id, links=0, repaired=True)
    else:
        quarantine.storage.drop(item)
        quarantine.log_event(State.LEFT, item.id, outcome="interrupted", detail="it had not been moved yet")


def _finish_restoring(quarantine: Quarantine, item: Item, place: QuarantineFolder) -> None:
    parent_path, name = split(item.path)
    entry = item.id.encode()
    kept = _inode(place.descriptor, entry) is not None
    if item.latest["way"] == "rename":
        drop_taken_note(item, place.descriptor)
        (_seal_again if kept else _log_restored)(quarantine, item, place)
        return
    try:
        parent = open_folder(parent_path)
    except QuarantineSkipped:
        _seal_again(quarantine, item, place)
        return
    with closing_descriptor(parent):
        there = _inode(parent, name)
        if there is not None and there == item.latest.get("inode"):
            _log_restored(quarantine, item, place)
        else:
            left = _in_private(parent, entry)
            if left is not None:
                with closing_descriptor(left):
                    system.unlink(left, entry)
                    drop_taken_note(item, left)
            _seal_again(quarantine, item, place)
        with suppress(OSError):
            system.remove_folder(parent, private_name(entry))


def _finish_noting(quarantine: Quarantine, item: Item) -> None:
    parent_path, name = split(item.path)
    try:
        parent = open_folder(parent_path)
    except QuarantineSkipped:
        log_note(quarantine, item, found=False)
        return
    with closing_descriptor(parent):
        finish_note(quarantine, item, parent, name)


def _log_restored(quarantine: Quarantine, item: Item, place: QuarantineFolder) -> None:
    """Record that an item is restored, after deleting a copy that is still kept."""
    quarantine.storage.drop(item)
    quarantine.log_event(State.RESTORED, item.id)


def _seal_again(quarantine: Quarantine, item: Item, place: QuarantineFolder) -> None:
    detail = "it was interrupted"
    if item.of_another:
        quarantine.log_event(State.DISPLACED, item.id, place=path_fields(item.place), detail=detail)
        return
    with closing_descriptor(_open(place.descriptor, item.id.encode())) as file:
        if not quarantine.is_restored_by_hard_link(item, os.fstat(file)):
            seal(file)
            system.sync(file)
    quarantine.log_event(State.STAYS, item.id, detail=detail)


def _finish_releasing(quarantine: Quarantine, item: Item, place: QuarantineFolder) -> None:
    try:
        quarantine.storage.drop(item)
    except QuarantineSkipped as error:
        quarantine.log_event(State.STAYS, item.id, detail=str(error))
    else:
        quarantine.log_event(State.RELEASED, item.id)


_FINISH = {
    State.MOVING: _finish_moving,
    State.RESTORING: _finish_restoring,
    State.RELEASING: _finish_releasing,
}


def _open(folder: int, entry: bytes) -> int:
    if os.geteuid() != 0:
        # An ordinary user can't open a file without read permission; nobody else has access to it here.
        os.chmod(entry, 0o400, dir_fd=folder)
    return open_child(folder, entry, FILE_FLAGS)


def _inode(folder: int, name: bytes) -> int | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


def _has_content(folder: int, name: bytes, item: Item) -> bool:
    """Return True if a name belongs to the file that was to be moved, unchanged."""
    facts = item.record["file"]
    if _inode(folder, name) != facts["inode"]:
        return False
    with suppress(FileNotFoundError), closing_descriptor(open_child(folder, name, FILE_FLAGS)) as file:
        status = os.fstat(file)
        return (
            stat.S_ISREG(status.st_mode)
            and (status.st_ino, status.st_size) == (facts["inode"], facts["size"])
            and sha256_of(file, status.st_size) == item.sha256
        )
    return False


def _unseal(folder: int, entry: bytes, item: Item) -> None:
    """Restore the attributes of a file that goes back; its owner may have another hard link to it."""
    if _inode(folder, entry) == item.record["file"]["inode"]:
        with closing_descriptor(_open(folder, entry)) as file:
            restore_facts(file, item.record["file"])


def _in_private(parent: int, entry: bytes) -> int | None:
    """Open our private folder beside a file; return None if it is not ours or doesn't hold the file."""
    try:
        folder = open_child(parent, private_name(entry), LIST_FLAGS)
    except OSError:
        return None
    status = os.fstat(folder)
    if status.st_uid == os.geteuid() and not status.st_mode & 0o077 and _inode(folder, entry) is not None:
        return folder
    os.close(folder)
    return None


def _is_whole(item: Item, place: QuarantineFolder) -> bool:
    entry = item.id.encode()
    with suppress(FileNotFoundError), closing_descriptor(_open(place.descriptor, entry)) as file:
        return sha256_of(file) == item.sha256
    return False


def verify(
    state: StateDir, given: LogHead | None, stores: Stores | None = None
) -> tuple[LogHead, int, list[str]]:
    """Verify the log and all that it says is kept.

    Args:
        given: a head that was kept elsewhere; the log must contain it and the head in the state folder.
        stores: opens the buckets in which objects are kept.

    Returns:
        The head of the log, the number of things kept, and a message for each error.

    Raises:
        BrokenLogError: a line of the log was changed or is missing.
        OutputError: the log can't be read.
    """
    troubles = []
    try:
        known = dict(known_heads(state, state.quarantine))
    except OutputError as error:
        # Verify the log by the other heads, so that the operator can write this one again.
        known = {}
        troubles.append(f"{error}. {error.remedy}")
    if given is not None:
        known["--head"] = given
    head = EMPTY
    items: dict[str, Item] = {}
    for line, head in read_lines(state, known):  # noqa: B007
        apply_line(items, line)
    kept = 0
    places = OpenFolders()
    storage = ItemStorage(stores or Stores({}), places, os.fsencode(state.quarantine))
    try:
        for item in items.values():
            if item.state in UNFINISHED:
                troubles.append(f"item {item.id}: {item.state.value} was begun and not ended; use --repair")
            if item.state not in KEPT:
                continue
            kept += 1
            if trouble := _trouble_of(item, storage):
                troubles.append(f"item {item.id}: {trouble}")
    finally:
        places.close()
    return head, kept, troubles


def _trouble_of(item: Item, storage: ItemStorage) -> str:
    try:
        if item.of_another:
            folder = storage.folder_of(item).descriptor
            os.stat(item.id.encode(), dir_fd=folder, follow_symlinks=False)
            return ""
        with storage.opened(item) as file:
            changed = not item.in_bucket and stat.S_IMODE(os.fstat(file).st_mode) & 0o377
            return "its permissions were changed" if changed else ""
    except QuarantineSkipped as error:
        return str(error)
    except OSError as error:
        return f"it can't be found: {error.strerror}"
