from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import Batch, FileResult, FileStat, Item, Verdict
from hashscan.scan.hard_links import HardLinkTable


def stat(inode: int = 7, mtime: int = 0) -> FileStat:
    return FileStat(device=1, inode=inode, size=3, mtime_ns=mtime, ctime_ns=9, links=2, uid=0)


def batch(*names: bytes, inode: int = 7) -> Batch:
    items = tuple(Item(name, stat(inode)) for name in names)
    return Batch("file", b"/t", b"f", 1, 2, items)


def clean(name: bytes) -> FileResult:
    return FileResult(name, stat(), Verdict.CLEAN)


def test_the_first_name_is_read_and_later_ones_take_its_result() -> None:
    table = HardLinkTable()
    work = batch(b"a", b"b", b"c")
    assert table.lookup_or_claim(work, work.items[0]) == (True, None)
    assert table.lookup_or_claim(work, work.items[1]) == (False, None)
    waited = list(table.store_result(work.items[0], clean(b"a")))
    assert [item.name for _, item in waited] == [b"b"]
    assert table.lookup_or_claim(work, work.items[2]) == (False, clean(b"c"))
    table.close()


def test_a_name_that_failed_passes_the_reading_on_one_by_one() -> None:
    table = HardLinkTable()
    work = batch(b"a", b"b", b"c")
    for item in work.items:
        table.lookup_or_claim(work, item)
    first = table.retry_other_name(work.items[0])
    assert first is not None
    assert first.items == (work.items[1],)
    assert first.folder == work.folder
    assert [item.name for _, item in table.store_result(work.items[0], clean(b"b"))] == [b"c"]
    table.close()


def test_when_every_name_failed_the_next_is_read_anew() -> None:
    table = HardLinkTable()
    work = batch(b"a")
    table.lookup_or_claim(work, work.items[0])
    assert table.retry_other_name(work.items[0]) is None
    assert table.lookup_or_claim(work, work.items[0]) == (True, None)
    table.close()


def test_a_changed_file_is_another_file() -> None:
    table = HardLinkTable()
    work = batch(b"a")
    table.lookup_or_claim(work, work.items[0])
    list(table.store_result(work.items[0], clean(b"a")))
    changed = Item(b"a", stat(mtime=5))
    assert table.lookup_or_claim(work, changed) == (True, None)
    table.close()


@given(st.integers(0, 2**64 - 1), st.integers(-(2**70), 2**70))
def test_any_inode_and_any_time(inode: int, mtime: int) -> None:
    table = HardLinkTable()
    item = Item(b"x", stat(inode, mtime))
    work = batch(b"x")
    assert table.lookup_or_claim(work, item) == (True, None)
    list(table.store_result(item, clean(b"x")))
    assert table.lookup_or_claim(work, item)[0] is False
    table.close()


def test_more_waiting_names_than_one_helping() -> None:
    table = HardLinkTable()
    work = batch(*(b"%d" % number for number in range(2500)))
    for item in work.items:
        table.lookup_or_claim(work, item)
    names = [item.name for _, item in table.store_result(work.items[0], clean(b"0"))]
    assert sorted(names) == sorted(item.name for item in work.items[1:])
    table.close()


def test_a_name_that_claims_something_is_read_by_itself() -> None:
    table = HardLinkTable()
    work = batch(b"a.dat", b"a.mp4", b"b.MP4 ", b"b.bin", b"a.7z.002")
    read = [table.lookup_or_claim(work, item) for item in work.items]
    assert read == [(True, None), (True, None), (False, None), (False, None), (True, None)]
    assert [item.name for _, item in table.store_result(work.items[0], clean(b"a.dat"))] == [b"b.bin"]
    assert [item.name for _, item in table.store_result(work.items[1], clean(b"a.mp4"))] == [b"b.MP4 "]
    table.close()
