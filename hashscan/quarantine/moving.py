"""Move matched files into quarantine, with retries for files that are renamed, changed or leased."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

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
from hashscan.quarantine.items import State
from hashscan.quarantine.notes import write_notes
from hashscan.quarantine.object_transfer import move_object, move_remarks
from hashscan.quarantine.retention import Retention, withheld_until
from hashscan.quarantine.selection import require_unrestored
from hashscan.quarantine.store import Quarantine, event_context
from hashscan.quarantine.transfer import DisplacedError, copy_files, private_name, take_file
from hashscan.sources.filesystem.quarantined_files import TAG
from hashscan.text import path_fields
from hashscan.timefmt import format_time

_ITEM = re.compile(rb"[0-9a-f]{16}-[0-9a-f]{8}")
"""Pattern of an item's name; see `capture`."""

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

    `note` is a text to leave in their places; see `read_note`.

    Raises:
        OutputError: the quarantine can't be written; `repair` finishes what was begun.
    """
    todo = iter(requests)
    while some := list(islice(todo, _BATCH_SIZE)):
        try:
            files = [request for request in some if not request.is_object]
            yield from _FileMover(quarantine, retention, note).move(files)
            for request in some:
                if request.is_object:
                    result = _move_object(quarantine, request, retention)
                    without = "" if note is None else "notes are left for files only"
                    yield replace(result, no_note=without)
        except OSError as error:
            raise OutputError(f"the quarantine failed: {error.strerror or error}") from error


def _move_object(quarantine: Quarantine, request: QuarantineRequest, retention: Retention) -> MoveResult:
    try:
        item = move_object(quarantine, request, retention)
    except QuarantineSkipped as error:
        return MoveResult(request.path, error.outcome, detail=str(error), version=request.version)
    return MoveResult(
        request.path, Outcome.DONE, item.id, move_remarks(item), item.place, version=request.version
    )


@dataclass(slots=True)
class _Move:
    """A file that is being moved."""

    file: CapturedFile
    place: QuarantineFolder
    within: bool
    """True to rename it into that folder; False to copy it there."""
    folder_times: dict[str, int] = field(default_factory=dict)
    """Times of its folder; see `take_file`."""


class _FileMover:
    """Moves files; retries those that are renamed, changed or leased meanwhile, a bounded number of times.

    Only the content proves that it is the same file, so a retry needs its sha256. An owner can rename, touch,
    lease and rewrite a file all the time; doing so once must not be enough to prevent the move.
    """

    def __init__(self, quarantine: Quarantine, retention: Retention, note: bytes | None) -> None:
        self._quarantine = quarantine
        self._retention = retention
        self._note = note
        self._found: dict[bytes, FileLocation] = {}
        """Current locations of files that were found elsewhere, by requested path."""
        self._copied: set[bytes] = set()
        """Paths of files that can't be renamed into the quarantine on their own mount, and so are copied."""
        self._leased: set[bytes] = set()
        """Paths of files that couldn't be opened because of a lease."""

    def move(self, requests: list[QuarantineRequest]) -> Iterator[MoveResult]:
        """Move files; yield each answer when its result is on the disk."""
        displaced: dict[bytes, list[str]] = {}
        budget, tries = self._quarantine.search_budget, 0
        while requests:
            asked = {request.path: request for request in requests}
            copied = set(self._copied)
            self._leased = set()
            with ExitStack() as stack:
                for where in self._found.values():
                    stack.callback(os.close, where.parent)
                results = self._move_batch(requests)
            tries += 1
            done = {result.path for result in results if result.outcome is Outcome.DONE}
            requests = []
            for result in results:
                if result.outcome is Outcome.RACED and result.item:
                    displaced.setdefault(result.path, []).append(result.detail)
                request = asked[result.path]
                retried = request.sha256 is not None and result.path not in done
                if retried and self._is_retried(result, tries, newly_copied=self._copied - copied):
                    requests.append(request)
                    continue
                told = dict.fromkeys([result.detail, *displaced.pop(result.path, [])])
                yield replace(result, detail="; ".join(filter(None, told)))
            if self._leased and requests:
                pause = min(_LEASE_RETRY_SECONDS, budget.seconds)
                budget.seconds -= pause
                time.sleep(pause)
            self._found = _find(requests, budget)

    def _is_retried(self, result: MoveResult, tries: int, *, newly_copied: set[bytes]) -> bool:
        if result.path in self._leased and self._quarantine.search_budget.seconds > 0:
            return True
        most = _TRIES_IF_GONE if result.outcome is Outcome.GONE else _TRIES
        return tries < most and (result.outcome in _RETRIED_OUTCOMES or result.path in newly_copied)

    def _move_batch(self, requests: list[QuarantineRequest]) -> list[MoveResult]:
        with ExitStack() as stack:
            begun: list[_Move] = []
            results: list[MoveResult] = []
            for request in requests:
                try:
                    begun.append(self._begin(request, stack))
                except QuarantineSkipped as error:
                    results.append(self._skipped(request, error))
            if not begun:
                return results
            self._quarantine.log.sync()
            done = self._take(begun, results)
            for descriptor in {one.file.status.st_dev: one.file.file for one in begun}.values():
                system.sync_file_system(descriptor)
            results += _log_moved(self._quarantine, done)
            if self._note is not None and done:
                without = self._write_notes([one.file for one in done], self._note)
                results = [replace(result, no_note=without.get(result.item, "")) for result in results]
        return results

    def _write_notes(self, moved: Sequence[CapturedFile], note: bytes) -> dict[str, str]:
        """Leave notes where the customer may be told; return by item the reason where there is none."""
        without, told = {}, []
        for one in moved:
            try:
                digest = bytes.fromhex(one.digests["sha256"])
                until = withheld_until(self._quarantine.state, one.request.path, "", digest, time.time())
            except OutputError as error:
                without[one.item] = str(error)
                continue
            if until is None:
                told.append(one)
            else:
                without[one.item] = f"the customer may not be told before {format_time(until)}"
        return {**without, **write_notes(self._quarantine, told, note)}

    def _begin(self, request: QuarantineRequest, stack: ExitStack) -> _Move:
        """Open, hash and log (unsynced) a file to be moved; `QuarantineSkipped` if it can't be."""
        quarantine = self._quarantine
        at = self._found.get(request.path)
        file = stack.enter_context(capture(request, quarantine.facts_before_seal, at))
        if os.geteuid() not in (0, file.status.st_uid):
            raise QuarantineSkipped(Outcome.REFUSED, "only root can take what another user owns")
        place = quarantine.places.of(file.parent)
        if reason := _already_evidence(quarantine, file, place):
            raise QuarantineSkipped(Outcome.REFUSED, reason)
        require_unrestored(request, file.digests["sha256"], quarantine.restored)
        within = place.mount == mount_of(file.parent) and request.path not in self._copied
        quarantine.append(
            {
                "type": State.MOVING,
                "item": file.item,
                **event_context(),
                **path_fields(request.path),
                "way": "rename" if within else "copy",
                "place": path_fields(place.path),
                "file": file.facts,
                "digests": file.digests,
                "accusation": request.accusation,
                **self._retention.terms(datetime.now(UTC)),
            }
        )
        return _Move(file, place, within)

    def _take(self, begun: list[_Move], results: list[MoveResult]) -> list[_Move]:
        """Move files; return those that are moved, and add the answers for the others to `answers`."""
        done: list[_Move] = []
        no_room = copy_files([(one.file, one.place) for one in begun if not one.within])
        latest: dict[tuple[int, int], os.stat_result] = {}
        for one in begun:
            file = one.file
            try:
                if file.item in no_room:
                    raise no_room[file.item]
                # If another hard link of it was moved before in this batch, it is sealed already.
                status = latest.get(file.inode, file.status)
                one.folder_times = take_file(file, status, one.place, within=one.within)
                latest[file.inode] = os.fstat(file.file)
                done.append(one)
                continue
            except QuarantineSkipped as error:
                self._quarantine.log_event(
                    State.LEFT, file.item, outcome=error.outcome.value, detail=str(error)
                )
                results.append(self._skipped(file.request, error))
            except DisplacedError as error:
                results.append(_displaced(self._quarantine, one, error))
            if not one.within:
                with suppress(FileNotFoundError):
                    system.unlink(one.place.descriptor, file.entry)
        return done

    def _skipped(self, request: QuarantineRequest, error: QuarantineSkipped) -> MoveResult:
        """Return the answer for a file that was not moved, and remember a known cause for its retry."""
        if error.why is SkipCause.CROSSED:
            self._copied.add(request.path)
        elif error.why is SkipCause.LEASED:
            self._leased.add(request.path)
        return MoveResult(request.path, error.outcome, detail=str(error))


