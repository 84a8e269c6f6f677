"""The contents that a person restored from quarantine, and the quarantines whose logs say so.

The log of a quarantine is the only place that knows what was restored. Where the quarantine has a state
folder of its own, scans name that (`--quarantine-state`), and the scans' state remembers it: policies, the
ledger and `stay-down` then read its log, too. `quarantine add` reads its own, so that it moves no restored
content again, whatever the report says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hashscan.atomic_files import output_errors, replace_file
from hashscan.hash_chain import Line
from hashscan.model import MATCHES_MAX
from hashscan.quarantine.items import State, items_of
from hashscan.state_dir import StateDir

_WHOLE_LIST = ""
"""Placeholder for an entry's id, which is never empty."""


@dataclass(frozen=True, slots=True)
class RestoredContent:
    """One content that was restored, once or several times."""

    day: str
    """Date of the last time, as in 2027-01-31."""
    by: str
    entries: frozenset[tuple[str, str]]
    """List and id of the entries that had accused it by then."""

    def covers(self, list_name: str, entry: str) -> bool:
        """Return True if the operator knew of the match of an entry."""
        return (list_name, entry) in self.entries or (list_name, _WHOLE_LIST) in self.entries


def restored_contents(read: Callable[[], Iterable[Line]]) -> dict[bytes, RestoredContent]:
    """Return the restored contents of a log, by their sha256.

    `read` returns all lines. It is called twice, so that memory holds nothing but restored contents, each
    less than a kilobyte.
    """
    restored: dict[str, tuple[str, str]] = {}
    unjudged: set[str] = set()
    for line in read():
        # A displaced item has another content than its record says. An item that was restored because its
        # entries were withdrawn was not judged by the operator, and the list's owner may add them again.
        if line["type"] == State.DISPLACED or (line["type"] == State.RESTORING and "withdrawals" in line):
            unjudged.add(line["item"])
        elif line["type"] == State.RESTORED and line["item"] not in unjudged:
            restored[line["item"]] = str(line["time"])[:10], sys.intern(operator_name(line["operator"]))
    if not restored:
        return {}
    found: dict[bytes, RestoredContent] = {}
    shared: dict[frozenset[tuple[str, str]], frozenset[tuple[str, str]]] = {}
    for line in read():
        ended = restored.get(line.get("item", "")) if line["type"] == State.MOVING else None
        entries = _entries(line) if ended is not None else frozenset[tuple[str, str]]()
        if ended is None or not entries:
            continue
        sha256 = bytes.fromhex(line["digests"]["sha256"])
        if sha256 in found:
            entries |= found[sha256].entries
        entries = shared.setdefault(entries, entries)
        found[sha256] = RestoredContent(*ended, entries)
    return found


def merge_restored(
    known: dict[bytes, RestoredContent], more: Mapping[bytes, RestoredContent]
) -> dict[bytes, RestoredContent]:
    """Add the restored contents of another log, and return all."""
    for sha256, content in more.items():
        before = known.get(sha256, content)
        latest = max(before, content, key=lambda one: one.day)
        known[sha256] = RestoredContent(latest.day, latest.by, before.entries | content.entries)
    return known


def _entries(line: Line) -> frozenset[tuple[str, str]]:
    """Return the entries that accused an item; empty where it was moved by hand."""
    matches = line["accusation"].get("matches", ())
    entries = {(m["list"], m["entry"]) for m in matches}
    if len(matches) >= MATCHES_MAX:
        # There may be more than the finding names, and those are not new either.
        entries |= {(m["list"], _WHOLE_LIST) for m in matches}
    return frozenset(entries)


def operator_name(operator: Mapping[str, Any]) -> str:
    """Return the name of an operator of the log: who used sudo, or the user's name or number."""
    return str(operator.get("sudo") or operator.get("user") or operator["uid"])


def restore_times(lines: Iterable[Line]) -> dict[str, datetime]:
    """Return when content was restored the last time, by its SHA-256 in hex; also where nobody judged it."""
    found: dict[str, datetime] = {}
    for item in items_of(lines).values():
        if item.state is State.RESTORED and not item.of_another:
            at = datetime.fromisoformat(item.latest["time"])
            found[item.sha256] = max(at, found.get(item.sha256, at))
    return found


def remember_quarantines(state: StateDir, named: Iterable[StateDir]) -> None:
    """Store the state folders of other quarantines that a scan names, if any, in place of earlier ones.

    Raises:
        OutputError: the file can't be written.
    """
    data = b"\0".join(os.fsencode(os.path.abspath(one)) for one in named)
    with output_errors(f"can't write {state.quarantine_states}"):
        if data and data != _stored(state):
            state.make()
            replace_file(state.quarantine_states, data)


def quarantine_states(state: StateDir | None, named: Iterable[StateDir] = ()) -> Iterator[StateDir]:
    """Yield the states whose quarantines' logs say what was restored: the own, named, and remembered ones.

    Remembered ones that this user must not read are left out: who scans reads them.

    Raises:
        OutputError: the file of the remembered ones can't be read.
    """
    seen: set[str] = set()
    for one in ([] if state is None else [state]) + list(named):
        seen.add(os.path.abspath(one))
        yield one
    if state is None:
        return
    with output_errors(f"can't read {state.quarantine_states}"):
        stored = _stored(state)
    for path in filter(None, stored.split(b"\0")):
        other = StateDir(os.fsdecode(path))
        if str(other) not in seen and _may_read(other):
            yield other


def _may_read(state: StateDir) -> bool:
    try:
        os.close(os.open(state.quarantine_head, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        # There is no log, or reading it says why that is not possible.
        return True
    return True


def _stored(state: StateDir) -> bytes:
    with suppress(FileNotFoundError):
        return state.quarantine_states.read_bytes()
    return b""
