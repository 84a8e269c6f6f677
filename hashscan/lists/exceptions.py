"""Exceptions: entries and contents whose matches this server withholds, each with a reason and an end date.

They are kept in the state folder, not with the lists: no pull, and no removal and re-adding of a list,
changes them. An exception names a list, an entry's id, and a fingerprint of the entry's value. If the list's
owner gives the id to another value, that is another entry, and it matches.

An exception of a content names a SHA-256, and withholds the matches of every entry of every list with files
of exactly these bytes. A file that differs in one byte matches.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec import Struct, structs

from hashscan.atomic_files import output_errors, remove_leftovers, replace_file
from hashscan.errors import OutputError, UsageError
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.lists.storage.video_frames import parse_id
from hashscan.locking import LockFile
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry, ExceptedContent, ExceptedEntry
from hashscan.schema import decode_file, encode_file
from hashscan.state_dir import StateDir
from hashscan.text import is_printable_line
from hashscan.timefmt import UTC_FORMAT, format_utc

FILE = "entries.json"
"""The file in the folder of exceptions, which contains nothing else but its lock."""
REASON_MAX = 500
"""Largest length in characters; the reason is shown in every finding that the entry would have made."""
_LOCK = ".lock"
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Document(Struct, frozen=True, omit_defaults=True):
    excepted: tuple[ExceptedEntry, ...]
    contents: tuple[ExceptedContent, ...] = ()


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The exceptions for some lists at one time."""

    in_force: tuple[ExceptedEntry, ...] = ()
    expired: tuple[ExceptedEntry, ...] = ()
    """Exceptions that no longer apply; they are kept and reported until they are removed."""
    contents: tuple[ExceptedContent, ...] = ()
    """Exceptions of contents, which apply to all lists."""
    expired_contents: tuple[ExceptedContent, ...] = ()


class ListedEntry(NamedTuple):
    """An entry of a list, or of a matching service."""

    list_name: str
    entry: Entry
    """Without a value where it is of a service."""
    service: str = ""
    """Identity of the service; empty for a list."""


def made_exception(
    list_name: str, entry: Entry, reason: str, until: datetime, by: str, now: datetime, service: str = ""
) -> ExceptedEntry:
    """Return an exception for one entry.

    Args:
        until: the end, timezone-aware.
        now: the time, timezone-aware.
        service: identity of the matching service that the entry is of; empty for a list.

    Raises:
        UsageError: the reason is empty, too long, or not one printable line; the entry is a frame of a video.
    """
    if entry.algorithm == VPDQ and len(entry.value) == ALGORITHMS[VPDQ].size:
        frame = parse_id(entry.id)
        if frame is not None:
            raise UsageError(
                f"the entry {entry.id!r} is a frame, and matches are with whole videos",
                advice=f"Except the video {frame.video!r}.",
            )
    return ExceptedEntry(
        list_name,
        entry.id,
        entry.algorithm,
        entry.category,
        service_fingerprint(service) if service else fingerprint(entry.algorithm, entry.value),
        checked_reason(reason),
        format_utc(until),
        by,
        format_utc(now),
    )


def made_content_exception(
    sha256: bytes, reason: str, until: datetime, by: str, now: datetime, case: str = ""
) -> ExceptedContent:
    """Return an exception for one content; the arguments and errors are those of `made_exception`."""
    return ExceptedContent(sha256.hex(), checked_reason(reason), format_utc(until), by, format_utc(now), case)


def checked_reason(reason: str) -> str:
    """Return a reason without white space around it."""
    reason = reason.strip()
    if not reason or not is_printable_line(reason, REASON_MAX):
        raise UsageError(
            "the reason can't be used",
            advice=f"Write why in one line of 1 to {REASON_MAX} printable characters.",
        )
    return reason


def service_fingerprint(identity: str) -> str:
    """Return the fingerprint of all entries of a matching service, whose values are not known here.

    Args:
        identity: identity of the service, so that one that gets its name later is another.
    """
    return fingerprint("service", identity.encode("ascii"))


