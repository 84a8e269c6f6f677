"""Moves accused files into quarantine."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.custody import put_back, seal
from hashscan.quarantine.exchange import (
    DisplacedError,
    copy_content,
    give_back,
    open_folder,
    private_folder,
    private_name,
    take_out,
)
from hashscan.quarantine.holding import Held, NotDone, Outcome, Request, hold, same, sha256_of
from hashscan.quarantine.items import State, path_fields
from hashscan.quarantine.notes import leave_notes
from hashscan.quarantine.objects.moving import lacking, move_object
from hashscan.quarantine.place import Place, mount_of
from hashscan.quarantine.store import Quarantine, circumstances
from hashscan.quarantine.writers import open_writers
from hashscan.sources.beneath import FILE_FLAGS, open_child

_TOGETHER = 200
"""Files whose lines are synced together; each is held open by two descriptors."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the law has evidence kept; there is no value that is right in every country."""

    retain_min: timedelta
    """No item is destroyed earlier unless told so."""
    destroy_by: timedelta
    """Every item should be destroyed by then."""

    def terms(self, now: datetime) -> dict[str, str]:
        """Both for what is moved now, as the log has them."""
        return {
            "retain_min": (now + self.retain_min).isoformat(),
            "destroy_by": (now + self.destroy_by).isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file."""

    path: bytes
    outcome: Outcome
    item: str = ""
    """Its id in quarantine; also where it is what came along in the file's place."""
    detail: str = ""
    """Why it stays, or what should be known of one that was moved."""
    place: bytes = b""
    """The folder that it is kept in."""
    links: int = 1
    """Names of the file, with the one that was taken."""
    version: str = ""
    """Of the object that was asked for, where there may be several of one path."""
    writers: tuple[str, ...] = ()
    """Programs that still have it open for writing."""
    no_note: str = ""
    """Why no note could be left in its place."""


def move(
    quarantine: Quarantine, requests: Iterable[Request], retention: Retention, note: bytes | None = None
) -> Iterator[Answer]:
    """Move files into quarantine; each answer comes when what it says is on the disk.

    Args:
        quarantine: where to.
        requests: which files.
        retention: for how long.
        note: text to leave in their places; see `read_note`.

    Raises:
        OutputError: the quarantine can't be written; `repair` finishes what was begun.
    """
    todo = iter(requests)
    while some := list(islice(todo, _TOGETHER)):
        try:
            yield from _together(quarantine, [one for one in some if not one.of_object], retention, note)
            for request in some:
                if request.of_object:
                    answer = _object(quarantine, request, retention)
                    without = "" if note is None else "notes are left for files only"
                    yield replace(answer, no_note=without)
        except OSError as error:
            raise OutputError(f"the quarantine failed: {error.strerror or error}") from error


def _object(quarantine: Quarantine, request: Request, retention: Retention) -> Answer:
    try:
        item = move_object(quarantine, request, retention)
    except NotDone as error:
        return Answer(request.path, error.outcome, detail=str(error), version=request.version)
    return Answer(request.path, Outcome.DONE, item.id, lacking(item), item.place, version=request.version)


def _together(
    quarantine: Quarantine, requests: list[Request], retention: Retention, note: bytes | None
) -> list[Answer]:
    answers: list[Answer] = []
    with ExitStack() as stack:
        begun: list[tuple[Held, Place, bool]] = []
        for request in requests:
            try:
                held = stack.enter_context(hold(request, quarantine.facts_of_twin))
                if os.geteuid() not in (0, held.status.st_uid):
                    raise NotDone(Outcome.REFUSED, "only root can take what another user owns")
            except NotDone as error:
                answers.append(Answer(request.path, error.outcome, detail=str(error)))
                continue
            place = quarantine.places.of(held.parent)
            within = place.mount == mount_of(held.parent)
            quarantine.append(_intent(held, place, retention, within=within))
            begun.append((held, place, within))
        if begun:
            quarantine.log.sync()
        done: list[tuple[Held, dict[str, int]]] = []
        _keep_copies([(held, place) for held, place, within in begun if not within])
        latest: dict[tuple[int, int], os.stat_result] = {}
        for held, place, within in begun:
            inode = (held.status.st_dev, held.status.st_ino)
            try:
                # It was sealed if another of its names was among those before.
                done.append((held, _take(held, latest.get(inode, held.status), place, within=within)))
                latest[inode] = os.fstat(held.file)
                continue
            except NotDone as error:
                quarantine.note(State.LEFT, held.item, outcome=error.outcome.value, detail=str(error))
                answers.append(Answer(held.request.path, error.outcome, detail=str(error)))
            except DisplacedError as error:
                answers.append(_displaced(quarantine, held, place, str(error), within=within))
            if not within:
                system.unlink(place.descriptor, held.entry)
        answers += _settled(quarantine, done, begun)
        if note is not None and done:
            without = leave_notes(quarantine, [held for held, _ in done], note)
            answers = [replace(answer, no_note=without.get(answer.item, "")) for answer in answers]
    return answers


def _settled(
    quarantine: Quarantine, done: list[tuple[Held, dict[str, int]]], begun: list[tuple[Held, Place, bool]]
) -> Iterator[Answer]:
    """See that moves are on the disk, and only then say in the log that they are done."""
    if not begun:
        return
    changed = {held.status.st_dev: held.file for held, _, _ in begun}
    for descriptor in changed.values():
        system.sync_file_system(descriptor)
    places = {held.item: place.path for held, place, _ in begun}
    writers = open_writers([held.file for held, _ in done])
    for held, folder in done:
        links = os.fstat(held.file).st_nlink
        others = writers.get((held.status.st_dev, held.status.st_ino), [])
        quarantine.note(State.MOVED, held.item, folder=folder, links=links, writers=others)
        programs = tuple(w["program"] + (f" (pid {w['pid']})" if "pid" in w else "") for w in others)
        yield Answer(
            held.request.path,
            Outcome.DONE,
            held.item,
            place=places[held.item],
            links=held.status.st_nlink,
            writers=programs,
        )
    quarantine.settle()


def _intent(held: Held, place: Place, retention: Retention, *, within: bool) -> dict[str, Any]:
    return {
        "type": State.MOVING,
        "item": held.item,
        **circumstances(),
        **path_fields(held.request.path),
        "way": "rename" if within else "copy",
        "place": path_fields(place.path),
        "file": held.facts,
        "digests": held.digests,
        "accusation": held.request.accusation,
        **retention.terms(datetime.now(UTC)),
    }


def _take(held: Held, latest: os.stat_result, place: Place, *, within: bool) -> dict[str, int]:
    """Move one file, seal it, and see that it is still what was hashed.

    Args:
        held: the file.
        latest: its status when it was touched last.
        place: where to.
        within: whether that is on its own file system.

    Returns:
        Times of the folder before and after.

    Raises:
        NotDone: it stays where it is.
        DisplacedError: something else is in quarantine now and can't go back.
        OutputError: the quarantine can't be written.
    """
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
        before = os.fstat(parent)
        if within:
            _take_within(held, parent, place)
        else:
            _take_across(held, parent, place)
        after = os.fstat(parent).st_mtime_ns
    finally:
        os.close(parent)
    return {"atime_ns": before.st_atime_ns, "mtime_ns": before.st_mtime_ns, "after_ns": after}


def _take_within(held: Held, parent: int, place: Place) -> None:
    inode = (held.status.st_dev, held.status.st_ino)
    take_out(parent, held.name, inode, place.descriptor, held.entry)
    try:
        seal(held.file)
        _still(held)
    except (OSError, NotDone) as error:
        put_back(held.file, held.facts)
        give_back(place.descriptor, held.entry, parent, held.name)
        raise error if isinstance(error, NotDone) else _refused(error) from error


def _keep_copies(files: list[tuple[Held, Place]]) -> None:
    """Copy files of other file systems, and see that the copies last before any file is removed.

    What is copied while it changes is not what was hashed; it is told from that when the file is taken.
    """
    for held, place in files:
        try:
            copy = system.create(place.descriptor, held.entry, 0o600)
            try:
                copy_content(held.file, copy, held.status.st_size)
                seal(copy)
            finally:
                os.close(copy)
        except OSError as error:
            raise OutputError(f"can't keep a copy in {os.fsdecode(place.path)}: {error.strerror}") from error
    for place in {place.mount: place for _, place in files}.values():
        system.sync_file_system(place.descriptor)


def _take_across(held: Held, parent: int, place: Place) -> None:
    """Remove a file of which a copy is kept, once it is proved to be the one that was copied."""
    if not _is_whole(held, place):
        raise NotDone(Outcome.CHANGED, "it changed while it was copied")
    with private_folder(parent, held.entry) as private:
        inode = (held.status.st_dev, held.status.st_ino)
        take_out(parent, held.name, inode, private, held.entry)
        try:
            # Its owner may have given it another name at the last moment.
            seal(held.file)
            _still(held)
        except (OSError, NotDone) as error:
            put_back(held.file, held.facts)
            give_back(private, held.entry, parent, held.name)
            raise error if isinstance(error, NotDone) else _refused(error) from error
        system.unlink(private, held.entry)


def _is_whole(held: Held, place: Place) -> bool:
    copy = open_child(place.descriptor, held.entry, FILE_FLAGS)
    try:
        return sha256_of(copy) == held.digests["sha256"]
    finally:
        os.close(copy)


def _still(held: Held) -> None:
    if sha256_of(held.file, held.status.st_size) != held.digests["sha256"]:
        raise NotDone(Outcome.CHANGED, "it was changed as it was moved")


def _refused(error: OSError) -> NotDone:
    if error.errno in {errno.EIO, errno.EROFS}:
        return NotDone(Outcome.REFUSED, f"the disk fails: {error.strerror}")
    return NotDone(Outcome.REFUSED, error.strerror or str(error))


def _displaced(quarantine: Quarantine, held: Held, place: Place, why: str, *, within: bool) -> Answer:
    """Record what came along in a file's place and stays."""
    where = place.path if within else held.parent_path.rstrip(b"/") + b"/" + private_name(held.entry)
    detail = f"something else was put in its place and can't go back ({why}); it is kept as {held.item}"
    quarantine.note(State.DISPLACED, held.item, place=path_fields(where), detail=detail)
    return Answer(held.request.path, Outcome.RACED, held.item, detail, where)
