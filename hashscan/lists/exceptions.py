"""The entries whose matches this server withholds, each with its reason and its end.

They are kept in the state folder, not with the lists: no pull, and no removing and adding of a list, touches
them. An exception names a list, an entry's id and what the entry was; when the list's owner gives the id to
another value, that is another entry, and it matches.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hashscan.errors import OutputError, UsageError
from hashscan.lists.durable import output_errors, remove_leftovers, replace_file
from hashscan.lists.layout import private_folder
from hashscan.lists.lock import sole_writer
from hashscan.lists.manifest import LIST_NAME
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry, ExceptedEntry

FOLDER = "exceptions"
"""The folder in the state folder; it holds this file, its lock, and nothing else."""
FILE = "entries.json"
REASON_MAX = 500
"""Characters; it stands in every finding that the entry would have been."""
_LOCK = ".lock"
_SCHEMA = 1
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_KEYS = frozenset(field.name for field in fields(ExceptedEntry))


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The exceptions that concern some lists, at one moment."""

    in_force: tuple[ExceptedEntry, ...] = ()
    expired: tuple[ExceptedEntry, ...] = ()
    """They apply no more, and are kept to be told of until they are removed."""


def made_exception(
    list_name: str, entry: Entry, reason: str, until: datetime, by: str, now: datetime
) -> ExceptedEntry:
    """An exception of one entry.

    Args:
        list_name: of the list that has the entry.
        entry: as it stands there.
        reason: why its matches are withheld.
        until: the end, aware.
        by: who wants it.
        now: the time, aware.

    Raises:
        UsageError: the reason is empty, too long, or not one printable line.
    """
    reason = reason.strip()
    if not reason or not reason.isprintable() or len(reason) > REASON_MAX:
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
        _written(until),
        by,
        _written(now),
    )


def fingerprint(algorithm: str, value: bytes) -> str:
    """What an exception remembers of an entry's value; not the value, which is sensitive."""
    return hashlib.blake2b(algorithm.encode("ascii") + b" " + value, digest_size=16).hexdigest()


def read_exceptions(state: Path) -> tuple[ExceptedEntry, ...]:
    """All exceptions of a state folder, by list and entry.

    Raises:
        OutputError: the file is damaged or can't be read; that there are none is never assumed.
    """
    path = state / FOLDER / FILE
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


def exceptions_at(state: Path | None, lists: Collection[str], now: datetime) -> Exceptions:
    """The exceptions that concern some lists.

    Args:
        state: the state folder; None has none.
        lists: names of the lists.
        now: the time to compare their ends with, aware.

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
    """Whether an exception still applies."""
    # Both are of one form and in UTC, so the order of the texts is that of the times.
    return _written(now) < excepted.until


def add_exception(state: Path, excepted: ExceptedEntry) -> ExceptedEntry | None:
    """Keep an exception; it is in force for whatever begins after this.

    Returns:
        The exception of the same entry that it takes the place of, if there was one.

    Raises:
        LockedError: another process writes the exceptions.
        OutputError: they are damaged, or can't be read or written.
    """
    with _writing(state) as kept:
        before = kept.get(_key(excepted))
        kept[_key(excepted)] = excepted
        return before


def remove_exception(state: Path, entry_id: str, lists: Collection[str]) -> ExceptedEntry:
    """Forget an exception, expired or not.

    Args:
        state: the state folder.
        entry_id: the entry that was excepted.
        lists: names of the lists it may be of; empty for any.

    Returns:
        What is forgotten.

    Raises:
        UsageError: the entry is not excepted, or is in several lists.
        LockedError: another process writes the exceptions.
        OutputError: they are damaged, or can't be read or written.
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
def _writing(state: Path) -> Iterator[dict[tuple[str, str], ExceptedEntry]]:
    """The exceptions, to be changed; they are written when the body ends, at once and for the owner alone."""
    with output_errors("the exceptions can't be written"):
        folder = private_folder(state / FOLDER)
        with sole_writer(folder / _LOCK, f"the exceptions in {folder}"):
            remove_leftovers(folder)
            kept = {_key(excepted): excepted for excepted in read_exceptions(state)}
            yield kept
            document = {
                "schema": _SCHEMA,
                "excepted": [asdict(kept[key]) for key in sorted(kept)],
            }
            replace_file(folder / FILE, json.dumps(document, indent=1).encode("ascii") + b"\n")


def _key(excepted: ExceptedEntry) -> tuple[str, str]:
    return excepted.list_name, excepted.entry_id


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_TIME)


def _parsed(data: bytes) -> tuple[ExceptedEntry, ...]:
    """The file's content, when all of it is understood.

    Raises:
        ValueError: it is not; says what is wrong.
    """
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise ValueError("it has no schema that this program can read")
    listed = document.get("excepted")
    if document.keys() != {"schema", "excepted"} or not isinstance(listed, list):
        raise ValueError("it lacks the exceptions, or has more than them")
    kept: dict[tuple[str, str], ExceptedEntry] = {}
    for number, record in enumerate(listed, 1):
        excepted = _excepted(record, f"exception {number}")
        if kept.setdefault(_key(excepted), excepted) is not excepted:
            raise ValueError(f"exception {number} is of an entry that was excepted before")
    return tuple(kept[key] for key in sorted(kept))


def _excepted(record: Any, what: str) -> ExceptedEntry:
    if (
        not isinstance(record, dict)
        or record.keys() != _KEYS
        or not all(isinstance(text, str) and text.isprintable() for text in record.values())
    ):
        raise ValueError(f"{what} is not made of the texts that it needs")
    excepted = ExceptedEntry(**record)
    for moment in (excepted.until, excepted.since):
        if _written(datetime.strptime(moment, _TIME).replace(tzinfo=UTC)) != moment:
            raise ValueError(f"{what} has a time that is not of the form {_TIME}")
    if not (
        LIST_NAME.fullmatch(excepted.list_name)
        and 0 < len(excepted.entry_id) <= ENTRY_ID_MAX
        and excepted.algorithm in ALGORITHMS
        and excepted.category in CATEGORIES
        and _FINGERPRINT.fullmatch(excepted.fingerprint)
        and 0 < len(excepted.reason) <= REASON_MAX
    ):
        raise ValueError(f"{what} names something that can't be")
    return excepted