def fingerprint(algorithm: str, value: bytes) -> str:
    """Return a fingerprint of an entry's value; an exception stores this because the value is sensitive."""
    return hashlib.blake2b(algorithm.encode("ascii") + b" " + value, digest_size=16).hexdigest()


def read_exceptions(state: StateDir) -> tuple[ExceptedEntry, ...]:
    """Return all excepted entries of a state folder, sorted by list and entry; errors as `read_contents`."""
    return _read(state).excepted


def read_contents(state: StateDir) -> tuple[ExceptedContent, ...]:
    """Return all excepted contents of a state folder, sorted by their SHA-256.

    Raises:
        OutputError: the file is damaged or can't be read; it is never taken for empty.
    """
    return _read(state).contents


def _read(state: StateDir) -> _Document:
    path = state.exceptions / FILE
    with output_errors("the exceptions can't be read"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return _Document(())
    try:
        return _parsed(data)
    except ValueError as error:
        raise OutputError(
            f"the file of exceptions {path} is damaged or of another version: {error}",
            advice="Restore it from a backup; or remove it and except the entries again, "
            "which match until then.",
        ) from error


def exceptions_at(state: StateDir | None, lists: Collection[str], now: datetime) -> Exceptions:
    """Return the exceptions for some lists.

    Args:
        state: the state folder; None means no exceptions.
        now: the time to compare their ends with, timezone-aware.

    Raises:
        OutputError: the file of exceptions is damaged or can't be read.
    """
    if state is None:
        return Exceptions()
    kept = _read(state)
    concerned = [excepted for excepted in kept.excepted if excepted.list_name in lists]
    return Exceptions(
        tuple(excepted for excepted in concerned if in_force(excepted, now)),
        tuple(excepted for excepted in concerned if not in_force(excepted, now)),
        tuple(content for content in kept.contents if in_force(content, now)),
        tuple(content for content in kept.contents if not in_force(content, now)),
    )


def in_force(excepted: ExceptedEntry | ExceptedContent, now: datetime) -> bool:
    """Return True if an exception still applies."""
    # Both texts have one form and are in UTC, so their order is the order of the times.
    return format_utc(now) < excepted.until


def add_exception(state: StateDir, excepted: ExceptedEntry) -> ExceptedEntry | None:
    """Store an exception for each later scan; return the one of the same entry that it replaces, or None.

    Raises:
        LockedError: another process is writing the exceptions.
        OutputError: the exceptions are damaged, or can't be read or written.
    """
    with _writing(state) as (kept, _):
        before = kept.get(_key(excepted))
        kept[_key(excepted)] = excepted
        return before


def add_content(state: StateDir, content: ExceptedContent) -> ExceptedContent | None:
    """Store an exception of a content; return the one that it replaces, or None; see `add_exception`."""
    with _writing(state) as (_, contents):
        before = contents.get(content.sha256)
        contents[content.sha256] = content
        return before


def remove_content(state: StateDir, sha256: bytes) -> ExceptedContent:
    """Remove the exception of a content, expired or not, and return it; errors as `remove_exception`."""
    with _writing(state) as (_, contents):
        if sha256.hex() not in contents:
            raise UsageError(
                f"the content sha256:{sha256.hex()} is not excepted",
                advice="See what is with `hashscan lists except`.",
            )
        return contents.pop(sha256.hex())


def remove_contents(state: StateDir, ended: Callable[[ExceptedContent], bool]) -> None:
    """Remove all exceptions of contents that are to be ended; errors as `add_exception`."""
    if any(map(ended, read_contents(state))):
        with _writing(state) as (_, contents):
            for content in [*filter(ended, contents.values())]:
                del contents[content.sha256]


def remove_exception(state: StateDir, entry_id: str, lists: Collection[str]) -> ExceptedEntry:
    """Remove an exception, expired or not, and return it.

    Args:
        lists: names of the lists to look in; empty for all.

    Raises:
        UsageError: the entry is not excepted, or is excepted in several lists.
        LockedError: another process is writing the exceptions.
        OutputError: the exceptions are damaged, or can't be read or written.
    """
    with _writing(state) as (kept, _):
        found = [key for key in kept if key[1] == entry_id and (not lists or key[0] in lists)]
        if not found:
            raise UsageError(
                f"the entry {entry_id!r} is not excepted",
                advice="See what is with `hashscan lists except`.",
            )
        if len(found) > 1:
            raise UsageError(
                f"the entry {entry_id!r} is excepted in the lists {' and '.join(name for name, _ in found)}",
                advice="Say which is meant with --list NAME.",
            )
        return kept.pop(found[0])


@contextmanager
def _writing(
    state: StateDir,
) -> Iterator[tuple[dict[tuple[str, str], ExceptedEntry], dict[str, ExceptedContent]]]:
    """Yield the entries and the contents for changing; write them when the body ends.

    They are written atomically, for the owner alone.
    """
    with output_errors("the exceptions can't be written"):
        folder = private_folder(state.exceptions)
        with LockFile(folder / _LOCK, f"another process is writing the exceptions in {folder}"):
            remove_leftovers(folder)
            before = _read(state)
            kept = {_key(excepted): excepted for excepted in before.excepted}
            contents = {content.sha256: content for content in before.contents}
            yield kept, contents
            document = _Document(
                tuple(kept[key] for key in sorted(kept)), tuple(contents[key] for key in sorted(contents))
            )
            replace_file(folder / FILE, encode_file(document))


def _key(excepted: ExceptedEntry) -> tuple[str, str]:
    return excepted.list_name, excepted.entry_id


def _parsed(data: bytes) -> _Document:
    """Parse the file; `ValueError` says what is wrong unless all of it is understood."""
    kept: dict[tuple[str, str], ExceptedEntry] = {}
    document = decode_file(data, _Document)
    for number, excepted in enumerate(document.excepted, 1):
        _check(excepted, f"exception {number}")
        if kept.setdefault(_key(excepted), excepted) is not excepted:
            raise ValueError(f"exception {number} is of an entry that was excepted before")
    contents: dict[str, ExceptedContent] = {}
    for number, content in enumerate(document.contents, 1):
        what = f"exception {number} of a content"
        _check_texts(content, what)
        if not (_SHA256.fullmatch(content.sha256) and 0 < len(content.reason) <= REASON_MAX):
            raise ValueError(f"{what} has a value that no exception has")
        if contents.setdefault(content.sha256, content) is not content:
            raise ValueError(f"{what} is of one that was excepted before")
    return _Document(
        tuple(kept[key] for key in sorted(kept)), tuple(contents[key] for key in sorted(contents))
    )


def _check_texts(excepted: ExceptedEntry | ExceptedContent, what: str) -> None:
    if not all(text.isprintable() for text in structs.asdict(excepted).values()):
        raise ValueError(f"{what} has a text that is not printable")
    for moment in (excepted.until, excepted.since):
        if format_utc(datetime.strptime(moment, UTC_FORMAT).replace(tzinfo=UTC)) != moment:
            raise ValueError(f"{what} has a time that is not of the form {UTC_FORMAT}")


def _check(excepted: ExceptedEntry, what: str) -> None:
    _check_texts(excepted, what)
    if not (
        LIST_NAME.fullmatch(excepted.list_name)
        and 0 < len(excepted.entry_id) <= ENTRY_ID_MAX
        and excepted.algorithm in ALGORITHMS
        and excepted.category in CATEGORIES
        and _FINGERPRINT.fullmatch(excepted.fingerprint)
        and not excepted.sha256
        and 0 < len(excepted.reason) <= REASON_MAX
    ):
        raise ValueError(f"{what} has a value that no exception has")
