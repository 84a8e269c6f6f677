"""As many downloads as allowed, in bounded memory; what goes wrong ends at the object it concerns."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from hashscan.errors import OutputError
from hashscan.model import Access, Batch, Item, Reason
from hashscan.sources.base import FileTrouble, OpenFile, OpenFolder
from hashscan.sources.objects import tries
from hashscan.sources.objects.download import ObjectOpener, bare

from .shelf import Shelf


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_FIRST_PAUSE", 0.001)


@contextmanager
def opened(shelf: Shelf, items: list[Item], **access: int) -> Iterator[OpenFolder]:
    batch = Batch("shelf", b"shelf://x", b"", 0, 0, tuple(items))
    with closing(ObjectOpener(lambda url: shelf, Access(**access))) as opener, opener.reopen(batch) as folder:
        yield folder


def read(file: OpenFile) -> bytes:
    """A file's bytes by both ways, which must agree."""
    content = file.content
    kept = None if content is None else bytes(content)
    found = os.pread(file.descriptor, 1 << 26, 0)
    assert kept in {None, found}
    assert file.stat.size == len(found)
    return found


def reasons(shelf: Shelf, **access: int) -> list[Reason | None]:
    """What comes of every object: its reason, or None where it was read whole and unchanged."""
    found: list[Reason | None] = []
    items = shelf.items()
    with opened(shelf, items, **access) as folder:
        folder.announce(items)
        for item in items:
            try:
                with closing(folder.open(item)) as file:
                    assert read(file) == shelf.objects[item.name]
                    file.check_unchanged()
            except FileTrouble as trouble:
                found.append(trouble.reason)
            else:
                found.append(None)
    return found


def some(count: int, size: int = 5000) -> dict[bytes, bytes]:
    return {b"%d" % number: os.urandom(size) for number in range(count)}


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000, 300_000])
def test_bytes_arrive_as_they_are_stored(size: int) -> None:
    assert reasons(Shelf(some(5, size))) == [None] * 5


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_of_unknown_size(size: int) -> None:
    shelf = Shelf(some(5, size), says_size=False)
    assert reasons(shelf, memory_bytes=400_000) == [None] * 5


def test_without_being_announced() -> None:
    shelf = Shelf(some(3))
    items = shelf.items()
    with opened(shelf, items) as folder:
        for item in items:
            with closing(folder.open(item)) as file:
                assert read(file) == shelf.objects[item.name]
    assert len(shelf.reads) == 3


def test_as_many_at_a_time_as_allowed() -> None:
    shelf = Shelf(some(40), seconds=0.02)
    began = time.monotonic()
    assert reasons(shelf, in_flight=8) == [None] * 40
    assert shelf.most_at_a_time == 8
    # One after the other it would be 0.8 seconds.
    assert time.monotonic() - began < 0.5


def test_each_is_asked_for_once_and_in_order() -> None:
    shelf = Shelf(some(30))
    assert reasons(shelf, in_flight=1) == [None] * 30
    assert shelf.reads == [(key, 0) for key in shelf.objects]


def test_memory_is_bounded() -> None:
    """What is downloaded and not closed never exceeds the limit, and all arrive nevertheless."""
    shelf = Shelf(some(50, 10_000))
    items = shelf.items()
    started = threading.Semaphore(0)
    shelf.on_read = lambda key: started.release()
    with opened(shelf, items, in_flight=50, memory_bytes=100_000) as folder:
        folder.announce(items)
        for _ in range(10):
            assert started.acquire(timeout=10)
        # Ten fill it; no other begins before one is closed.
        assert not started.acquire(timeout=0.2)
        with closing(folder.open(items[0])) as file:
            read(file)
        assert started.acquire(timeout=10)
        for item in items[1:]:
            with closing(folder.open(item)) as file:
                assert read(file) == shelf.objects[item.name]


def test_files_that_stay_open_hold_nobody_up() -> None:
    """A worker keeps pictures open to the end of a batch; those beyond the memory go to files."""
    shelf = Shelf(some(30, 10_000))
    items = shelf.items()
    with opened(shelf, items, in_flight=4, memory_bytes=100_000) as folder:
        folder.announce(items)
        files = [folder.open(item) for item in items]
        assert [read(file) for file in files] == list(shelf.objects.values())
        links = [os.readlink(f"/proc/self/fd/{file.descriptor}") for file in files]
        assert sum("memfd" in link for link in links) == 10
        assert sum("(deleted)" in link and "memfd" not in link for link in links) == 20
        for file in files:
            file.close()


