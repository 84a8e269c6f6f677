from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.lists.storage import published_columns
from hashscan.lists.storage.columns import ActiveRows
from hashscan.lists.storage.manifest import Manifest
from hashscan.lists.storage.published_columns import write_part
from hashscan.lists.storage.signed_list import content_of
from hashscan.lists.storage.stored_version import JoinedColumn, joined_columns
from hashscan.lists.storage.trust import SignedTarget, VerifiedMetadata
from hashscan.lists.storage.tuf_api import TargetFile
from hashscan.model import CATEGORIES
from tests.lists.builders import NOW, some_entries
from tests.lists.parts import blocks_of, entries_of_blocks


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Ids of two bytes in the base, of three and of four in the increments; several shards of each."""
    monkeypatch.setattr(published_columns, "SHARD_SIZE", 100)
    (tmp_path / "shards").mkdir()
    parts = [
        write_part(tmp_path / "shards", version, blocks_of(some_entries(9, start=start)))
        for version, start in ((1, 0), (2, 50), (3, 500))
    ]
    return Manifest("test", 3, NOW, CATEGORIES, tuple(parts))


def join(folder: Path, column: JoinedColumn) -> int:
    """Write a joined column, last shard first; gives an open descriptor."""
    descriptor = os.open(folder / column.file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.ftruncate(descriptor, column.size)
    for piece in reversed(column.pieces):
        column.place(descriptor, piece, (folder / "shards" / piece.target).read_bytes())
    os.pwrite(descriptor, column.header, 0)
    return descriptor


def test_shards_can_be_made_again_from_what_was_joined(tmp_path: Path, manifest: Manifest) -> None:
    every = joined_columns(manifest)
    assert [columns.place for columns in every] == [
        f"{kind}.{algorithm}" for kind in ("base", "delta") for algorithm in ("md5", "pdq", "sha256")
    ]
    assert [columns.in_base for columns in every] == [True] * 3 + [False] * 3
    assert {columns.id_size for columns in every} == {2, 4}
    found = []
    for columns in every:
        for column in columns:
            descriptor = join(tmp_path, column)
            assert len(column.pieces) > 1 or columns.algorithm == "md5"
            for piece in column.pieces:
                published = (tmp_path / "shards" / piece.target).read_bytes()
                assert column.shard(descriptor, piece) == published
                assert column.shard_size(piece) == len(published)
            os.close(descriptor)
        files = columns.files(0, "content")
        found += entries_of_blocks(columns.algorithm, list(ActiveRows(tmp_path, files)))
    expected = some_entries(9) + some_entries(9, start=50) + some_entries(9, start=500)
    assert sorted(found, key=lambda entry: int(entry.id[1:])) == expected


def test_a_changed_byte_is_seen_wherever_it_lies(tmp_path: Path, manifest: Manifest) -> None:
    """Padding that the shards don't have included."""
    for columns in joined_columns(manifest):
        for column in columns:
            descriptor = join(tmp_path, column)
            before = [column.shard(descriptor, piece) for piece in column.pieces]
            for place in range(128, column.size):
                (byte,) = os.pread(descriptor, 1, place)
                os.pwrite(descriptor, bytes([byte ^ 0x41]), place)
                assert [column.shard(descriptor, piece) for piece in column.pieces] != before
                os.pwrite(descriptor, bytes([byte]), place)
            os.truncate(descriptor, column.size - 1)
            assert [column.shard(descriptor, piece) for piece in column.pieces] != before
            os.close(descriptor)


def test_content_tells_rows_apart(manifest: Manifest) -> None:
    def content(column: JoinedColumn, changed: str = "") -> str:
        targets = {}
        for piece in column.pieces:
            digest = ("1" if piece.target == changed else "0") * 64
            info = TargetFile.from_data(piece.target, b"", ["sha256"])
            targets[piece.target] = SignedTarget(f"{digest}.{piece.target}", info)
        return content_of(column, VerifiedMetadata(targets, (), {}, (), frozenset(), {}))

    every = joined_columns(manifest)
    (column, *_) = (columns.value for columns in every if columns.algorithm == "pdq")
    assert content(column) == content(column)
    assert len({content(column, piece.target) for piece in column.pieces} | {content(column)}) == 1 + len(
        column.pieces
    )
    assert content(column).isalnum()
    narrow, wide = every[0].ids, every[3].ids
    assert content(narrow) != content(wide)
