"""Move matched files into quarantine, with retries for files that are renamed, changed or leased."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from hashscan.errors import OutputError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import (
    CapturedFile,
    Identity,
    Outcome,
    QuarantineRequest,
    QuarantineSkipped,
    SkipCause,
    capture,
)
from hashscan.quarantine.file_search import FileLocation, SearchBudget, open_writers, search
from hashscan.quarantine.folder import QuarantineFolder, mount_of
from hashscan.quarantine.items import State, path_fields
from hashscan.quarantine.notes import write_notes
from hashscan.quarantine.object_transfer import move_object, move_remarks
from hashscan.quarantine.retention import Retention
from hashscan.quarantine.store import Quarantine, event_context
from hashscan.quarantine.transfer import DisplacedError, copy_files, private_name, take_file
from hashscan.sources.filesystem.quarantined_files import TAG

_ITEM = re.compile(rb"[0-9a-f]{16}-[0-9a-f]{8}")
"""Pattern of an item's name; see `hold`."""

_TRIES = 6
"""Maximum number of tries for a file that was raced or changed."""
_TRIES_IF_GONE = 3
_SEARCH_ENTRIES = 100_000
"""Directory entries to examine in one search."""
_RETRIED_OUTCOMES = frozenset({Outcome.RACED, Outcome.CHANGED, Outcome.GONE})
_LEASE_RETRY_SECONDS = 1.0
"""Seconds between tries of leased files."""

_BATCH_SIZE = 200
"""Number of files whose log lines are synced together; two descriptors are open for each."""


@dataclass(frozen=True, slots=True)
class MoveResult:
    """The result for one file."""

    path: bytes
    outcome: Outcome
    item: str = ""
    """Its id in quarantine; also for a file that was displaced into quarantine in its place."""
    detail: str = ""
    """Reason for which it was not moved, or a remark about a moved file."""
    place: bytes = b""
    """The folder that it is kept in."""
    links: int = 1
    """Number of hard links of the file, with the one that was taken."""
    version: str = ""
    """Version of the requested object; there may be several of one path."""
    writers: tuple[str, ...] = ()
    """Programs that still have it open for writing."""
    no_note: str = ""
    """Reason for which no note was left in its place."""


def move(
    quarantine: Quarantine,
    requests: Iterable[QuarantineRequest],
    retention: Retention,
    note: bytes | None = None,
) -> Iterator[MoveResult]:
    """Move files into quarantine; yield each answer when its result is on the disk.

    Args:
        quarantine: the quarantine that gets the files.
        requests: the files.
        retention: their retention terms.
        note: a text to leave in their places; see `read_note`.

    Raises:
        OutputError: the quarantine can't be written; `repair` finishes what was begun.
    """
    todo = iter(requests)
    while some := list(islice(todo, _BATCH_SIZE)):
        try:
            files = [request for request in some if not request.is_object]
            yield from _move_with_retries(quarantine, files, retention, note)
            for request in some:
                if request.is_object:
                    answer = _object(quarantine, request, retention)
                    without = "" if note is None else "notes are left for files only"
                    yield replace(answer, no_note=without)
        except OSError as error:
            raise OutputError(f"the quarantine failed: {error.strerror or error}") from error


def _object(quarantine: Quarantine, request: QuarantineRequest, retention: Retention) -> MoveResult:
    try:
        item = move_object(quarantine, request, retention)
    except QuarantineSkipped as error:
        return MoveResult(request.path, error.outcome, detail=str(error), version=request.version)
    return MoveResult(
        request.path, Outcome.DONE, item.id, move_remarks(item), item.place, version=request.version
    )


@dataclass(slots=True)
class _RetryState:
    """The state of files that are tried again."""

    at: dict[bytes, FileLocation] = field(default_factory=dict)
    """Current locations of files that were found elsewhere, by requested path."""
    copied: set[bytes] = field(default_factory=set)
    """Paths of files that can't be renamed into the quarantine on their own mount, and so are copied."""
    leased: set[bytes] = field(default_factory=set)
    """Paths of files that couldn't be opened because of a lease."""

    def note(self, request: QuarantineRequest, error: QuarantineSkipped) -> None:
        """Record why a file was not moved."""
        if error.why is SkipCause.CROSSED and request.path not in self.copied:
            self.copied.add(request.path)
        elif error.why is SkipCause.LEASED:
            self.leased.add(request.path)


