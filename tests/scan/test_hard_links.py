from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hashscan.model import Batch, FileResult, FileStat, Item, Verdict
from hashscan.scan.hard_links import LinkMemory


def stat(inode: int = 7, mtime: int = 0) -> FileStat:
    return FileStat(device=1, inode=inode, size=3, mtime_ns=mtime, ctime_ns=9, links=2, uid=0)


def batch(*names: bytes, inode: int = 7) -> Batch:
    items = tuple(Item(name, stat(inode)) for name in names)
    return Batch("file", b"/t", b"f", 1, 2, items)


def clean(name: bytes) -> FileResult:
    return FileResult(name, stat(), Verdict.CLEAN)


def test_the_first_name_is_read_and_later_ones_take_its_result() -> None:
    memory = LinkMemory()
    work = batch(b"a", b"b", b"c")
    assert memory.meet(work, work.items[0]) == (True, None)
    assert memory.meet(work, work.items[1]) == (False, None)
    waited = list(memory.settle(work.items[0].stat, clean(b"a")))
    assert [item.name for _, item in waited] == [b"b"]
    assert memory.meet(work, work.items[2]) == (False, clean(b"c"))
    memory.close()


def test_a_name_that_failed_passes_the_reading_on_one_by_one() -> None:
    memory = LinkMemory()
    work = batch(b"a", b"b", b"c")
    for item in work.items:
        memory.meet(work, item)
    first = memory.pass_on(work.items[0].stat)
    assert first is not None
    assert first.items == (work.items[1],)
    assert first.folder == work.folder
    assert [item.name for _, item in memory.settle(stat(), clean(b"b"))] == [b"c"]
    memory.close()


def test_when_every_name_failed_the_next_is_read_anew() -> None:
    memory = LinkMemory()
    work = batch(b"a")
    memory.meet(work, work.items[0])
    assert memory.pass_on(stat()) is None
    assert memory.meet(work, work.items[0]) == (True, None)
    memory.close()


def test_a_changed_file_is_another_file() -> None:
    memory = LinkMemory()
    work = batch(b"a")
    memory.meet(work, work.items[0])
    list(memory.settle(stat(), clean(b"a")))
    changed = Item(b"a", stat(mtime=5))
    assert memory.meet(work, changed) == (True, None)
    memory.close()


@given(st.integers(0, 2**64 - 1), st.integers(-(2**70), 2**70))
def test_any_inode_and_any_time(inode: int, mtime: int) -> None:
    memory = LinkMemory()
    item = Item(b"x", stat(inode, mtime))
    work = batch(b"x")
    assert memory.meet(work, item) == (True, None)
    list(memory.settle(item.stat, clean(b"x")))
    assert memory.meet(work, item)[0] is False
    memory.close()


def test_more_waiting_names_than_one_helping() -> None:
    memory = LinkMemory()
    work = batch(*(b"%d" % number for number in range(2500)))
    for item in work.items:
        memory.meet(work, item)
    names = [item.name for _, item in memory.settle(stat(), clean(b"0"))]
    assert sorted(names) == sorted(item.name for item in work.items[1:])
    memory.close()