def test_a_large_one_goes_to_a_file_that_has_no_name() -> None:
    shelf = Shelf(some(1, 200_000))
    items = shelf.items()
    with opened(shelf, items, memory_bytes=400_000) as folder:
        folder.announce(items)
        with closing(folder.open(items[0])) as file:
            assert file.content is None
            assert "hashscan-" in os.readlink(f"/proc/self/fd/{file.descriptor}")
            assert read(file) == shelf.objects[items[0].name]


def test_no_room_for_a_large_one_ends_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(some(1, 200_000))
    monkeypatch.setattr("hashscan.sources.objects.spool.temporary_folder", lambda: "/nowhere/at/all")
    items = shelf.items()
    with opened(shelf, items, memory_bytes=400_000) as folder:
        folder.announce(items)
        with pytest.raises(OutputError, match="/nowhere/at/all") as caught:
            folder.open(items[0])
    assert "TMPDIR" in caught.value.remedy


def test_a_busy_server_is_asked_again() -> None:
    shelf = Shelf(some(3), busy={b"1": tries.TRIES - 1})
    assert reasons(shelf) == [None] * 3
    assert sum(key == b"1" for key, _ in shelf.reads) == tries.TRIES


def test_but_not_for_ever() -> None:
    shelf = Shelf(some(3), busy={b"1": 1000})
    assert reasons(shelf) == [None, Reason.IO_ERROR, None]
    assert sum(key == b"1" for key, _ in shelf.reads) == tries.TRIES


def test_after_a_cut_it_goes_on_where_it_ended() -> None:
    shelf = Shelf(some(1), etags={b"0": "x"}, cuts={b"0": 2})
    assert reasons(shelf) == [None]
    assert shelf.reads == [(b"0", 0), (b"0", 2500), (b"0", 3750)]


def test_where_nothing_tells_states_apart_it_begins_again() -> None:
    shelf = Shelf(some(1), cuts={b"0": 1})
    assert reasons(shelf) == [None]
    assert shelf.reads == [(b"0", 0), (b"0", 0)]


def test_changed_after_a_cut() -> None:
    shelf = Shelf(some(1), etags={b"0": "x"}, cuts={b"0": 1})
    shelf.on_read = lambda key: shelf.etags.update({key: "y"} if len(shelf.reads) > 1 else {})
    assert reasons(shelf) == [Reason.CHANGED]


def test_replaced_before() -> None:
    shelf = Shelf(some(1), etags={b"0": "x"})
    shelf.on_read = lambda key: shelf.etags.update({key: "y"})
    assert reasons(shelf) == [Reason.REPLACED]


def test_another_size_under_the_same_etag() -> None:
    shelf = Shelf(some(1), etags={b"0": "x"})
    shelf.on_read = lambda key: shelf.objects.update({key: b"short"})
    assert reasons(shelf) == [Reason.IO_ERROR]


def test_another_size_without_an_etag() -> None:
    shelf = Shelf(some(1))
    shelf.on_read = lambda key: shelf.objects.update({key: b"short"})
    assert reasons(shelf) == [Reason.REPLACED]


def test_gone() -> None:
    shelf = Shelf(some(3))
    items = shelf.items()
    del shelf.objects[b"1"]
    with opened(shelf, items) as folder:
        folder.announce(items)
        with closing(folder.open(items[0])):
            pass
        with pytest.raises(FileTrouble) as caught:
            folder.open(items[1])
        assert caught.value.reason is Reason.VANISHED
        with closing(folder.open(items[2])):
            pass


def test_what_the_answer_does_not_prove_is_asked_for_afterwards() -> None:
    shelf = Shelf(some(2), proven=False, changed={b"1"})
    assert reasons(shelf) == [None, Reason.CHANGED]
    assert shelf.checked == [b"0", b"1"]
    assert not Shelf(some(2)).checked


def test_a_batch_given_up_waits_for_nothing() -> None:
    shelf = Shelf(some(40), busy={b"%d" % number: 1000 for number in range(40)})
    items = shelf.items()
    with opened(shelf, items, in_flight=4) as folder:
        folder.announce(items)
    # Those under way have ended; no other has begun.
    asked = len(shelf.reads)
    time.sleep(0.05)
    assert asked == len(shelf.reads) <= 4 * tries.TRIES


@pytest.mark.parametrize("etag", ['"x"', "x", 'W/"x"'])
def test_etags_with_and_without_quotes_are_the_same(etag: str) -> None:
    assert bare(etag) == "x"
