"""Puts files back where they were found, as they were."""

from __future__ import annotations

import os
from contextlib import suppress

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.custody import is_sealed, put_back, seal
from hashscan.quarantine.exchange import copy_content, open_folder, private_folder, private_name, sync_folder
from hashscan.quarantine.holding import NotDone, Outcome, sha256_of, split
from hashscan.quarantine.items import KEPT, Item, State, path_fields
from hashscan.quarantine.notes import take_away
from hashscan.quarantine.objects.restoring import restore_object
from hashscan.quarantine.place import Place, mount_of
from hashscan.quarantine.store import Quarantine
from hashscan.sources.beneath import FILE_FLAGS, open_child


def restore(quarantine: Quarantine, item: Item) -> None:
    """Put one item back: content, owner, mode, attributes, times.

    Raises:
        NotDone: it stays: it is not in quarantine or was altered, its folder is gone, or its name is taken.
        OutputError: the quarantine can't be written; `repair` finishes what was begun.
    """
    if item.state not in KEPT:
        raise NotDone(Outcome.REFUSED, f"it is not in quarantine: {item.state.value}")
    if item.of_object:
        restore_object(quarantine, item)
        return
    place = place_of(quarantine, item)
    parent_path, name = split(item.path)
    parent = open_folder(parent_path)
    try:
        if item.of_another:
            _rename(quarantine, item, place, parent, name)
            return
        file = open_item(item, place)
        try:
            if mount_of(parent) == place.mount:
                _restore_within(quarantine, item, place, file, parent, name)
            else:
                _restore_across(quarantine, item, place, file, parent, name)
        finally:
            os.close(file)
    finally:
        os.close(parent)


def place_of(quarantine: Quarantine, item: Item) -> Place:
    """The folder that an item is kept in.

    Raises:
        NotDone: it is not there; perhaps its file system is not mounted.
    """
    try:
        return quarantine.places.at(item.place)
    except OSError as error:
        where = os.fsdecode(item.place)
        raise NotDone(Outcome.GONE, f"the folder {where} can't be opened: {error.strerror}") from error


def open_item(item: Item, place: Place) -> int:
    """Open what is kept of an item and see that it is what was found.

    Raises:
        NotDone: it is gone or was altered.
    """
    try:
        file = open_child(place.descriptor, item.id.encode(), FILE_FLAGS)
    except OSError as error:
        raise NotDone(Outcome.GONE, f"what was kept can't be opened: {error.strerror}") from error
    try:
        if sha256_of(file) != item.sha256:
            raise NotDone(Outcome.CHANGED, "what was kept has been altered")
    except OSError as error:
        os.close(file)
        raise NotDone(Outcome.REFUSED, f"what was kept can't be read: {error.strerror}") from error
    except NotDone:
        os.close(file)
        raise
    return file


def _restore_within(
    quarantine: Quarantine, item: Item, place: Place, file: int, parent: int, name: bytes
) -> None:
    quarantine.note(State.RESTORING, item.id, way="rename", **item.why_back)
    quarantine.log.sync()
    before = os.fstat(parent)
    # Else it is back by another of its names, and its owner may have changed it since.
    sealed = is_sealed(os.fstat(file))
    try:
        if sealed:
            put_back(file, item.record["file"])
            system.sync(file)
        take_away(item, place.descriptor, place.path, parent, name)
        _set_in(item, place.descriptor, parent, name)
    except (OSError, NotDone) as error:
        if sealed:
            seal(file)
        raise _stays(quarantine, item, error) from error
    _settle(quarantine, item, place, parent, before)


def _rename(quarantine: Quarantine, item: Item, place: Place, parent: int, name: bytes) -> None:
    """Put back what is not opened, since nobody knows what it is."""
    quarantine.note(State.RESTORING, item.id, way="rename", **item.why_back)
    quarantine.log.sync()
    before = os.fstat(parent)
    try:
        _set_in(item, place.descriptor, parent, name)
    except NotDone as error:
        raise _stays(quarantine, item, error) from error
    _settle(quarantine, item, place, parent, before)


def _restore_across(
    quarantine: Quarantine, item: Item, place: Place, file: int, parent: int, name: bytes
) -> None:
    quarantine.note(State.RESTORING, item.id, way="copy", **item.why_back)
    quarantine.log.sync()
    before = os.fstat(parent)
    try:
        with private_folder(parent, item.id.encode()) as private:
            copy = system.create(private, item.id.encode(), 0o600)
            try:
                copy_content(file, copy, os.fstat(file).st_size)
                if sha256_of(copy) != item.sha256:
                    raise NotDone(Outcome.CHANGED, "the copy is not what was kept")
                put_back(copy, item.record["file"])
                system.sync(copy)
                # Which file it is, should we die before the next line.
                inode = os.fstat(copy).st_ino
                quarantine.note(State.RESTORING, item.id, way="copy", inode=inode, **item.why_back)
                quarantine.log.sync()
                where = split(item.path)[0] + b"/" + private_name(item.id.encode())
                take_away(item, private, where, parent, name)
                _set_in(item, private, parent, name)
            except (OSError, NotDone):
                system.unlink(private, item.id.encode())
                raise
            finally:
                os.close(copy)
    except (OSError, NotDone) as error:
        raise _stays(quarantine, item, error) from error
    _settle(quarantine, item, place, parent, before)


def _set_in(item: Item, source: int, parent: int, name: bytes) -> None:
    try:
        system.rename(source, item.id.encode(), parent, name)
    except OSError as error:
        raise NotDone(Outcome.REFUSED, f"it can't have its name back: {error.strerror}") from error


def _settle(quarantine: Quarantine, item: Item, place: Place, parent: int, before: os.stat_result) -> None:
    """Give the folder its times back and see that all of it is on the disk."""
    try:
        _times_of_folder(item, parent, before)
        sync_folder(parent)
        finish(quarantine, item, place)
    except OSError as error:
        raise OutputError(f"item {item.id} is back, but that may not last: {error.strerror}") from error


def finish(quarantine: Quarantine, item: Item, place: Place) -> None:
    """Say that an item is back, once no copy of it is kept any more."""
    with suppress(FileNotFoundError):
        system.unlink(place.descriptor, item.id.encode())
    system.sync(place.descriptor)
    quarantine.note(State.RESTORED, item.id)
    quarantine.settle()


def _times_of_folder(item: Item, parent: int, before: os.stat_result) -> None:
    """Only where nothing was done in the folder since: then it is again what it was."""
    if item.folder is not None and before.st_mtime_ns == item.folder["after_ns"]:
        with suppress(PermissionError):  # an ordinary user, in a folder of another
            system.set_folder_times(parent, before.st_atime_ns, item.folder["mtime_ns"])


def _stays(quarantine: Quarantine, item: Item, error: Exception) -> NotDone:
    detail = (error.strerror if isinstance(error, OSError) else None) or str(error)
    kind = State.DISPLACED if item.of_another else State.STAYS
    quarantine.note(kind, item.id, place=path_fields(item.place), detail=detail)
    quarantine.settle()
    return error if isinstance(error, NotDone) else NotDone(Outcome.REFUSED, detail)
