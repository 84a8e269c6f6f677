"""Find the contents that an operator has restored from quarantine, so that they are not moved again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashscan.model import MATCHES_MAX, Match
from hashscan.quarantine.items import State
from hashscan.quarantine.log import Line
from hashscan.quarantine.store import read_lines

_WHOLE_LIST = ""
"""Placeholder for an entry's id, which is never empty."""


@dataclass(frozen=True, slots=True)
class RestoredContent:
    """One content that was restored, once or several times."""

    day: str
    """Date of the last time, as in 2027-01-31."""
    by: str
    """The operator."""
    entries: frozenset[tuple[str, str]]
    """List and id of the entries that had accused it by then."""

    def covers(self, match: Match) -> bool:
        """Return True if the operator knew of this match."""
        return (match.list_name, match.entry_id) in self.entries or (
            match.list_name,
            _WHOLE_LIST,
        ) in self.entries


def read_put_back(state: Path | None) -> dict[bytes, RestoredContent]:
    """Return the restored contents, by their sha256.

    The log is read twice, so that memory holds nothing but restored contents, each less than a kilobyte.

    Args:
        state: the state folder; None where there is none.

    Raises:
        OutputError: the quarantine's log is damaged, lost or can't be read.
    """
    if state is None:
        return {}
    restored: dict[str, tuple[str, str]] = {}
    unjudged: set[str] = set()
    for line, _ in read_lines(state):
        # What came along in a file's place has another content than the record tells. What went back since
        # its entries were withdrawn did so on their owner's word, who may think again.
        if line["type"] == State.DISPLACED or (line["type"] == State.RESTORING and "withdrawals" in line):
            unjudged.add(line["item"])
        elif line["type"] == State.RESTORED and line["item"] not in unjudged:
            restored[line["item"]] = str(line["time"])[:10], sys.intern(_name(line["operator"]))
    if not restored:
        return {}
    found: dict[bytes, RestoredContent] = {}
    shared: dict[frozenset[tuple[str, str]], frozenset[tuple[str, str]]] = {}
    for line, _ in read_lines(state):
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


def _entries(line: Line) -> frozenset[tuple[str, str]]:
    """Return the entries that accused an item; empty where it was moved by hand."""
    matches = line["accusation"].get("matches", ())
    entries = {(m["list"], m["entry"]) for m in matches}
    if len(matches) >= MATCHES_MAX:
        # There may be more than the finding names, and those are not new either.
        entries |= {(m["list"], _WHOLE_LIST) for m in matches}
    return frozenset(entries)


def _name(operator: Mapping[str, Any]) -> str:
    """Return the user behind sudo, else the user, else the user's number."""
    return str(operator.get("sudo") or operator.get("user") or operator["uid"])
