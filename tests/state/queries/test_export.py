from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from hashscan.state.queries.export import comma_separated
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.folder_rows import FolderRows
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir
from tests.state.profiles import PROFILE
from tests.state.store.test_contents import kept
from tests.state.store.test_reading import put


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "'"])
def test_no_path_is_a_formula_and_none_is_lost(tmp_path: Path, start: str) -> None:
    """A bucket's key may begin with anything."""
    database, folder, _ = open_database(StateDir(tmp_path))
    contents, rows = Contents(database, folder, PROFILE), FolderRows(database, "")
    put(rows, start.encode() + b'1,"', {b"a": contents.add(kept(b"a"), 0, 5)})
    contents.sync()
    contents.close()
    with StateReader(StateDir(tmp_path)) as reader:
        text = "".join(comma_separated(reader, with_digests=False))
    database.close()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["path"] == f"'{start}1,\"/a"