def _move_with_retries(
    quarantine: Quarantine, requests: list[QuarantineRequest], retention: Retention, note: bytes | None
) -> Iterator[MoveResult]:
    """Move files; search and retry those that move away or change, a bounded number of times.

    Only the content proves that it is the same file, so a retry needs its sha256. An owner can rename, touch,
    lease and rewrite a file all the time; doing so once must not be enough to prevent the move.
    """
    displaced: dict[bytes, list[str]] = {}
    effort, tries, pursuit = quarantine.effort, 0, _RetryState()
    while requests:
        asked = {request.path: request for request in requests}
        copied = set(pursuit.copied)
        pursuit.leased = set()
        with ExitStack() as stack:
            for where in pursuit.at.values():
                stack.callback(os.close, where.parent)
            answers = _move_batch(quarantine, requests, retention, note, pursuit)
        pursuit.at = {}
        tries += 1
        done = {answer.path for answer in answers if answer.outcome is Outcome.DONE}
        requests = []
        for answer in answers:
            request = asked[answer.path]
            waits = answer.path in pursuit.leased and effort.seconds > 0
            most = _TRIES_IF_GONE if answer.outcome is Outcome.GONE else _TRIES
            slipped = answer.outcome in _RETRIED_OUTCOMES or answer.path in pursuit.copied - copied
            again = (slipped and tries < most) or waits
            if answer.outcome is Outcome.RACED and answer.item:
                displaced.setdefault(answer.path, []).append(answer.detail)
            if again and request.sha256 is not None and answer.path not in done:
                requests.append(request)
                continue
            earlier = [words for words in displaced.pop(answer.path, []) if words != answer.detail]
            yield replace(answer, detail="; ".join(filter(None, [answer.detail, *earlier])))
        if pursuit.leased and requests:
            pause = min(_LEASE_RETRY_SECONDS, effort.seconds)
            effort.seconds -= pause
            time.sleep(pause)
        pursuit.at = _found(requests, effort)


def _found(requests: list[QuarantineRequest], effort: SearchBudget) -> dict[bytes, FileLocation]:
    """Search for moved files; return their locations by the path at which they were found."""
    by_folder: dict[bytes, dict[int, QuarantineRequest]] = {}
    for request in requests:
        if isinstance(request.identity, Identity):
            by_folder.setdefault(request.path.rpartition(b"/")[0], {})[request.identity.inode] = request
    paths = {request.path for request in requests}
    found: dict[bytes, FileLocation] = {}
    for some in by_folder.values():
        wanted = dict(some)
        path = next(iter(some.values())).path
        share = SearchBudget(names=min(effort.names, _SEARCH_ENTRIES))
        effort.names -= share.names
        for inode, where in search(path, wanted.keys(), share):
            # A file with its own request, under another name, is moved by that request.
            if inode in wanted and where.path not in paths:
                found[wanted.pop(inode).path] = where
            else:
                os.close(where.parent)
            if not wanted:
                break
        effort.names += share.names
    return found


def _move_batch(
    quarantine: Quarantine,
    requests: list[QuarantineRequest],
    retention: Retention,
    note: bytes | None,
    pursuit: _RetryState,
) -> list[MoveResult]:
    answers: list[MoveResult] = []
    with ExitStack() as stack:
        begun: list[tuple[CapturedFile, QuarantineFolder, bool]] = []
        for request in requests:
            try:
                at = pursuit.at.get(request.path)
                held = stack.enter_context(capture(request, quarantine.facts_before_seal, at))
                if os.geteuid() not in (0, held.status.st_uid):
                    raise QuarantineSkipped(Outcome.REFUSED, "only root can take what another user owns")
            except QuarantineSkipped as error:
                pursuit.note(request, error)
                answers.append(MoveResult(request.path, error.outcome, detail=str(error)))
                continue
            place = quarantine.places.of(held.parent)
            if why := _already_evidence(quarantine, held, place):
                answers.append(MoveResult(request.path, Outcome.REFUSED, detail=why))
                continue
            within = place.mount == mount_of(held.parent) and request.path not in pursuit.copied
            quarantine.append(_moving_line(held, place, retention, within=within))
            begun.append((held, place, within))
        if begun:
            quarantine.log.sync()
        done: list[tuple[CapturedFile, dict[str, int]]] = []
        no_room = copy_files([(held, place) for held, place, within in begun if not within])
        latest: dict[tuple[int, int], os.stat_result] = {}
        for held, place, within in begun:
            inode = (held.status.st_dev, held.status.st_ino)
            try:
                if held.item in no_room:
                    raise no_room[held.item]
                # If another hard link of it was moved before in this batch, it is sealed already.
                done.append((held, take_file(held, latest.get(inode, held.status), place, within=within)))
                latest[inode] = os.fstat(held.file)
                continue
            except QuarantineSkipped as error:
                pursuit.note(held.request, error)
                quarantine.log_event(State.LEFT, held.item, outcome=error.outcome.value, detail=str(error))
                answers.append(MoveResult(held.request.path, error.outcome, detail=str(error)))
            except DisplacedError as error:
                answers.append(_displaced(quarantine, held, place, error, within=within))
            if not within:
                with suppress(FileNotFoundError):
                    system.unlink(place.descriptor, held.entry)
        answers += _log_moved(quarantine, done, begun)
        if note is not None and done:
            without = write_notes(quarantine, [held for held, _ in done], note)
            answers = [replace(answer, no_note=without.get(answer.item, "")) for answer in answers]
    return answers


