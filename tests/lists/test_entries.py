from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hashscan.lists.entries import find_entry
from hashscan.lists.pulling import client
from hashscan.lists.storage import columns
from hashscan.lists.storage.columns import BYTE, ColumnFiles, ListHandle, column_header
from hashscan.lists.store import ListStore
from hashscan.model import CATEGORIES, ENTRY_ID_MAX, Entry
from tests.lists.builders import NOW, Owner, some_entries
from tests.lists.parts import PartwiseOwner
from tests.lists.storage.test_column_writer import written


def handle(folder: Path, entries: list[Entry]) -> ListHandle:
    return ListHandle("ours", 1, folder, CATEGORIES, written(folder, entries))


def test_every_entry_is_found_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = some_entries(50)
    ours = handle(tmp_path, entries)
    monkeypatch.setattr(columns, "BLOCK", 7)
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


def test_withdrawn_entries_are_gone_and_later_ones_are_there(owner: Owner, store: ListStore) -> None:
    """The entry in force is found of an id that was withdrawn and given again."""
    base = [Entry(f"e{number}", "md5", bytes([number] * 16), "A1") for number in range(9)]
    parts = PartwiseOwner(owner)
    parts.release(base)
    parts.release([Entry("e3", "md5", b"corrected-------", "B2")], {"md5": [3, 5]})
    client.add(store, "signed", str(owner.repository), owner.root)
    client.pull(store, "signed")
    with store.open(["signed"], NOW) as opened:
        (signed,) = opened.handles
        assert find_entry(signed, "e5") is None
        assert find_entry(signed, "e3") == Entry("e3", "md5", b"corrected-------", "B2")
        assert find_entry(signed, "e8") == base[8]


SEARCH = """
import pickle, resource, sys
from hashscan.lists.entries import find_entry
handle = pickle.load(open(sys.argv[1], "rb"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert find_entry(handle, "last") is not None and find_entry(handle, "none") is None
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.integration
def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    """To search 64 MB of ids takes a few blocks."""
    rows = 4_000_000
    files = ColumnFiles("md5", rows, 16, "ids", "category", "value")
    ids = np.arange(rows).astype("S16")
    ids[-1] = b"last"
    (tmp_path / "ids").write_bytes(column_header(ids.dtype, ids.shape) + ids.tobytes())
    for name, shape in (("category", (rows,)), ("value", (rows, 16))):
        header = column_header(BYTE, shape)
        with (tmp_path / name).open("wb") as file:
            file.write(header)
            file.truncate(len(header) + int(np.prod(shape)))
    (tmp_path / "handle").write_bytes(pickle.dumps(ListHandle("ours", 1, tmp_path, CATEGORIES, (files,))))
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(tmp_path / "handle")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20_000, "kB"
