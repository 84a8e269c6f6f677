from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import OutputError
from hashscan.sources.pending import PendingFolders

from .children import in_child

entries = st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=300))


@given(st.integers(2, 9), st.lists(st.one_of(entries, st.none()), max_size=120))
def test_last_in_first_out(limit: int, steps: list[tuple[int, bytes] | None]) -> None:
    plain: list[tuple[int, bytes]] = []
    with PendingFolders(limit) as pending:
        for step in steps:
            if step is None:
                assert pending.pop() == (plain.pop() if plain else None)
            else:
                pending.push(*step)
                plain.append(step)
        while plain:
            assert pending.pop() == plain.pop()
        assert pending.pop() is None


def spilled() -> int:
    """Bytes in nameless files this process holds open."""
    total = 0
    for number in os.listdir("/proc/self/fd"):
        link = f"/proc/self/fd/{number}"
        if os.path.lexists(link) and "(deleted)" in os.readlink(link):
            total += os.stat(link).st_size
    return total


def test_memory_is_bounded_and_space_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = spilled()
    with PendingFolders(100) as pending:
        for number in range(100):
            pending.push(number, b"name")
        assert spilled() == before, "nothing is written as long as it fits"
        for number in range(100, 10_000):
            pending.push(number, b"name")
            assert len(pending._recent) <= 100
        assert spilled() - before > 9_000 * len(b"name")
        assert list(tmp_path.iterdir()) == [], "the file has no name"
        for number in range(9_999, 4_999, -1):
            assert pending.pop() == (number, b"name")
        halfway = spilled()
        for number in range(4_999, -1, -1):
            assert pending.pop() == (number, b"name")
        assert spilled() < halfway
    assert spilled() == before


def test_full_disk_is_our_own_trouble() -> None:
    def fill() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with PendingFolders(100) as pending:
            try:
                for number in range(10_000):
                    pending.push(number, b"n" * 200)
            except OutputError as error:
                return str(error)
        return "no error"

    assert "File too large" in in_child(fill)


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with PendingFolders(2) as pending:
        pending.push(0, b"name")
        pending.push(1, b"name")
        with pytest.raises(OutputError, match="No such file"):
            pending.push(2, b"name")


def test_shortened_file_is_noticed() -> None:
    with PendingFolders(2) as pending:
        for number in range(3):
            pending.push(number, b"name")
        assert pending._file is not None
        os.ftruncate(pending._file.fileno(), 5)
        assert pending.pop() == (2, b"name")
        assert pending.pop() == (1, b"name")
        with pytest.raises(OutputError, match="shorter"):
            pending.pop()


def test_room_for_fewer_than_two_is_a_bug() -> None:
    with pytest.raises(ValueError, match="two"):
        PendingFolders(1)