def _find(requests: list[QuarantineRequest], budget: SearchBudget) -> dict[bytes, FileLocation]:
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
        share = SearchBudget(names=min(budget.names, _SEARCH_ENTRIES))
        budget.names -= share.names
        for inode, where in search(path, wanted.keys(), share):
            # A file with its own request, under another name, is moved by that request.
            if inode in wanted and where.path not in paths:
                found[wanted.pop(inode).path] = where
            else:
                os.close(where.parent)
            if not wanted:
                break
        budget.names += share.names
    return found


def _log_moved(quarantine: Quarantine, done: list[_Move]) -> Iterator[MoveResult]:
    """Record in the log that files, which are synced, are moved."""
    writers = open_writers([one.file.file for one in done])
    for one in done:
        file = one.file
        others = writers.get(file.inode, [])
        sealed = os.stat(file.entry, dir_fd=one.place.descriptor, follow_symlinks=False)
        quarantine.log_event(
            State.MOVED,
            file.item,
            folder=one.folder_times,
            links=os.fstat(file.file).st_nlink,
            writers=others,
            sealed={"inode": sealed.st_ino, "ctime_ns": sealed.st_ctime_ns},
        )
        lacks = "" if one.within else file.facts.get("xattrs_left", 0)
        programs = tuple(w["program"] + (f" (pid {w['pid']})" if "pid" in w else "") for w in others)
        yield MoveResult(
            file.request.path,
            Outcome.DONE,
            file.item,
            f"the copy lacks {lacks} extended attributes or more" if lacks else "",
            one.place.path,
            links=file.status.st_nlink,
            writers=programs,
        )
    quarantine.sync()


