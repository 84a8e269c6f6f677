"""How many of the known files a new version of a list would hit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hashscan.lists.difference import Change
from hashscan.model import KNOWN_GOOD_CATEGORY, TEST_CATEGORY
from hashscan.state.queries.overview import overview_of
from hashscan.state.queries.would_hit import files_hit, hits_of
from hashscan.state.store.reading import NothingKnownError, StateReader

_HARMLESS = frozenset({KNOWN_GOOD_CATEGORY, TEST_CATEGORY})


@dataclass(frozen=True, slots=True)
class Reach:
    """What new entries that accuse are of or like, among the files and objects that sweeps know."""

    entries: int
    """How many of them hit any."""
    files: int
    """Those that are hit."""
    known: int
    """All of them; not counted, and 0, where fewer are hit than matter."""
    left_out: Counter[str]
    """Entries by algorithm that could not be looked up."""


def reach_of(state: Path, changes: Iterable[Change], matters: int) -> Reach | None:
    """Look up what came; None where no sweep has remembered anything.

    Args:
        state: the state folder.
        changes: between two versions of a list.
        matters: from how many files on their share is of interest.

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
                # Files of which only a finding is left count among those that are hit.
                known = max(overview.files + overview.objects, files)
            return Reach(hits.entries, files, known, hits.left_out)
    except NothingKnownError:
        return None
