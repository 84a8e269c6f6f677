"""Files that are put off, since somebody holds a write lease on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.model import Batch, FileStat, Item
from hashscan.scan import leased_files
from hashscan.scan.leased_files import PER_OWNER_MAX, LeasedFiles

BATCH = Batch("file", b"/target", b"folder", 1, 2, ())


def item(number: int, uid: int = 5) -> Item:
    return Item(b"%d" % number, FileStat(1, number, 3, 0, 0, 1, uid))


def test_files_come_back_in_their_batches_and_none_is_put_off_twice() -> None:
    files = LeasedFiles()
    assert files.seconds == 0
    other = Batch("file", b"/target", b"other", 1, 3, ())
    for batch, number in ((BATCH, 1), (other, 2), (BATCH, 3)):
        assert files.defer(Batch("file", b"/target", batch.folder, 1, batch.inode, (item(9),)), item(number))
    assert files.seconds > 0
    taken = list(files.take())
    assert [(batch.folder, [i.name for i in batch.items]) for batch in taken] == [
        (b"folder", [b"1", b"3"]),
        (b"other", [b"2"]),
    ]
    assert files.seconds == 0
    assert not files.defer(BATCH, item(1))


def test_one_owner_can_have_only_so_many_put_off() -> None:
    files = LeasedFiles()
    assert all(files.defer(BATCH, item(number)) for number in range(PER_OWNER_MAX))
    assert not files.defer(BATCH, item(0))
    assert files.defer(BATCH, item(0, uid=6))


@pytest.mark.parametrize(
    ("setting", "seconds"), [("7\n", 7), ("0", 1), ("100000", 60), ("x", 45), (None, 45)]
)
def test_how_long_is_waited_is_the_systems_to_say_within_limits(
    setting: str | None, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_files, "_SETTING", tmp_path / "setting")
    if setting is not None:
        (tmp_path / "setting").write_text(setting)
    assert leased_files._break_seconds() == pytest.approx(seconds, abs=0.5)