def _log_moved(
    quarantine: Quarantine,
    done: list[tuple[CapturedFile, dict[str, int]]],
    begun: list[tuple[CapturedFile, QuarantineFolder, bool]],
) -> Iterator[MoveResult]:
    """Sync moved files, and only then record in the log that they are moved."""
    if not begun:
        return
    changed = {held.status.st_dev: held.file for held, _, _ in begun}
    for descriptor in changed.values():
        system.sync_file_system(descriptor)
    places = {held.item: (place, within) for held, place, within in begun}
    writers = open_writers([held.file for held, _ in done])
    for held, folder in done:
        links = os.fstat(held.file).st_nlink
        others = writers.get((held.status.st_dev, held.status.st_ino), [])
        place, within = places[held.item]
        sealed = os.stat(held.entry, dir_fd=place.descriptor, follow_symlinks=False)
        quarantine.log_event(
            State.MOVED,
            held.item,
            folder=folder,
            links=links,
            writers=others,
            sealed={"inode": sealed.st_ino, "ctime_ns": sealed.st_ctime_ns},
        )
        lacks = "" if within else held.facts.get("xattrs_left", 0)
        programs = tuple(w["program"] + (f" (pid {w['pid']})" if "pid" in w else "") for w in others)
        yield MoveResult(
            held.request.path,
            Outcome.DONE,
            held.item,
            f"the copy lacks {lacks} extended attributes or more" if lacks else "",
            place.path,
            links=held.status.st_nlink,
            writers=programs,
        )
    quarantine.sync()


def _already_evidence(quarantine: Quarantine, held: CapturedFile, place: QuarantineFolder) -> str:
    """Return why a file is evidence already and stays; empty if it is not.

    Its path alone proves nothing: any user can have a folder with the name of ours.
    """
    if quarantine.is_kept(held.parent, held.name):
        return "it is in quarantine already"
    # Only root can create the quarantine folder itself, see `QuarantineFolders`.
    if not os.path.samestat(os.fstat(place.descriptor), os.fstat(held.parent)):
        return ""
    if held.digests["sha256"] == hashlib.sha256(TAG).hexdigest():
        return "it marks the quarantine for backup programs"
    if _ITEM.fullmatch(held.name):
        return (
            "the quarantine of another state folder seems to keep it: scan with --quarantine-state FOLDER, "
            "or rename the file if none does"
        )
    return ""


def _moving_line(
    held: CapturedFile, place: QuarantineFolder, retention: Retention, *, within: bool
) -> dict[str, Any]:
    return {
        "type": State.MOVING,
        "item": held.item,
        **event_context(),
        **path_fields(held.request.path),
        "way": "rename" if within else "copy",
        "place": path_fields(place.path),
        "file": held.facts,
        "digests": held.digests,
        "accusation": held.request.accusation,
        **retention.terms(datetime.now(UTC)),
    }


def _displaced(
    quarantine: Quarantine, held: CapturedFile, place: QuarantineFolder, why: DisplacedError, *, within: bool
) -> MoveResult:
    """Record a file that was moved by mistake in another's place and can't go back."""
    parent_path = why.parent_path or held.parent_path
    where = place.path if within else parent_path.rstrip(b"/") + b"/" + private_name(held.entry)
    detail = f"something else was put in its place and can't go back ({why}); it is kept as {held.item}"
    quarantine.log_event(State.DISPLACED, held.item, place=path_fields(where), detail=detail)
    return MoveResult(held.request.path, Outcome.RACED, held.item, detail, where)
