"""Equal lists have equal fingerprints on two machines, and others have others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hashscan.lists.fingerprint import content_fingerprint
from hashscan.lists.store import ListStore
from hashscan.model import Entry

ONE, TWO = (Entry(f"e-{n}", "md5", bytes([n]) * 16, "A1") for n in (1, 2))


def fingerprint(folder: Path, *imports: list[Entry], name: str = "ours") -> str:
    store = ListStore(folder)
    for entries in imports:
        store.import_entries(name, entries, "test")
    with store.open([name], datetime.now(UTC)) as opened:
        return content_fingerprint(opened.handles[0])


def test_the_same_entries_imported_elsewhere_and_at_another_time(tmp_path: Path) -> None:
    first = fingerprint(tmp_path / "a", [ONE, TWO])
    # The second version there, the first here.
    assert fingerprint(tmp_path / "b", [ONE], [ONE, TWO]) == first
    assert len(first) == 64


def test_any_difference_tells(tmp_path: Path) -> None:
    other_id = Entry("x-1", "md5", ONE.value, "A1")
    other_category = Entry("e-1", "md5", ONE.value, "B1")
    other_value = Entry("e-1", "md5", bytes(16), "A1")
    other_algorithm = Entry("e-1", "xxh3_128", ONE.value, "A1")
    lists = [[ONE], [TWO], [ONE, TWO], [other_id], [other_category], [other_value], [other_algorithm]]
    found = {fingerprint(tmp_path / str(number), entries) for number, entries in enumerate(lists)}
    assert len(found) == len(lists)
    assert fingerprint(tmp_path / "name", [ONE], name="others") not in found


def test_the_list_that_comes_along_has_one(tmp_path: Path) -> None:
    found = set()
    for folder in (None, tmp_path):
        with ListStore(folder).open(["demo"], datetime.now(UTC)) as opened:
            found.add(content_fingerprint(opened.handles[0]))
    assert len(found) == 1
