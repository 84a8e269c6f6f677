"""Restore files from quarantine to the places where they were found, with their owner, mode and times."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped, split, to_skipped
from hashscan.quarantine.file_facts import restore_facts, seal
from hashscan.quarantine.folder import QuarantineFolder, mount_of
from hashscan.quarantine.items import KEPT, Item, State
from hashscan.quarantine.notes import remove_note
from hashscan.quarantine.object_transfer import restore_object
from hashscan.quarantine.store import Quarantine
from hashscan.quarantine.transfer import copy_content, give_name, open_folder, private_folder, private_name
from hashscan.sources.filesystem.quarantined_files import sha256_of
from hashscan.text import path_fields

_TOGETHER = 100
"""Number of files that are restored together; four descriptors are open for each."""


@dataclass(slots=True)
class _Restore:
    """An item that is being restored."""

    item: Item
    place: QuarantineFolder
    parent: int
    """Descriptor of the folder that gets the file, opened with `O_PATH`."""
    name: bytes
    file: int
    """Descriptor of the kept file; -1 for one that was displaced and never hashed."""
    way: str
    sealed: bool = False
    """True if the file must be sealed again when its restore fails."""
    copy: int = -1
    private: int = -1
    """Descriptor of our private folder within that folder; it holds the copy."""
    leave_private: ExitStack = field(default_factory=ExitStack)

    @property
    def entry(self) -> bytes:
        return self.item.id.encode()

    @property
    def on_its_file_system(self) -> int:
        """Descriptor on the filesystem that must be synced."""
        return self.copy if self.copy >= 0 else self.place.descriptor


def restore(quarantine: Quarantine, item: Item) -> None:
    """Restore one item: content, owner, mode, attributes, times. QuarantineSkipped: it stays in quarantine;
    after OutputError, `repair` finishes what was begun."""
    for _, error in restore_all(quarantine, [item]):
        if error is not None:
            raise error


def restore_all(
    quarantine: Quarantine, items: Iterable[Item]
) -> Iterator[tuple[Item, QuarantineSkipped | None]]:
    """Restore items in this order; yield each, with the error if it stays, when that is on the disk.

    To restore the times of folders too, pass the item that was taken last from each folder first.

    Raises:
        OutputError: the quarantine can't be written; `repair` finishes what was begun.
    """
    todo = iter(items)
    while some := list(islice(todo, _TOGETHER)):
        try:
            results = _together(quarantine, some)
        except OSError as error:
            raise OutputError(f"the quarantine failed: {error.strerror or error}") from error
        yield from results


def _together(quarantine: Quarantine, items: list[Item]) -> list[tuple[Item, QuarantineSkipped | None]]:
    results: list[tuple[Item, QuarantineSkipped | None]] = []
    with ExitStack() as stack:
        begun: list[_Restore] = []
        for item in items:
            try:
                if item.is_object and item.state in KEPT:
                    restore_object(quarantine, item)
                    results.append((item, None))
                else:
                    begun.append(_opened(quarantine, item, stack))
            except QuarantineSkipped as error:
                results.append((item, error))
        if begun:
            results += _restore_files(quarantine, begun, stack)
    return results


def _restore_files(
    quarantine: Quarantine, begun: list[_Restore], stack: ExitStack
) -> list[tuple[Item, QuarantineSkipped | None]]:
    for one in begun:
        quarantine.log_event(State.RESTORING, one.item.id, way=one.way, **one.item.restore_reason_fields)
    quarantine.log.sync()
    failed: list[tuple[_Restore, QuarantineSkipped]] = []
    ready = _succeeded(lambda one: _prepare(quarantine, one, stack), begun, failed)
    # Otherwise a power cut could leave a file in its place without its owner set.
    _sync_all(one.on_its_file_system for one in ready)
    quarantine.log.sync()
    done = _succeeded(_rename_into_place, ready, failed)
    _seal_what_stays([one for one, _ in failed], done)
    for one, error in failed:
        kind = State.DISPLACED if one.item.of_another else State.STAYS
        quarantine.log_event(kind, one.item.id, place=path_fields(one.item.place), detail=str(error))
    _log_restored(quarantine, done)
    quarantine.sync()
    return [*((one.item, error) for one, error in failed), *((one.item, None) for one in done)]


def _succeeded(
    step: Callable[[_Restore], None],
    restores: list[_Restore],
    failed: list[tuple[_Restore, QuarantineSkipped]],
) -> list[_Restore]:
    """Do one step of each restore; return those that succeeded, and add the others to `failed`."""
    done = []
    for one in restores:
        try:
            step(one)
            done.append(one)
        except (OSError, QuarantineSkipped) as error:
            failed.append((one, to_skipped(error)))
    return done


def _opened(quarantine: Quarantine, item: Item, stack: ExitStack) -> _Restore:
    """Open an item and the folder that gets it; `QuarantineSkipped` if it can't be restored."""
    if item.state not in KEPT:
        raise QuarantineSkipped(Outcome.REFUSED, f"it is not in quarantine: {item.state.value}")
    place = quarantine.storage.folder_of(item)
    parent_path, name = split(item.path)
    parent = open_folder(parent_path)
    stack.callback(os.close, parent)
    if item.of_another:
        return _Restore(item, place, parent, name, -1, "rename")
    file = stack.enter_context(quarantine.storage.opened(item))
    way = "rename" if mount_of(parent) == place.mount else "copy"
    return _Restore(item, place, parent, name, file, way)


