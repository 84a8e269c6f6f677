from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hashscan.lists import entry_search
from hashscan.lists.column_writer import ColumnWriter
from hashscan.lists.columns import ID_DTYPE, Columns, ListHandle
from hashscan.lists.entry_search import find_entry
from hashscan.model import CATEGORIES, ENTRY_ID_MAX, Entry

from .builders import some_entries
from .test_column_writer import written


def handle(folder: Path, entries: list[Entry]) -> ListHandle:
    return ListHandle("ours", 1, folder, CATEGORIES, written(folder, entries))


def test_every_entry_is_found_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_search, "BLOCK", 7)
    entries = some_entries(50)
    ours = handle(tmp_path, entries)
    for entry in entries:
        assert find_entry(ours, entry.id) == entry
    for none in ("", "e", "e50", "E1", "e1 ", " e1", "é1", "e1" + "0" * ENTRY_ID_MAX):
        assert find_entry(ours, none) is None


def test_an_id_as_long_as_can_be(tmp_path: Path) -> None:
    longest = Entry("x" * ENTRY_ID_MAX, "md5", bytes(16), "A1")
    ours = handle(tmp_path, [longest])
    assert find_entry(ours, longest.id) == longest
    assert find_entry(ours, longest.id + "x") is None
    assert find_entry(ours, longest.id[:-1]) is None


SEARCH = """
import pickle, resource, sys
from hashscan.lists.entry_search import find_entry
handle = pickle.load(open(sys.argv[1], "rb"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert find_entry(handle, "last") is not None and find_entry(handle, "none") is None
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    """A column of 64 MB costs a few blocks."""
    rows = 1_000_000
    ids = np.arange(rows).astype("S8").astype(ID_DTYPE)
    ids[-1] = b"last"
    columns = Columns(ids, np.zeros(rows, np.uint8), np.zeros((rows, 16), np.uint8))
    with ColumnWriter(tmp_path) as writer:
        writer.add_columns("md5", columns, CATEGORIES)
        ours = ListHandle("ours", 1, tmp_path, CATEGORIES, writer.finish())
    (tmp_path / "handle").write_bytes(pickle.dumps(ours))
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(tmp_path / "handle")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 30_000, "kB"
