"""Count the known files that a new version of a list would match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hashscan.lists.difference import EntryChange
from hashscan.model import KNOWN_GOOD_CATEGORY, TEST_CATEGORY
from hashscan.state.queries.overview import overview_of
from hashscan.state.queries.would_hit import files_hit, hits_of
from hashscan.state.store.reading import NoStateError, StateReader

_HARMLESS = frozenset({KNOWN_GOOD_CATEGORY, TEST_CATEGORY})


@dataclass(frozen=True, slots=True)
class Reach:
    """The matches of new accusing entries among the files and objects of the state."""

    entries: int
    """Number of entries that match any."""
    files: int
    """Number of files and objects that are matched."""
    known: int
    """Number of all files and objects; 0, and not counted, where fewer are matched than matter."""
    left_out: Counter[str]
    """Number of entries that could not be looked up, by algorithm."""


def reach_of(state: Path, changes: Iterable[EntryChange], matters: int) -> Reach | None:
    """Look up the new entries; return None if there is no state.

    Args:
        state: the state folder.
        changes: between two versions of a list.
        matters: number of matched files from which on their share is of interest.

    Raises:
        OutputError: the state can't be read, or is damaged.
    """
    came = (change for change in changes if change.came and change.category not in _HARMLESS)
    try:
        with StateReader(state) as reader, reader.reading():
            hits = hits_of(reader, came)
            files = sum(1 for _ in files_hit(reader, hits))
            known = 0
            if files >= matters:
                overview = overview_of(reader)
                # Files of which only a finding is left count among the matched ones.
                known = max(overview.files + overview.objects, files)
            return Reach(hits.entries, files, known, hits.left_out)
    except NoStateError:
        return None
