from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import import_notices
from hashscan.cases.noticed_files import check_files
from hashscan.cases.notices.notice import Notice
from hashscan.cases.sightings import Sightings
from hashscan.cases.sync import sync
from hashscan.model import Shard
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.scan import ScanSettings
from hashscan.state_dir import StateDir
from hashscan.text import path_fields
from tests.cases.world import World

NOW = int(time.time())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (tree / name).write_bytes(b"content")
    return tree


@pytest.fixture
def ledger(tmp_path: Path, tree: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path / "state")) as ledger:
        noticed(ledger, bytes(tree / "a"), bytes(tree / "sub/b"))
        yield ledger


def noticed(ledger: Ledger, *paths: bytes) -> None:
    notices = (Notice("", "sender", path=path) for path in paths)
    with Sightings(StateDir(ledger.path.parent)) as sightings:
        import_notices(ledger, notices, lambda _: (), NOW, sightings=sightings)


def ended(ledger: Ledger, *targets: Path, **changes: object) -> set[str]:
    """Look for the files as after a complete scan; return the names of those whose cases have ended."""
    settings = ScanSettings(
        targets=tuple(map(bytes, targets)), lists=None, reports=(), state=None, workers=1,
        decoding=DecodingLimits(),
    )  # fmt: skip
    number = check_files(ledger, replace(settings, **changes), StateDir(ledger.path.parent), NOW)  # type: ignore[arg-type]
    rows = [row for (row,) in ledger.rows("SELECT path FROM cases WHERE how='gone'")]
    assert len(rows) >= number
    return {row.rpartition(b"/")[2].decode() for row in rows}


def _unlink(tree: Path) -> None:
    for name in ("a", "sub/b"):
        (tree / name).unlink()


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({}, {"a", "b"}),
        ({"one_file_system": True}, {"a", "b"}),
        ({"exclude": ("sub/",)}, {"a"}),
        ({"exclude": ("b",)}, {"a"}),
        ({"exclude": ("/a", "/sub/**")}, set()),
        ({"files_from": Path("-")}, set()),
    ],
)
def test_what_the_settings_leave_out_does_not_end(
    ledger: Ledger, tree: Path, changes: dict[str, object], gone: set[str]
) -> None:
    assert ended(ledger, tree, **changes) == set()
    _unlink(tree)
    assert ended(ledger, tree, **changes) == gone


def test_a_target_that_is_named_beneath_an_excluded_folder(ledger: Ledger, tree: Path) -> None:
    _unlink(tree)
    assert ended(ledger, tree, tree / "sub", exclude=("/sub/",)) == {"a", "b"}


def test_a_target_by_a_symlink_of_the_administrator(ledger: Ledger, tree: Path) -> None:
    _unlink(tree)
    link = tree.with_name("link")
    link.symlink_to(tree / "sub")
    assert ended(ledger, link) == {"b"}


def test_shards(ledger: Ledger, tree: Path) -> None:
    _unlink(tree)
    first = ended(ledger, tree, shard=Shard(1, 2))
    assert ended(ledger, tree, shard=Shard(2, 2)) - first == {"a", "b"} - first


def test_a_bucket_is_no_folder_of_its_name(
    ledger: Ledger, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "s3:" / "bucket").mkdir(parents=True)
    (tree / "s3:" / "bucket" / "c").write_bytes(b"content")
    noticed(ledger, bytes(tree / "s3:/bucket/c"))
    (tree / "s3:" / "bucket" / "c").unlink()
    monkeypatch.chdir(tree)
    check = ScanSettings(
        targets=(b"s3://bucket",), lists=None, reports=(), state=None, workers=1, decoding=DecodingLimits()
    )
    assert check_files(ledger, check, StateDir(ledger.path.parent), NOW) == 0
    assert ended(ledger, tree) == {"c"}


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("put", [Path.mkdir, lambda path: path.symlink_to("nowhere"), _fifo])
def test_anything_in_its_place_ends_nothing(
    ledger: Ledger, tree: Path, put: Callable[[Path], object]
) -> None:
    _unlink(tree)
    put(tree / "a")
    assert ended(ledger, tree) == {"b"}


def test_another_device_ends_nothing(ledger: Ledger, tree: Path) -> None:
    _unlink(tree)
    with ledger.transaction() as database:
        database.execute("UPDATE cases SET device=device+1 WHERE path=?", (bytes(tree / "a"),))
    assert ended(ledger, tree) == {"b"}


def test_a_file_that_nobody_has_seen_is_not_seen_gone(ledger: Ledger, tree: Path) -> None:
    noticed(ledger, bytes(tree / "never"))
    assert ended(ledger, tree) == set()


def test_odd_paths_of_notices_hinder_no_other(ledger: Ledger, tree: Path) -> None:
    deep = bytes(tree) + b"/sub" * 1000
    odd = [
        *(
            bytes(tree) + name
            for name in (b"/a/b", b"/../x", b"/" + b"x" * 300, b"/\xff\n", b"//a", b"/sub/")
        ),
        *(deep + b"/x", b"/", b"//", b"/proc/self/x", b"s3://bucket/a"),
    ]
    noticed(ledger, *odd)
    # A notice names it as seen; its path is as odd all the same.
    with ledger.transaction() as database:
        database.execute("UPDATE cases SET witness='import'")
        database.execute("INSERT INTO cases (path, verdict, found, seen) VALUES (x'2f00', 'notice', 1, 1)")
    assert ended(ledger, tree, Path("/")) == set()
    _unlink(tree)
    assert ended(ledger, tree, Path("/")) == {"a", "b"}


def test_a_move_into_quarantine_that_was_interrupted_is_no_removal(tree: Path, tmp_path: Path) -> None:
    with World(tmp_path / "state") as world, Ledger(StateDir(world.state)) as ledger:
        world.now = NOW
        noticed(ledger, bytes(tree / "a"), bytes(tree / "sub/b"))
        place = {"place": path_fields(b"/q"), "file": {}}
        world.custody({"type": "moving", "item": "00000009", **path_fields(bytes(tree / "a")), **place})
        _unlink(tree)
        sync(ledger, StateDir(world.state))
        assert ended(ledger, tree) == {"b"}
        world.custody({"type": "moved", "item": "00000009"})
        sync(ledger, StateDir(world.state))
        assert {how for (how,) in ledger.rows("SELECT how FROM cases")} == {"gone", "quarantined"}
