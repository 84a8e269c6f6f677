"""Exceptions: entries whose matches this server withholds, each with a reason and an end date.

They are kept in the state folder, not with the lists: no pull, and no removal and re-adding of a list,
changes them. An exception names a list, an entry's id, and a fingerprint of the entry's value. If the list's
owner gives the id to another value, that is another entry, and it matches.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec import structs

from hashscan.errors import OutputError, UsageError
from hashscan.lists.storage.atomic_files import output_errors, remove_leftovers, replace_file
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.locking import LockFile
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry, ExceptedEntry
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


@dataclass(frozen=True, slots=True)
class _Document:
    excepted: tuple[ExceptedEntry, ...]


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The exceptions for some lists at one time."""

    in_force: tuple[ExceptedEntry, ...] = ()
    expired: tuple[ExceptedEntry, ...] = ()
    """Exceptions that no longer apply; they are kept and reported until they are removed."""


def made_exception(
    list_name: str, entry: Entry, reason: str, until: datetime, by: str, now: datetime
) -> ExceptedEntry:
    """Return an exception for one entry.

    Args:
        until: the end, timezone-aware.
        now: the time, timezone-aware.

    Raises:
        UsageError: the reason is empty, too long, or not one printable line.
    """
    reason = reason.strip()
    if not reason or not is_printable_line(reason, REASON_MAX):
        raise UsageError(
            "the reason can't be used",
            advice=f"Say in one line of 1 to {REASON_MAX} printable characters why the entry is wrong.",
        )
    return ExceptedEntry(
        list_name,
        entry.id,
        entry.algorithm,
        entry.category,
        fingerprint(entry.algorithm, entry.value),
        reason,
        format_utc(until),
        by,
        format_utc(now),
    )


def fingerprint(algorithm: str, value: bytes) -> str:
    """Return a fingerprint of an entry's value; an exception stores this because the value is sensitive."""
    return hashlib.blake2b(algorithm.encode("ascii") + b" " + value, digest_size=16).hexdigest()


def read_exceptions(state: StateDir) -> tuple[ExceptedEntry, ...]:
    """Return all exceptions of a state folder, sorted by list and entry.

    Raises:
        OutputError: the file is damaged or can't be read; it is never taken for empty.
    """
    path = state.exceptions / FILE
    with output_errors("the exceptions can't be read"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return ()
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
    concerned = [excepted for excepted in read_exceptions(state) if excepted.list_name in lists]
    return Exceptions(
        tuple(excepted for excepted in concerned if in_force(excepted, now)),
        tuple(excepted for excepted in concerned if not in_force(excepted, now)),
    )


def in_force(excepted: ExceptedEntry, now: datetime) -> bool:
    """Return True if an exception still applies."""
    # Both texts have one form and are in UTC, so their order is the order of the times.
    return format_utc(now) < excepted.until


def add_exception(state: StateDir, excepted: ExceptedEntry) -> ExceptedEntry | None:
    """Store an exception for each later scan; return the one of the same entry that it replaces, or None.

    Raises:
        LockedError: another process is writing the exceptions.
        OutputError: the exceptions are damaged, or can't be read or written.
    """
    with _writing(state) as kept:
        before = kept.get(_key(excepted))
        kept[_key(excepted)] = excepted
        return before


def remove_exception(state: StateDir, entry_id: str, lists: Collection[str]) -> ExceptedEntry:
    """Remove an exception, expired or not, and return it.

    Args:
        lists: names of the lists to look in; empty for all.

    Raises:
        UsageError: the entry is not excepted, or is excepted in several lists.
        LockedError: another process is writing the exceptions.
        OutputError: the exceptions are damaged, or can't be read or written.
    """
    with _writing(state) as kept:
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
def _writing(state: StateDir) -> Iterator[dict[tuple[str, str], ExceptedEntry]]:
    """Yield the exceptions for changing; write them when the body ends, atomically, for the owner alone."""
    with output_errors("the exceptions can't be written"):
        folder = private_folder(state.exceptions)
        with LockFile(folder / _LOCK, f"another process is writing the exceptions in {folder}"):
            remove_leftovers(folder)
            kept = {_key(excepted): excepted for excepted in read_exceptions(state)}
            yield kept
            document = _Document(tuple(kept[key] for key in sorted(kept)))
            replace_file(folder / FILE, encode_file(document))


def _key(excepted: ExceptedEntry) -> tuple[str, str]:
    return excepted.list_name, excepted.entry_id


def _parsed(data: bytes) -> tuple[ExceptedEntry, ...]:
    """Parse the file; `ValueError` says what is wrong unless all of it is understood."""
    kept: dict[tuple[str, str], ExceptedEntry] = {}
    for number, excepted in enumerate(decode_file(data, _Document).excepted, 1):
        _check(excepted, f"exception {number}")
        if kept.setdefault(_key(excepted), excepted) is not excepted:
            raise ValueError(f"exception {number} is of an entry that was excepted before")
    return tuple(kept[key] for key in sorted(kept))


def _check(excepted: ExceptedEntry, what: str) -> None:
    if not all(text.isprintable() for text in structs.asdict(excepted).values()):
        raise ValueError(f"{what} has a text that is not printable")
    for moment in (excepted.until, excepted.since):
        if format_utc(datetime.strptime(moment, UTC_FORMAT).replace(tzinfo=UTC)) != moment:
            raise ValueError(f"{what} has a time that is not of the form {UTC_FORMAT}")
    if not (
        LIST_NAME.fullmatch(excepted.list_name)
        and 0 < len(excepted.entry_id) <= ENTRY_ID_MAX
        and excepted.algorithm in ALGORITHMS
        and excepted.category in CATEGORIES
        and _FINGERPRINT.fullmatch(excepted.fingerprint)
        and 0 < len(excepted.reason) <= REASON_MAX
    ):
        raise ValueError(f"{what} has a value that no exception has")