def _prepare(quarantine: Quarantine, one: _Restore, stack: ExitStack) -> None:
    """Give the file, or the copy of it, the recorded owner, mode, attributes and times; skip it if its name
    is taken, or the copy is not what was kept."""
    stack.enter_context(one.leave_private)
    if _is_taken(one):
        # Check before the owner has access again: the owner may have a hard link and alter the file
        # meanwhile.
        raise QuarantineSkipped(Outcome.REFUSED, "its name is taken: File exists")
    if one.way == "copy":
        _copy(quarantine, one, stack)
    elif one.file >= 0 and not quarantine.is_restored_by_hard_link(one.item, os.fstat(one.file)):
        one.sealed = True
        restore_facts(one.file, one.item.record["file"])


def _is_taken(one: _Restore) -> bool:
    """Return True if its name is taken by anything but the note that was left there."""
    try:
        there = os.stat(one.name, dir_fd=one.parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return one.item.note is None or there.st_ino != one.item.note.inode


def _copy(quarantine: Quarantine, one: _Restore, stack: ExitStack) -> None:
    before = os.fstat(one.parent)
    one.private = one.leave_private.enter_context(private_folder(one.parent, one.entry))
    # The folder's times show the restore of other items that nothing else was changed in the folder.
    with suppress(PermissionError):
        system.set_folder_times(one.parent, before.st_atime_ns, before.st_mtime_ns)
    one.copy = system.create(one.private, one.entry, 0o600)
    stack.callback(os.close, one.copy)
    try:
        copy_content(one.file, one.copy, os.fstat(one.file).st_size)
        if sha256_of(one.copy) != one.item.sha256:
            raise QuarantineSkipped(Outcome.CHANGED, "the copy is not what was kept")
        restore_facts(one.copy, one.item.record["file"])
    except (OSError, QuarantineSkipped):
        system.unlink(one.private, one.entry)
        raise
    # The inode identifies the file if this process dies before the next line.
    inode = os.fstat(one.copy).st_ino
    quarantine.log_event(
        State.RESTORING, one.item.id, way="copy", inode=inode, **one.item.restore_reason_fields
    )


def _rename_into_place(one: _Restore) -> None:
    """Give a file its name, and its folder the recorded times."""
    before = os.fstat(one.parent)
    if one.copy >= 0:
        source, path = one.private, split(one.item.path)[0] + b"/" + private_name(one.entry)
    else:
        source, path = one.place.descriptor, one.place.path
    try:
        remove_note(one.item, source, path, one.parent, one.name)
        give_name(source, one.entry, one.parent, one.name)
    except (OSError, QuarantineSkipped) as error:
        if one.copy >= 0:
            system.unlink(source, one.entry)
        if isinstance(error, QuarantineSkipped):
            raise
        raise QuarantineSkipped(
            Outcome.REFUSED, f"it can't be renamed into its place: {error.strerror}"
        ) from error
    finally:
        one.leave_private.close()
    # The old times are restored if the folder is unchanged since the item was moved.
    if one.item.folder is not None and before.st_mtime_ns == one.item.folder["after_ns"]:
        with suppress(PermissionError):  # an ordinary user, in another user's folder
            system.set_folder_times(one.parent, before.st_atime_ns, one.item.folder["mtime_ns"])


def _seal_what_stays(failed: list[_Restore], done: list[_Restore]) -> None:
    back = {(s.st_dev, s.st_ino) for s in (os.fstat(one.file) for one in done if one.file >= 0)}
    for one in failed:
        if one.sealed:
            status = os.fstat(one.file)
            if (status.st_dev, status.st_ino) not in back:
                seal(one.file)


def _log_restored(quarantine: Quarantine, done: list[_Restore]) -> None:
    """Sync restored files, then delete what was copied from quarantine and record the restores in the log."""
    _sync_all(one.on_its_file_system for one in done)
    copied = [one for one in done if one.copy >= 0]
    for one in copied:
        system.unlink(one.place.descriptor, one.entry)
    _sync_all(one.place.descriptor for one in copied)
    for one in done:
        quarantine.log_event(State.RESTORED, one.item.id)


def _sync_all(descriptors: Iterable[int]) -> None:
    for descriptor in {os.fstat(descriptor).st_dev: descriptor for descriptor in descriptors}.values():
        system.sync_file_system(descriptor)