def _already_evidence(quarantine: Quarantine, captured: CapturedFile, place: QuarantineFolder) -> str:
    """Return why a file is evidence already and stays; empty if it is not.

    Its path alone proves nothing: any user can have a folder with the name of ours.
    """
    if quarantine.is_kept(captured.parent, captured.name):
        return "it is in quarantine already"
    # Only root can create the quarantine folder itself, see `QuarantineFolders`.
    if not os.path.samestat(os.fstat(place.descriptor), os.fstat(captured.parent)):
        return ""
    if captured.digests["sha256"] == hashlib.sha256(TAG).hexdigest():
        return "it marks the quarantine for backup programs"
    if _ITEM.fullmatch(captured.name):
        return (
            "the quarantine of another state folder seems to keep it: scan with --quarantine-state FOLDER, "
            "or rename the file if none does"
        )
    return ""


def _displaced(quarantine: Quarantine, one: _Move, why: DisplacedError) -> MoveResult:
    """Record a file that was moved by mistake in another's place and can't go back."""
    file = one.file
    parent_path = why.parent_path or file.parent_path
    where = one.place.path if one.within else parent_path.rstrip(b"/") + b"/" + private_name(file.entry)
    detail = f"something else was put in its place and can't go back ({why}); it is kept as {file.item}"
    quarantine.log_event(State.DISPLACED, file.item, place=path_fields(where), detail=detail)
    return MoveResult(file.request.path, Outcome.RACED, file.item, detail, where)
